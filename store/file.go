package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// restoreOrCreate puts the newest good backup, else an empty file, at path.
// A cut at any point leaves path missing or whole, never half: the file is
// made under another name, synced, and renamed. Only a backup that is proven
// damaged is passed over.
func restoreOrCreate(path string, o Options) error {
	tmp := path + ".new"
	_ = os.Remove(tmp) // of a start that was cut
	for _, backup := range []string{path + backupSuffix, path + olderSuffix} {
		err := restore(backup, tmp)
		bad := (*damage)(nil)
		switch {
		case err == nil:
			o.Log.Warn("a backup of the state is in use", "file", backup)
			return rename(tmp, path)
		case errors.Is(err, fs.ErrNotExist):
		case errors.As(err, &bad):
			file, qerr := quarantine(backup)
			o.Log.Error("a backup of the state is damaged and was kept aside", "file", file, "error", errors.Join(err, qerr))
		default:
			return fmt.Errorf("cannot read the backup %s: %w", backup, err)
		}
	}
	b, err := bbolt.Open(tmp, 0o600, options(o.MaxSize))
	if err != nil {
		return fmt.Errorf("cannot make the state file: %w", err)
	}
	err = migrate(b, true)
	if err = firstError(err, b.Sync(), b.Close()); err != nil {
		return fmt.Errorf("cannot make the state file: %w", err)
	}
	return rename(tmp, path)
}

// restore copies a backup whose pages are proven.
func restore(backup, tmp string) error {
	if err := provePages(backup); err != nil {
		return err
	}
	in, err := os.Open(backup)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = writeFile(tmp, in.WriteTo)
	return err
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
