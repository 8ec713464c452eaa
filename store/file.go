package store

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// backupSuffix names the backup beside the state file.
const backupSuffix = ".backup"

// restoreOrCreate puts the last good backup, else an empty file, at path.
// A cut at any point leaves path missing or whole, never half: the file is
// made under another name, synced, and renamed.
func restoreOrCreate(path string, o Options) error {
	tmp := path + ".new"
	_ = os.Remove(tmp) // of a start that was cut
	if restore(path+backupSuffix, tmp, o) {
		o.Log.Warn("the last backup of the state is in use", "file", path+backupSuffix)
		return rename(tmp, path)
	}
	b, err := bbolt.Open(tmp, 0o600, options(o.MaxSize))
	if err != nil {
		return fmt.Errorf("cannot make the state file: %w", err)
	}
	err = migrate(b)
	if err = firstError(err, b.Sync(), b.Close()); err != nil {
		return fmt.Errorf("cannot make the state file: %w", err)
	}
	return rename(tmp, path)
}

// restore copies a good backup to tmp, and tells whether there was one.
func restore(backup, tmp string, o Options) bool {
	if _, err := os.Stat(backup); err != nil {
		return false // opening would make one
	}
	b, err := openFile(backup, o)
	if err != nil {
		o.Log.Error("the backup of the state cannot be used", "error", err)
		return false
	}
	if err := firstError(b.copyTo(tmp), b.Close()); err != nil {
		o.Log.Error("the backup of the state cannot be copied", "error", err)
		_ = os.Remove(tmp)
		return false
	}
	return true
}

// copyTo writes a consistent, synced copy.
func (db *DB) copyTo(tmp string) error {
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make the copy: %w", err)
	}
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if err = firstError(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write the copy: %w", err)
	}
	return nil
}

// rename puts a synced file in place and makes the name durable.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("cannot put %s in place: %w", filepath.Base(to), err)
	}
	return syncDir(filepath.Dir(to))
}

// syncDir makes names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot open the folder %s: %w", dir, err)
	}
	if err := firstError(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("cannot sync the folder %s: %w", dir, err)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
