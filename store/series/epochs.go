package series

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// bOld is the bucket of the layout before rows had cells and files epochs: 8
// bytes of number → 8 bytes of time + blob.
var bOld = []byte("tele")

func makeBuckets(tx *bbolt.Tx) error {
	for _, name := range [][]byte{bRows, bEpochs, bMarks, bMeta} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return nil
}

// takeUp goes on with the numbers where the file was closed in good order by
// the last run. Otherwise numbers may have been given that the file does not
// know, and those to come are of a new epoch.
func (db *DB) takeUp() error {
	if err := db.bringOver(); err != nil {
		return err
	}
	db.epoch = newEpoch()
	return db.update(func(tx *bbolt.Tx) error {
		if err := makeBuckets(tx); err != nil {
			return err
		}
		if k, _ := tx.Bucket(bRows).Cursor().Last(); len(k) == 10 {
			db.seq = binary.BigEndian.Uint64(k)
		}
		closed := tx.Bucket(bMeta).Get(keyClosed)
		_, last := tx.Bucket(bEpochs).Cursor().Last()
		if len(closed) >= 8 && last != nil && string(closed[8:]) == db.o.Last {
			db.epoch, db.seq = string(last), max(db.seq, binary.BigEndian.Uint64(closed))
		}
		if err := tx.Bucket(bMeta).Delete(keyClosed); err != nil {
			return err
		}
		return forget(tx)
	})
}

// putEpoch notes from which row on an epoch counts.
func putEpoch(tx *bbolt.Tx, r Row) error {
	b := tx.Bucket(bEpochs)
	if epochOf(b.Cursor(), r.Seq) == r.Epoch {
		return nil
	}
	return b.Put(binary.BigEndian.AppendUint64(nil, r.Seq), []byte(r.Epoch))
}

// epochOf is the epoch of a row.
func epochOf(c *bbolt.Cursor, seq uint64) string {
	want := binary.BigEndian.AppendUint64(nil, seq)
	k, v := c.Seek(want)
	if !bytes.Equal(k, want) {
		if k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
	}
	if k == nil {
		return ""
	}
	return string(v)
}

// forget lets go of the epochs that no row is of any more.
func forget(tx *bbolt.Tx) error {
	oldest, _ := tx.Bucket(bRows).Cursor().First()
	if len(oldest) != 10 {
		return nil
	}
	var gone [][]byte
	c := tx.Bucket(bEpochs).Cursor()
	for k, _ := c.First(); k != nil; {
		next, _ := c.Next()
		if next != nil && bytes.Compare(next, oldest[:8]) <= 0 {
			gone = append(gone, bytes.Clone(k))
		}
		k = next
	}
	for _, k := range gone {
		if err := tx.Bucket(bEpochs).Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// bringOver moves the rows of a file of an older layout into this one, in
// steps; they get the epoch that they never had.
func (db *DB) bringOver() error {
	const step = 64
	epoch := newEpoch()
	for more := true; more; {
		err := db.update(func(tx *bbolt.Tx) error {
			old := tx.Bucket(bOld)
			if more = old != nil; !more {
				return nil
			}
			if err := makeBuckets(tx); err != nil {
				return err
			}
			var rows []Row
			c := old.Cursor()
			for k, v := c.First(); k != nil && len(rows) < step; k, v = c.Next() {
				if len(k) != 8 || len(v) < 8 {
					rows = append(rows, Row{Epoch: string(k)})
					continue
				}
				rows = append(rows, Row{Epoch: epoch, Seq: binary.BigEndian.Uint64(k), At: unixNano(v), Blob: bytes.Clone(v[8:])})
			}
			if len(rows) == 0 {
				return tx.DeleteBucket(bOld)
			}
			for _, r := range rows {
				if r.Seq == 0 {
					if err := old.Delete([]byte(r.Epoch)); err != nil {
						return err
					}
					continue
				}
				if err := old.Delete(binary.BigEndian.AppendUint64(nil, r.Seq)); err != nil {
					return err
				}
				if err := putEpoch(tx, r); err != nil {
					return err
				}
				if err := putRow(tx.Bucket(bRows), r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
