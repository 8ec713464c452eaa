package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"
)

// The two generations of backups beside the state file.
const (
	backupSuffix = ".backup"
	olderSuffix  = ".backup.older"
)

// Backup brings the older of the two backups up to now and makes it the newer
// one. Only pages that differ are written, nothing when nothing changed since
// the last, and a copy counts only once its pages are proven: the other
// generation is whole at every moment, whatever is cut.
func (db *DB) Backup(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !db.changed.Swap(false) {
		return nil
	}
	if err := firstError(db.writeHolds(), db.backup()); err != nil {
		db.changed.Store(true)
		return fmt.Errorf("cannot back up the state: %w", err)
	}
	return nil
}

func (db *DB) backup() error {
	newer, older, tmp := db.path+backupSuffix, db.path+olderSuffix, db.path+backupSuffix+".new"
	if err := os.Rename(older, tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		written, err := writeFile(tmp, func(w io.Writer) (int64, error) {
			n, err := tx.WriteTo(w)
			if err != nil {
				return n, err
			}
			_, err = w.Write(trailer())
			return n, err
		})
		db.wear.backups.Add(written)
		return err
	})
	if err != nil {
		return err
	}
	if err := provePages(tmp); err != nil {
		return err
	}
	if err := os.Rename(newer, older); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return rename(tmp, newer)
}

// writeFile brings the file at path to what write gives, and syncs it. What is
// there already is compared, and only blocks that differ are written, since
// every block costs the card: written counts their bytes.
func writeFile(path string, write func(io.Writer) (int64, error)) (written int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("cannot make the copy: %w", err)
	}
	w := &differ{f: f, block: make([]byte, 0, pageSize), have: make([]byte, pageSize)}
	_, err = write(w)
	err = firstError(err, w.flush())
	if err == nil {
		err = f.Truncate(w.at)
	}
	if err = firstError(err, f.Sync(), f.Close()); err != nil {
		return w.written, fmt.Errorf("cannot write the copy: %w", err)
	}
	return w.written, nil
}

// differ writes blocks where they differ from what the file has.
type differ struct {
	f     *os.File
	at    int64 // of the block that is being gathered
	block []byte
	have  []byte

	written int64
}

func (d *differ) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), pageSize-len(d.block))
		d.block = append(d.block, p[:take]...)
		p = p[take:]
		if len(d.block) == pageSize {
			if err := d.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (d *differ) flush() error {
	n, err := d.f.ReadAt(d.have[:len(d.block)], d.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n != len(d.block) || !bytes.Equal(d.have[:n], d.block) {
		if _, err := d.f.WriteAt(d.block, d.at); err != nil {
			return err
		}
		d.written += int64(len(d.block))
	}
	d.at += int64(len(d.block))
	d.block = d.block[:0]
	return nil
}
