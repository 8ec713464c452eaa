package store

import (
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// The file is mapped into memory, and whatever was touched once counts as
// ours until the kernel wants it back. A burst that grows the file must not
// look like a leak on a gateway with little memory: the pages are given back
// now and then, and stay in the kernel's cache.
const (
	giveBackEvery = 128     // commits
	giveBackFrom  = 4 << 20 // bytes of the file
)

// giveBack lets go of the mapping's pages. It only affects residence: what is
// read again is read from the cache.
func (db *DB) giveBack() {
	if db.wear.commits.Add(1)%giveBackEvery != 0 {
		return
	}
	// A read transaction keeps the mapping where it is meanwhile.
	_ = db.bolt.View(func(tx *bbolt.Tx) error {
		info := db.bolt.Info()
		if tx.Size() < giveBackFrom || info.Data == 0 {
			return nil
		}
		// By the raw call: the mapping is no Go memory, and is not made to look so.
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, info.Data, uintptr(tx.Size()), unix.MADV_DONTNEED)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
