package series

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Buckets, with their keys.
var (
	bRows   = []byte("rows")   // 8 bytes of number + 2 bytes of cell → cell
	bEpochs = []byte("epochs") // 8 bytes of number → the epoch from that row on
	bMarks  = []byte("marks")  // name of a reader → what it keeps
	bMeta   = []byte("meta")   // name
)

var keyClosed = []byte("closed") // 8 bytes of the last number + the run that closed it

// cellSize lets so many cells with their keys and heads fill a page.
const (
	cellSize  = 480
	cellsPage = 8
)

// headSize is that of a row's first cell: version, time, length, checksum.
const headSize = 1 + 8 + 4 + 4

const rowVersion = 1

// cost is what a row takes of the file, on whole pages.
func cost(blob int) int64 {
	cells := (headSize + blob + cellSize - 1) / cellSize
	return int64((cells + cellsPage - 1) / cellsPage * pageSize)
}

func rowKey(seq uint64, cell int) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(nil, seq), uint16(cell))
}

// putRow writes a row's cells.
func putRow(b *bbolt.Bucket, r Row) error {
	b.FillPercent = 1
	raw := make([]byte, 0, headSize+len(r.Blob))
	raw = append(raw, rowVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(r.At.UnixNano()))
	raw = binary.BigEndian.AppendUint32(raw, uint32(len(r.Blob)))
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(r.Blob))
	raw = append(raw, r.Blob...)
	for n := 0; len(raw) > 0; n++ {
		cell := raw[:min(cellSize, len(raw))]
		if err := b.Put(rowKey(r.Seq, n), cell); err != nil {
			return err
		}
		raw = raw[len(cell):]
	}
	return nil
}

// readRow reads the row whose first cell the cursor is at, and moves the cursor
// to its last cell.
func readRow(c *bbolt.Cursor, k, v []byte) (Row, error) {
	if len(k) != 10 || len(v) < headSize || v[0] != rowVersion || k[8] != 0 || k[9] != 0 {
		return Row{}, errors.New("a row does not begin as one")
	}
	r := Row{Seq: binary.BigEndian.Uint64(k), At: unixNano(v[1:])}
	size, sum := int(binary.BigEndian.Uint32(v[9:])), binary.BigEndian.Uint32(v[13:])
	r.Blob = append(make([]byte, 0, min(size, 1<<20)), v[headSize:]...)
	for n := 1; len(r.Blob) < size; n++ {
		k, v = c.Next()
		if !bytes.Equal(k, rowKey(r.Seq, n)) {
			return Row{}, fmt.Errorf("the row %d is not whole", r.Seq)
		}
		r.Blob = append(r.Blob, v...)
	}
	if len(r.Blob) != size || crc32.ChecksumIEEE(r.Blob) != sum {
		return Row{}, fmt.Errorf("the row %d does not match its checksum", r.Seq)
	}
	return r, nil
}

// Append keeps rows, whose numbers rise, in one commit with what readers keep
// of their place, and lets the oldest go where the file would grow beyond its
// bound. A row that is too large alone is left out, and told with an error of
// its own; dropped is the last number that had to go, 0 when none had.
func (db *DB) Append(ctx context.Context, rows []Row, marks map[string][]byte) (dropped uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	db.writing.Lock()
	defer db.writing.Unlock()
	defer db.giveBack()
	var refused error
	for len(rows) > 0 || marks != nil {
		take, need := 0, int64(0)
		var now []Row
		for ; take < len(rows) && (need == 0 || need+cost(len(rows[take].Blob)) <= int64(db.o.MaxRow)); take++ {
			if size := len(rows[take].Blob); size > db.o.MaxRow {
				refused = errors.Join(refused, &TooLargeError{size, db.o.MaxRow})
				continue
			}
			now, need = append(now, rows[take]), need+cost(len(rows[take].Blob))
		}
		rows = rows[take:]
		last := marks
		if len(rows) > 0 {
			last = nil // with the last of the rows
		} else {
			marks = nil
		}
		gone, err := db.add(now, need, last)
		dropped = max(dropped, gone)
		if err != nil {
			return dropped, fmt.Errorf("cannot keep rows: %w", err)
		}
	}
	return dropped, refused
}

// add writes rows that need so many bytes; where they have no room the oldest
// go first, twice as much each time.
func (db *DB) add(rows []Row, need int64, marks map[string][]byte) (dropped uint64, err error) {
	for more := int64(0); ; more = 2*more + need + pageSize {
		if more > 0 {
			gone, none, err := db.drop(more)
			if dropped = max(dropped, gone); err != nil || none {
				return dropped, errors.Join(berrors.ErrMaxSizeReached, err)
			}
		}
		gone := uint64(0)
		err := db.update(func(tx *bbolt.Tx) (err error) {
			b := tx.Bucket(bRows)
			if over := db.used(tx) + need - db.limit(); over > 0 {
				if gone, err = dropRows(b, min(over, need+dropStep)); err != nil {
					return err
				}
			}
			for _, r := range rows {
				if err := putEpoch(tx, r); err != nil {
					return err
				}
				if err := putRow(b, r); err != nil {
					return err
				}
			}
			for name, v := range marks {
				if err := tx.Bucket(bMarks).Put([]byte(name), v); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil || !errors.Is(err, berrors.ErrMaxSizeReached) {
			if err == nil {
				dropped = max(dropped, gone)
			}
			return dropped, err
		}
	}
}

// dropStep bounds what one commit lets go beyond what it takes.
const dropStep = 512 << 10

// limit is up to where rows are kept: what one more commit needs stays free,
// and so does the step by which the file grows.
func (db *DB) limit() int64 {
	return int64(db.o.MaxSize) - allocSize - 2*int64(db.o.MaxRow) - 32*pageSize
}

// used is what the file holds, free pages not counted.
func (db *DB) used(tx *bbolt.Tx) int64 {
	stats := db.bolt.Stats()
	return tx.Size() - int64(stats.FreePageN+stats.PendingPageN)*pageSize
}

// drop lets the oldest go in a commit of its own.
func (db *DB) drop(size int64) (gone uint64, none bool, err error) {
	err = db.update(func(tx *bbolt.Tx) (err error) {
		gone, err = dropRows(tx.Bucket(bRows), size)
		return err
	})
	return gone, gone == 0, err
}

// dropRows deletes the oldest rows until so many bytes are free, and tells the
// last of them.
func dropRows(b *bbolt.Bucket, size int64) (gone uint64, err error) {
	var keys [][]byte
	c, row := b.Cursor(), int64(0)
	for k, v := c.First(); k != nil; k, v = c.Next() {
		seq := binary.BigEndian.Uint64(k)
		if seq != gone {
			if size -= row; size <= 0 {
				break
			}
			gone, row = seq, 0
		}
		keys = append(keys, bytes.Clone(k))
		row += int64(len(k)+len(v)) + 16
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return 0, err
		}
	}
	return gone, nil
}
