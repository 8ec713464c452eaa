package store

import (
	"errors"
	"fmt"

	berrors "go.etcd.io/bbolt/errors"
)

// ErrLocked tells that another process has the state file open.
var ErrLocked = errors.New("another process has the state file open: stop it first")

// ErrNewer tells that a newer flexd has written the state file.
var ErrNewer = errors.New("the state file is of a newer flexd")

// damage is a file that is proven not to be what we wrote. Every other error
// of a file may pass: too many open files, no memory, a read-only mount, a
// disk that does not answer for a moment.
type damage struct{ err error }

func (d *damage) Error() string { return fmt.Sprintf("damaged state file: %v", d.err) }
func (d *damage) Unwrap() error { return d.err }

func damaged(format string, args ...any) error { return &damage{fmt.Errorf(format, args...)} }

// pageSize is the same whatever the kernel's is: a commit writes whole pages.
const pageSize = 4096

// judge tells whether an error of the library proves damage.
func judge(err error) error {
	for _, proof := range []error{berrors.ErrInvalid, berrors.ErrVersionMismatch, berrors.ErrChecksum} {
		if errors.Is(err, proof) {
			return &damage{err}
		}
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return ErrLocked
	}
	return err
}

// guarded takes a panic of the library for what it is: a file that it does not
// understand, though every page was proven.
func guarded(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged("%v", r)
		}
	}()
	return fn()
}
