package store

import (
	"context"
	"errors"

	"go.etcd.io/bbolt"
)

// Keys reads the cached keys of a name.
func (db *DB) Keys(name string) ([]byte, bool, error) { return db.bytes(bKeys, name) }

// PutKeys caches keys under a name.
func (db *DB) PutKeys(name string, raw []byte) error { return db.putBytes(bKeys, name, raw) }

// Setting reads a small value of the agent's own.
func (db *DB) Setting(name string) ([]byte, bool, error) { return db.bytes(bSettings, name) }

// PutSetting keeps a small value of the agent's own. An equal value is not
// written again; a small one that takes the place of another always has room.
func (db *DB) PutSetting(name string, raw []byte) error { return db.putBytes(bSettings, name, raw) }

func (db *DB) bytes(bucket []byte, name string) (out []byte, ok bool, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucket).Get([]byte(name))
		if v == nil {
			return nil
		}
		plain, sound := noted([]byte(name), v)
		if !sound {
			db.skip(bucket, []byte(name), errors.New("a small value does not match its checksum"))
			return nil
		}
		out, ok = append([]byte{}, plain...), true
		return nil
	})
	return out, ok, err
}

func (db *DB) putBytes(bucket []byte, name string, raw []byte) error {
	if old, ok, err := db.bytes(bucket, name); err == nil && ok && string(old) == string(raw) {
		return nil
	}
	return db.update(context.Background(), deciding, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b.Get([]byte(name)) == nil || len(raw) > pageSize/2 {
			if err := db.room(tx, incoming); err != nil {
				return err
			}
		}
		return b.Put([]byte(name), note([]byte(name), raw))
	})
}
