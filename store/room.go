package store

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// rank tells up to which filling of the file a change is taken. Whatever
// decides goes to the last page; everything else stops before, so that there
// is room for it.
type rank int

const (
	incoming rank = iota // diary, events, measurements, catalogue, new settings
	starting             // an offer that asks for power
	pointing             // a notification: it may announce a stop
	deciding             // stops, holds, releases, the journal, transitions, deletions
)

// tenths of the file up to which a rank is taken.
var tenths = [...]int64{incoming: 7, starting: 8, pointing: 9, deciding: 10}

// What is set aside for each instruction and notification that is not over: its
// transitions to come, with their announcements and lines of the diary.
const (
	promise       = 12 << 10
	noticePromise = 2 << 10
)

// rankOf is the rank of a decision. An offer that ends something is one of
// ours to carry out, not the market's to propose.
func rankOf(c flex.Changes) rank {
	switch {
	case slices.ContainsFunc(c.Offers, func(o flex.Offer) bool { return !o.Instruction.IsStop() }):
		return starting
	case len(c.Offers)+len(c.Notices)+len(c.Decided)+len(c.Records)+len(c.Tombstones)+len(c.Unavailable)+
		len(c.JournalOpen)+len(c.JournalClose)+len(c.Holds)+len(c.HoldsGone) > 0:
		return deciding
	}
	return incoming
}

// room tells whether the file takes a change of a rank; it is called in the
// transaction that would write it. Below deciding the file does not grow into
// its last tenth either: pages there are whole and in a row.
func (db *DB) room(tx *bbolt.Tx, r rank) error {
	db.grow(r == deciding)
	if r == deciding {
		return nil
	}
	used := db.used(tx)
	if used > db.max*tenths[r]/10 {
		return full(used)
	}
	due := int64(tx.Bucket(bOpen).Stats().KeyN+tx.Bucket(bUndecided).Stats().KeyN)*promise + int64(tx.Bucket(bOpenNotices).Stats().KeyN)*noticePromise
	if free := db.max - used - due; r < pointing && free < db.max/10 || free < db.max/20 {
		return full(used)
	}
	return nil
}

// used is what the file holds, free pages not counted.
func (db *DB) used(tx *bbolt.Tx) int64 {
	return tx.Size() - int64(db.bolt.Stats().FreePageN)*db.page
}

func full(used int64) error {
	return &flex.RetryError{After: time.Minute, Err: fmt.Errorf("the state file is nearly full (%d MiB): nothing new is taken in", used>>20)}
}

// grow sets, in a transaction, whether it may take the last page.
func (db *DB) grow(whole bool) {
	most := db.max
	if !whole {
		most = db.max * tenths[pointing] / 10
	}
	db.bolt.MaxSize = int(most + allocSize)
}

// whole tells, in a transaction, whether it may take the last page.
func (db *DB) whole() bool { return int64(db.bolt.MaxSize) == db.max+allocSize }
