package series

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// damage is a file that is proven not to be what was written. Every other
// error may pass.
type damage struct{ err error }

func (d *damage) Error() string { return fmt.Sprintf("damaged: %v", d.err) }
func (d *damage) Unwrap() error { return d.err }

// judge tells whether an error of the library proves damage.
func judge(err error) error {
	for _, proof := range []error{berrors.ErrInvalid, berrors.ErrVersionMismatch, berrors.ErrChecksum} {
		if errors.Is(err, proof) {
			return &damage{err}
		}
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return errors.New("another process has it open: stop it first")
	}
	return err
}

// guarded takes a panic of the library, and a fault of the mapped file, for
// what they are: pages that cannot be understood or read.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &damage{fmt.Errorf("%v", r)}
		}
	}()
	return fn()
}

// whole tells whether a file has the pages that its headers speak of: the
// kernel kills who reads a map beyond the end.
func whole(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	const header, most = 16, 80
	high, valid := uint64(0), false
	for i := range int64(2) {
		raw := make([]byte, most)
		if info.Size() < (i+1)*pageSize {
			break
		}
		if _, err := f.ReadAt(raw, i*pageSize); err != nil {
			return err
		}
		b, sum := raw[header:], fnv.New64a()
		_, _ = sum.Write(b[:56])
		if binary.LittleEndian.Uint64(b[56:]) == sum.Sum64() {
			high, valid = max(high, binary.LittleEndian.Uint64(b[40:])), true
		}
	}
	if !valid || high > uint64(info.Size())/pageSize {
		return &damage{fmt.Errorf("it has %d bytes and no whole header for them", info.Size())}
	}
	return nil
}

// view reads within a transaction.
func (db *DB) view(fn func(*bbolt.Tx) error) error {
	db.use.RLock()
	b := db.bolt
	err := guarded(func() error { return b.View(fn) })
	db.use.RUnlock()
	return db.mend(b, err)
}

// update changes the file; writing is held.
func (db *DB) update(fn func(*bbolt.Tx) error) error {
	db.use.RLock()
	b := db.bolt
	before := allocated(b)
	err := guarded(func() error { return b.Update(fn) })
	if err == nil {
		db.written.Add(allocated(b) - before + pageSize) // and one header
	}
	db.use.RUnlock()
	return db.mend(b, err)
}

func allocated(b *bbolt.DB) int64 {
	stats := b.Stats()
	return stats.TxStats.GetPageAlloc()
}

// mend makes a file anew that turned out to be damaged. Its numbers go on: they
// are known here.
func (db *DB) mend(used *bbolt.DB, err error) error {
	bad := (*damage)(nil)
	if !errors.As(err, &bad) {
		return err
	}
	db.use.Lock()
	defer db.use.Unlock()
	if db.bolt != used || used.IsReadOnly() {
		return err
	}
	_ = guarded(used.Close)
	if rerr := os.Remove(db.path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		return errors.Join(err, rerr)
	}
	b, oerr := open(db.path, db.o.MaxSize)
	if oerr != nil {
		return errors.Join(err, oerr)
	}
	db.bolt = b
	return errors.Join(fmt.Errorf("%w: the file was made anew, what it kept is lost", err), guarded(func() error { return b.Update(makeBuckets) }))
}
