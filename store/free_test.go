package store

import (
	"fmt"
	"testing"

	"flexd/agent/flex"
)

// A commit costs the card what it changes, however many pages upkeep has freed.
func TestFreePagesAreNotWrittenWithEachCommit(t *testing.T) {
	db := mustOpen(t, state(t))
	defer db.Close()
	db.bolt.NoSync = true
	for i := range 1000 {
		life(t, db, fmt.Sprint("i", i), t0.Add(-20*day))
	}
	deliver(t, db)
	tend(t, db, t0)
	before := WearOf(db)
	for range 50 {
		commit(t, db, flex.Changes{JournalOpen: []flex.JournalEntry{{Device: "d"}}})
	}
	after, free := WearOf(db), db.bolt.Stats().FreePageN
	if each := (after.State - before.State) / int64(after.Commits-before.Commits); free < 1000 || each > 24<<10 {
		t.Errorf("%d bytes for each commit beside %d free pages", each, free)
	}
}
