package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

var keyEpoch = []byte("epoch")

// epoch names one life of the file's counters. A file that is a copy, of a
// backup or of anything else, may give numbers that the original gave to other
// messages: it goes on under an epoch of its own.
type epoch struct {
	Now    string `json:"now"`
	First  string `json:"first"`            // of messages that were stored before there were epochs
	File   string `json:"file,omitempty"`   // the file as the system knows it
	Backup string `json:"backup,omitempty"` // the backup that this file was, noticed
}

// Epoch is the file's: with a stream and a number it names one message for
// ever.
func (db *DB) Epoch() string { return db.epoch.Now }

// takeEpoch goes on with the file's epoch, or begins another where the file is
// new or is a copy.
func takeEpoch(db *DB, file, backup string) error {
	var have epoch
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bMeta).Get(keyEpoch)
		if raw == nil {
			return nil
		}
		return decode(keyEpoch, raw, &have)
	})
	if err != nil {
		db.log.Warn("the epoch of the state file cannot be read: a new one begins", "error", err)
		have = epoch{}
	}
	now := have
	copied := file != "" && have.File != "" && file != have.File || backup != "" && backup != have.Backup
	if have.Now == "" || copied {
		if have.Now != "" {
			db.log.Warn("the state file is a copy: its messages are numbered under a new epoch", "before", have.Now)
		}
		now.Now = randomName()
	}
	if now.First == "" {
		now.First = now.Now
	}
	if file != "" {
		now.File = file
	}
	if backup != "" {
		now.Backup = backup
	}
	db.epoch = now
	if now == have {
		return nil
	}
	return db.bolt.Update(func(tx *bbolt.Tx) error {
		raw, err := encode(keyEpoch, now)
		if err != nil {
			return err
		}
		return tx.Bucket(bMeta).Put(keyEpoch, raw)
	})
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// identity is by what the system knows a file: it stays with the file through
// a rename, and no copy has the same. "" where the system does not tell.
func identity(path string) string {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return ""
	}
	return fmt.Sprintf("%d@%d.%09d", st.Ino, st.Btime.Sec, st.Btime.Nsec)
}

// backupTrailer follows the pages of every backup, where the library does not
// look: a backup that is copied over the state file is known by it.
var backupTrailer = []byte("flexd backup of the state, not the state itself: ")

const tagSize = 16 // hexadecimal digits

// trailer is a page that marks a backup, and no two the same.
func trailer() []byte {
	page := make([]byte, pageSize)
	copy(page, append(bytes.Clone(backupTrailer), randomName()...))
	return page
}

// backupTag is the tag of a file that was a backup, "" of any other.
func backupTag(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < pageSize {
		return "", err
	}
	raw := make([]byte, len(backupTrailer)+tagSize)
	if _, err := f.ReadAt(raw, info.Size()-pageSize); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if tag, ok := bytes.CutPrefix(raw, backupTrailer); ok {
		return string(tag), nil
	}
	return "", nil
}
