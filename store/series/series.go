// Package series keeps series.db: packed telemetry that waits for the fleet,
// in a ring bounded by count and size, batched and expendable.
//
// In: one blob per interval. Out: the oldest blobs until they are done. A file
// that is damaged is thrown away: nothing here is precious, and nothing here
// may take the state file down with it.
package series

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

var bucket = []byte("tele") // 8 bytes of sequence → 8 bytes of unix nanoseconds + blob

// Options of Open. Log is required; the zero value of the rest is the default.
type Options struct {
	Log     *slog.Logger
	MaxRows int // default three days of minutes
	MaxSize int // bytes, default 48 MiB
}

// Row is one blob with its number and time.
type Row struct {
	Seq  uint64
	At   time.Time
	Blob []byte
}

// DB is the open file. It is safe for concurrent use.
type DB struct {
	bolt *bbolt.DB
	max  int
}

// Open opens or makes the file. A damaged one is deleted and made anew.
func Open(path string, o Options) (*DB, error) {
	if o.MaxRows == 0 {
		o.MaxRows = 3 * 24 * 60
	}
	if o.MaxSize == 0 {
		o.MaxSize = 48 << 20
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	b, err := open(path, o.MaxSize)
	if err != nil && !errors.Is(err, berrors.ErrTimeout) && !errors.Is(err, fs.ErrPermission) {
		o.Log.Warn("the telemetry file is damaged and is made anew", "error", err)
		if rerr := os.Remove(path); rerr != nil {
			return nil, errors.Join(err, rerr)
		}
		b, err = open(path, o.MaxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the telemetry file: %w", err)
	}
	return &DB{bolt: b, max: o.MaxRows}, nil
}

// open is bbolt's, whose panics on torn files are errors here.
func open(path string, maxSize int) (b *bbolt.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
		if err != nil && b != nil {
			_ = b.Close()
		}
	}()
	b, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, PageSize: 4096, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, MaxSize: maxSize})
	if err != nil {
		return b, err
	}
	err = b.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	return b, err
}

// Append adds a blob, dropping the oldest beyond the ring's bound, or when the
// file is full.
func (db *DB) Append(ctx context.Context, at time.Time, blob []byte) (seq uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	add := func(keep int) error {
		return db.bolt.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucket)
			n, err := b.NextSequence()
			if err != nil {
				return err
			}
			seq = n
			if n > uint64(keep) {
				if err := drop(b, n-uint64(keep)); err != nil {
					return err
				}
			}
			return b.Put(key(n), append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano())), blob...))
		})
	}
	err = add(db.max)
	if errors.Is(err, berrors.ErrMaxSizeReached) {
		half := func() error {
			return db.bolt.Update(func(tx *bbolt.Tx) error {
				return drop(tx.Bucket(bucket), tx.Bucket(bucket).Sequence()-uint64(db.max/2))
			})
		}
		if err = half(); err == nil {
			err = add(db.max / 2)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("cannot keep telemetry: %w", err)
	}
	return seq, nil
}

// Head gives the oldest n blobs.
func (db *DB) Head(ctx context.Context, n int) ([]Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := []Row{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.First(); k != nil && len(out) < n; k, v = c.Next() {
			if len(k) == 8 && len(v) >= 8 {
				out = append(out, Row{Seq: binary.BigEndian.Uint64(k), At: time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC(),
					Blob: append([]byte{}, v[8:]...)})
			}
		}
		return nil
	})
	return out, err
}

// Done deletes the blobs up to and including a number.
func (db *DB) Done(ctx context.Context, upto uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.bolt.Update(func(tx *bbolt.Tx) error { return drop(tx.Bucket(bucket), upto) })
}

// Waiting counts the blobs that are not done.
func (db *DB) Waiting() (n int, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error { n = tx.Bucket(bucket).Stats().KeyN; return nil })
	return n, err
}

// Close gives the file back.
func (db *DB) Close() error { return db.bolt.Close() }

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// drop deletes the blobs up to and including a number.
func drop(b *bbolt.Bucket, upto uint64) error {
	var keys [][]byte
	c := b.Cursor()
	for k, _ := c.First(); k != nil && (len(k) != 8 || binary.BigEndian.Uint64(k) <= upto); k, _ = c.Next() {
		keys = append(keys, append([]byte(nil), k...))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
