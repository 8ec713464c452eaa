// Package series keeps rows of bytes in a ring that is bounded by the bytes of
// its file: telemetry in series.db, the history of reasons in why.db. Both are
// expendable.
//
// In: rows with rising numbers, several in one commit. Out: rows by number,
// upwards or downwards, until the oldest make room for the newest. What is kept
// does not depend on who has read it.
//
// A row lies in cells, eight to a page: no run of pages is ever needed in a
// row, hardly a byte of a page is left empty, and what a row costs is what it
// frees later. A file that is proven damaged is made anew: nothing here is precious,
// and nothing here may take the state file down with it.
package series

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// The file.
const (
	pageSize  = 4096
	allocSize = 256 << 10 // by how much it grows at a time
	lockWait  = time.Second

	// DefaultMaxSize keeps 72 hours of 20 devices at 1 Hz several times over.
	DefaultMaxSize = 48 << 20
	defaultMaxRow  = 1 << 20
)

// Options of Open. Log is required; the zero value of the rest is the default.
type Options struct {
	Log     *slog.Logger
	MaxSize int // bytes of the file
	MaxRow  int // bytes of one row
	// Run names this run, and Last the run before it: a file that Last did not
	// close in good order may have given numbers that nobody remembers, and
	// goes on under another epoch.
	Run, Last string
}

// Row is a blob with its number, of an epoch, and its time.
type Row struct {
	Epoch string
	Seq   uint64
	At    time.Time
	Blob  []byte
}

// TooLargeError is a row beyond the bound of one row.
type TooLargeError struct{ Size, Most int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a row of %d bytes is beyond the bound of %d: it is not kept, the others are", e.Size, e.Most)
}

// DB is the open file. It is safe for concurrent use.
type DB struct {
	path string
	o    Options

	use  sync.RWMutex // held for writing while a damaged file is made anew
	bolt *bbolt.DB

	writing sync.Mutex
	seq     uint64 // last number that was given; writing is held
	epoch   string
	written atomic.Int64
	read    atomic.Int64 // bytes since pages of the mapping were given back
}

// Open opens or makes the file. A file that is proven damaged is deleted and
// made anew; every other error may pass and leaves it as it is.
func Open(path string, o Options) (*DB, error) {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.MaxRow == 0 {
		o.MaxRow = min(defaultMaxRow, o.MaxSize/8)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	db := &DB{path: path, o: o}
	b, err := db.openOrMake()
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", filepath.Base(path), err)
	}
	db.bolt = b
	if err := db.takeUp(); err != nil {
		return nil, errors.Join(err, db.bolt.Close())
	}
	db.giveBack()
	return db, nil
}

// openOrMake opens the file, or a new one in the place of a damaged one.
func (db *DB) openOrMake() (*bbolt.DB, error) {
	b, err := open(db.path, db.o.MaxSize)
	if bad := (*damage)(nil); errors.As(err, &bad) {
		db.o.Log.Warn("a file is damaged and is made anew: what it kept is lost", "file", db.path, "error", err)
		if err := os.Remove(db.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		b, err = open(db.path, db.o.MaxSize)
	}
	return b, err
}

func open(path string, maxSize int) (b *bbolt.DB, err error) {
	if err := whole(path); err != nil {
		return nil, err
	}
	err = guarded(func() (err error) {
		b, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, PageSize: pageSize,
			FreelistType: bbolt.FreelistMapType, MaxSize: max(maxSize, fileSize(path))})
		if err != nil {
			return judge(err)
		}
		b.AllocSize = allocSize
		return nil
	})
	if err != nil && b != nil {
		_ = guarded(b.Close)
	}
	return b, err
}

// OpenForReading opens a file that no agent has open, and changes nothing.
func OpenForReading(path string, log *slog.Logger) (*DB, error) {
	if err := whole(path); err != nil {
		return nil, err
	}
	db := &DB{path: path, o: Options{Log: log}}
	err := guarded(func() (err error) {
		db.bolt, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, ReadOnly: true})
		return judge(err)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", filepath.Base(path), err)
	}
	return db, nil
}

// Next gives a number that was never given before in its epoch, and never will
// be again. Nothing is written.
func (db *DB) Next() (epoch string, seq uint64) {
	db.writing.Lock()
	defer db.writing.Unlock()
	db.seq++
	return db.epoch, db.seq
}

// Last is the number that was given last, and the epoch of those to come.
func (db *DB) Last() (epoch string, seq uint64) {
	db.writing.Lock()
	defer db.writing.Unlock()
	return db.epoch, db.seq
}

// Written counts the bytes of pages that were written since the file was opened.
func (db *DB) Written() int64 { return db.written.Load() }

// Size is that of the file.
func (db *DB) Size() int64 { return int64(fileSize(db.path)) }

func fileSize(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// Close notes that every number that was given is known, and gives the file
// back.
func (db *DB) Close() error {
	db.writing.Lock()
	defer db.writing.Unlock()
	db.use.Lock()
	defer db.use.Unlock()
	var err error
	if !db.bolt.IsReadOnly() {
		err = guarded(func() error {
			return db.bolt.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket(bMeta).Put(keyClosed, append(binary.BigEndian.AppendUint64(nil, db.seq), db.o.Run...))
			})
		})
	}
	return errors.Join(err, guarded(db.bolt.Close))
}

// newEpoch is random: no two files, and no two lives of one, have the same.
func newEpoch() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
