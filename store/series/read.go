package series

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func unixNano(b []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))).UTC()
}

// From reads up to n rows upwards, from a number on. A row that is damaged is
// left out, and told in the log.
func (db *DB) From(ctx context.Context, seq uint64, n int) ([]Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []Row
	err := db.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bRows)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Seek(rowKey(seq, 0)); k != nil && len(out) < n; k, v = c.Next() {
			if r, ok := db.readRow(tx, c, k, v); ok {
				out = append(out, r)
			}
		}
		return nil
	})
	db.touched(out)
	return out, err
}

// Down reads up to n rows downwards, from a number on, and not below another.
func (db *DB) Down(ctx context.Context, seq, low uint64, n int) ([]Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []Row
	err := db.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bRows)
		if b == nil {
			return nil
		}
		walk, read := b.Cursor(), b.Cursor()
		k := before(walk, seq)
		for k != nil && len(out) < n && len(k) == 10 {
			at := binary.BigEndian.Uint64(k)
			if at < low {
				break
			}
			if first, v := read.Seek(rowKey(at, 0)); first != nil {
				if r, ok := db.readRow(tx, read, first, v); ok && r.Seq == at {
					out = append(out, r)
				}
			}
			if at == 0 {
				break
			}
			k = before(walk, at-1)
		}
		return nil
	})
	db.touched(out)
	return out, err
}

// before puts a cursor at the last cell of the highest row up to a number.
func before(c *bbolt.Cursor, seq uint64) []byte {
	end := append(binary.BigEndian.AppendUint64(nil, seq), 0xff, 0xff)
	k, _ := c.Seek(end)
	switch {
	case k == nil:
		k, _ = c.Last()
	case !bytes.Equal(k, end):
		k, _ = c.Prev()
	}
	return k
}

func (db *DB) readRow(tx *bbolt.Tx, c *bbolt.Cursor, k, v []byte) (Row, bool) {
	if len(k) == 10 && (k[8] != 0 || k[9] != 0) {
		return Row{}, false // the rest of a row that was told already
	}
	r, err := readRow(c, k, v)
	if err != nil {
		db.o.Log.Warn("a row is damaged and is left out", "file", db.path, "error", err)
		return Row{}, false
	}
	if b := tx.Bucket(bEpochs); b != nil {
		r.Epoch = epochOf(b.Cursor(), r.Seq)
	}
	return r, true
}

// Bounds are the oldest and the newest number that are kept, 0 when none is.
func (db *DB) Bounds() (low, high uint64, err error) {
	err = db.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bRows)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		if k, _ := c.First(); len(k) == 10 {
			low = binary.BigEndian.Uint64(k)
		}
		if k, _ := c.Last(); len(k) == 10 {
			high = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return low, high, err
}

// Mark is what a reader keeps of its place, nil when it never did.
func (db *DB) Mark(name string) (out []byte, err error) {
	err = db.view(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bMarks); b != nil {
			out = bytes.Clone(b.Get([]byte(name)))
		}
		return nil
	})
	return out, err
}

// giveBackAfter is how much is read before pages are given back.
const giveBackAfter = 1 << 20

// touched counts what was read.
func (db *DB) touched(rows []Row) {
	n := int64(0)
	for _, r := range rows {
		n += cost(len(r.Blob))
	}
	if db.read.Add(n) >= giveBackAfter {
		db.read.Store(0)
		db.giveBack()
	}
}

// giveBack lets go of the mapping's pages, which count as ours until the kernel
// wants them back. What is read again is read from the kernel's cache.
func (db *DB) giveBack() {
	db.use.RLock()
	defer db.use.RUnlock()
	b := db.bolt
	// A read transaction keeps the mapping where it is meanwhile.
	_ = guarded(func() error {
		return b.View(func(tx *bbolt.Tx) error {
			if info := b.Info(); info.Data != 0 {
				// By the raw call: the mapping is no Go memory, and is not made to look so.
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, info.Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
			}
			return nil
		})
	})
}
