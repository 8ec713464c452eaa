package store

import (
	"encoding/binary"
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

// DefaultMaxSize bounds the file: a year of a busy site fits many times.
const DefaultMaxSize = 256 << 20

// allocSize is by how much the file grows at a time.
const allocSize = 1 << 20

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
	path string
	lost bool
	max  int64 // bytes of the file
	page int64 // bytes
	ids  ulids

	epoch   epoch
	group   group
	outbox  outbox
	company []company
	wear    wear
	changed atomic.Bool // since the last backup
	aside   *asideList
	archive *archive
	upkeep  upkeep
	holds   sync.Mutex // serialises the second copy of the holds
	once    sync.Once
	err     error
}

// Open opens the state file at path, making it when it is not there. A file
// that is proven damaged is kept aside as path.bad-N, and the better of the
// two backups, else an empty file, takes its place: Lost tells so. Every other
// error may pass and leaves all files as they are: [ErrLocked], [ErrNewer],
// and whatever the system says.
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
	} else if err != nil {
		return nil, fmt.Errorf("cannot look at the state file: %w", err)
	}
	db, err := openFile(path, o)
	if bad := (*damage)(nil); errors.As(err, &bad) {
		file, qerr := quarantine(path)
		if qerr != nil {
			return nil, errors.Join(err, qerr)
		}
		o.Log.Error("the state file is damaged and was kept aside", "file", file, "error", err)
		lost = true
		if err := restoreOrCreate(path, o); err != nil {
			return nil, err
		}
		db, err = openFile(path, o)
	}
	if err != nil {
		return nil, err
	}
	db.lost = lost || db.aside.journal()
	if err := db.keepHolds(lost); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openFile opens an existing file for writing once its pages are proven.
func openFile(path string, o Options) (*DB, error) {
	if err := provePages(path); err != nil {
		return nil, err
	}
	tag, err := backupTag(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the state file: %w", err)
	}
	var (
		b    *bbolt.DB
		list = &asideList{}
	)
	err = guarded(func() (err error) {
		if b, err = bbolt.Open(path, 0o600, options(o.MaxSize)); err != nil {
			return judge(fmt.Errorf("cannot open the state file: %w", err))
		}
		b.AllocSize = allocSize
		if err := migrate(b, false); err != nil {
			return err
		}
		return setAside(b, list, o.Log)
	})
	if err != nil {
		if b != nil {
			_ = guarded(b.Close)
		}
		return nil, err
	}
	db := &DB{bolt: b, log: o.Log, now: o.Now, path: path, max: int64(o.MaxSize), page: int64(b.Info().PageSize), aside: list}
	db.upkeep.pause = slicePause
	db.company = []company{db.outbox.deletion}
	db.archive = &archive{filepath.Join(filepath.Dir(path), archiveDir), func(file string, at int64, err error) {
		db.skip([]byte(archiveDir), fmt.Appendf(nil, "%s:%d", file, at), err)
	}}
	if err := guarded(func() error { return firstError(takeEpoch(db, identity(path), tag), db.mendIndexes()) }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// options are the same wherever the file is opened. The free pages are counted
// anew at each start and not written with each commit: they can be 40 KiB of it,
// and a release that writes them opens such a file as well. The library counts the step
// by which it would grow next as well.
func options(maxSize int) *bbolt.Options {
	return &bbolt.Options{Timeout: lockWait, PageSize: pageSize, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, MaxSize: maxSize + allocSize}
}

// migrate brings the layout up to this program's, or refuses a newer one. Its
// commit also proves that the file takes one.
func migrate(b *bbolt.DB, fresh bool) error {
	return b.Update(func(tx *bbolt.Tx) error {
		var have layout
		meta := tx.Bucket(bMeta)
		if !fresh && (meta == nil || meta.Get(keyLevel) == nil) {
			return damaged("it has no layout record")
		}
		if !fresh {
			if err := decode(keyLevel, meta.Get(keyLevel), &have); err != nil {
				return &damage{err}
			}
			for _, name := range have.Buckets {
				if tx.Bucket([]byte(name)) == nil {
					return damaged("the bucket %s is gone", name)
				}
			}
		}
		if have.Level > level {
			return fmt.Errorf("%w: it has layout %d and this flexd knows %d: install the newer flexd again, or restore a backup", ErrNewer, have.Level, level)
		}
		older := !fresh && tx.Bucket(bOpenNotices) == nil
		for _, name := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("cannot make the bucket %s: %w", name, err)
			}
		}
		if older {
			if err := indexNotices(tx, func([]byte, error) {}); err != nil {
				return err
			}
		}
		if err := sequences(tx); err != nil {
			return err
		}
		now := layout{Level: level, Sublevel: max(sublevel, have.Sublevel)}
		err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			now.Buckets = append(now.Buckets, string(name))
			return nil
		})
		if err != nil {
			return err
		}
		raw, err := encode(keyLevel, now)
		if err != nil {
			return err
		}
		return tx.Bucket(bMeta).Put(keyLevel, raw)
	})
}

// sequences lifts the counters that number what is stored above the highest
// number in use, where a damaged one would give it again.
func sequences(tx *bbolt.Tx) error {
	lift := func(b *bbolt.Bucket) error {
		if k, _ := b.Cursor().Last(); len(k) == 8 && b.Sequence() < binary.BigEndian.Uint64(k) {
			return b.SetSequence(binary.BigEndian.Uint64(k))
		}
		return nil
	}
	outbox := tx.Bucket(bOutbox)
	err := outbox.ForEachBucket(func(name []byte) error { return lift(outbox.Bucket(name)) })
	return firstError(err, lift(tx.Bucket(bOffers)), lift(tx.Bucket(bAudit)))
}

// tracesOfOlder tells whether a missing state file was there once: something
// that only a running flexd leaves is beside it.
func tracesOfOlder(path string) bool {
	dir := filepath.Dir(path)
	for _, trace := range []string{path + backupSuffix, path + olderSuffix, path + holdsSuffix, path + ".bad-1", filepath.Join(dir, "series.db"), filepath.Join(dir, "why.db"), filepath.Join(dir, archiveDir)} {
		if _, err := os.Lstat(trace); err == nil {
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

// Close deletes what is sent and gives the file back; further calls fail.
func (db *DB) Close() error {
	db.once.Do(func() {
		db.outbox.end()
		for do, told := db.outbox.deletion(); do != nil; do, told = db.outbox.deletion() {
			v := db.transact([]*call{do})
			if told(v.err); v.err != nil {
				db.log.Warn("messages that were sent will be sent again", "error", v.err)
				break
			}
		}
		db.err = db.bolt.Close()
	})
	return db.err
}
