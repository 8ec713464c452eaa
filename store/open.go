package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// DefaultMaxSize bounds the file: a year of a busy site fits many times.
const DefaultMaxSize = 256 << 20

// reserve is the part of the file that is kept for decisions, the journal and
// stops: what only comes in is not taken any more.
const reserve = 5 // one fifth

// lockWait is how long to wait for another process that has the file open.
const lockWait = time.Second

// Options of Open. Log and Now are required.
type Options struct {
	Log     *slog.Logger
	Now     func() time.Time
	MaxSize int // bytes; 0: DefaultMaxSize
}

// DB is the open state file. It is safe for concurrent use.
type DB struct {
	bolt *bbolt.DB
	log  *slog.Logger
	now  func() time.Time
	lost bool
	most int64 // bytes of the file beyond which nothing new is taken in
	page int64 // bytes
	ids  ulids

	commits atomic.Uint64
	once    sync.Once
	err     error
}

// Open opens the state file at path, making it when it is not there. A file
// that is damaged is kept aside as path.bad-N, and the last backup, else an
// empty file, takes its place: Lost tells so. A file of a newer layout, and
// one that another process uses, is an error.
func Open(path string, o Options) (*DB, error) {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the data folder: %w", err)
	}
	lost := false
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		lost = tracesOfOlder(path)
		if err := restoreOrCreate(path, o); err != nil {
			return nil, err
		}
	}
	db, err := openFile(path, o)
	var bad *damage
	if errors.As(err, &bad) {
		aside, qerr := quarantine(path)
		if qerr != nil {
			return nil, errors.Join(err, qerr)
		}
		o.Log.Error("the state file is damaged and was kept aside", "file", aside, "error", err)
		lost = true
		if err := restoreOrCreate(path, o); err != nil {
			return nil, err
		}
		db, err = openFile(path, o)
	}
	if err != nil {
		return nil, err
	}
	db.lost = lost
	return db, nil
}

// damage is a file that cannot be used as it is.
type damage struct{ err error }

func (d *damage) Error() string { return fmt.Sprintf("damaged state file: %v", d.err) }
func (d *damage) Unwrap() error { return d.err }

// openFile opens and checks an existing file. bbolt may panic on a torn file:
// that is damage, not an end.
func openFile(path string, o Options) (db *DB, err error) {
	var b *bbolt.DB
	// The file is mapped: a torn one faults where it is read, which is a panic
	// only when asked for.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &damage{fmt.Errorf("panic: %v", r)}
		}
		if err != nil && b != nil {
			_ = b.Close()
		}
	}()
	b, err = bbolt.Open(path, 0o600, options(o.MaxSize))
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("another process has %s open: stop it first", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("cannot open the state file: %w", err)
	case err != nil:
		return nil, &damage{err}
	}
	if err = b.View(walk); err != nil {
		return nil, &damage{err}
	}
	if err = migrate(b); err != nil {
		return nil, err
	}
	return &DB{bolt: b, log: o.Log, now: o.Now, most: int64(o.MaxSize) - int64(o.MaxSize)/reserve, page: int64(b.Info().PageSize)}, nil
}

// options are the same wherever the file is opened: 4 KiB pages whatever the
// kernel's are, since a commit writes whole pages.
func options(maxSize int) *bbolt.Options {
	return &bbolt.Options{Timeout: lockWait, PageSize: 4096, FreelistType: bbolt.FreelistMapType, MaxSize: maxSize}
}

// walk reads every key and value in this goroutine, where a fault can be
// caught; the library's own check runs in one of its own, where it cannot.
func walk(tx *bbolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error { return walkBucket(name, b, 0) })
}

// maxDepth is more than our buckets are nested; a damaged file may claim any.
const maxDepth = 4

func walkBucket(name []byte, b *bbolt.Bucket, depth int) error {
	if b == nil || depth > maxDepth {
		return fmt.Errorf("the bucket %q is not readable", name)
	}
	var last []byte
	return b.ForEach(func(k, v []byte) error {
		if last != nil && bytes.Compare(k, last) <= 0 {
			return fmt.Errorf("the keys of bucket %q are out of order", name)
		}
		last = k
		if v == nil {
			return walkBucket(k, b.Bucket(k), depth+1)
		}
		if len(v) > 0 && v[0] == '{' && !json.Valid(v) {
			return fmt.Errorf("a value of bucket %q is torn", name)
		}
		return nil
	})
}

// migrate brings the layout up to this program's, or refuses a newer one.
func migrate(b *bbolt.DB) error {
	return b.Update(func(tx *bbolt.Tx) error {
		var have layout
		if meta := tx.Bucket(bMeta); meta != nil {
			if raw := meta.Get(keyLevel); raw != nil {
				if err := decode(raw, &have); err != nil {
					return &damage{err}
				}
			}
		}
		if have.Level > level {
			return fmt.Errorf("the state file has layout %d and this flexd knows %d: install the newer flexd again, or restore a backup", have.Level, level)
		}
		for _, name := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("cannot make the bucket %s: %w", name, err)
			}
		}
		if have.Level == level && have.Sublevel >= sublevel {
			return nil
		}
		raw, err := encode(layout{level, sublevel})
		if err != nil {
			return err
		}
		return tx.Bucket(bMeta).Put(keyLevel, raw)
	})
}

// tracesOfOlder tells whether a missing state file was there once: its backup
// or the telemetry beside it remain.
func tracesOfOlder(path string) bool {
	for _, trace := range []string{path + backupSuffix, filepath.Join(filepath.Dir(path), "series.db")} {
		if _, err := os.Stat(trace); err == nil {
			return true
		}
	}
	return false
}

// quarantine moves a damaged file aside under a free name.
func quarantine(path string) (string, error) {
	for n := 1; n < 100; n++ {
		aside := fmt.Sprintf("%s.bad-%d", path, n)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(path, aside); err != nil {
				return "", fmt.Errorf("cannot keep the damaged file aside: %w", err)
			}
			return aside, syncDir(filepath.Dir(path))
		}
	}
	return "", fmt.Errorf("there are 99 damaged files beside %s already: look at the disk", path)
}

// Lost tells that an older state was damaged or missing when this one was
// opened: devices may be under a control that nobody remembers.
func (db *DB) Lost() bool { return db.lost }

// Close gives the file back; further calls fail.
func (db *DB) Close() error {
	db.once.Do(func() { db.err = db.bolt.Close() })
	return db.err
}
