package store

import (
	"errors"
	"testing"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// What can wait comes along with what cannot: in the same change, and without
// being its fault or having it as one.
func TestWhatCanWaitComesAlong(t *testing.T) {
	db := mustOpen(t, state(t))
	var next flex.Changes
	var heard []error
	db.Along(func() (flex.Changes, func(error)) {
		c := next
		next = flex.Changes{}
		return c, func(err error) { heard = append(heard, err) }
	})
	txs := func() (n int) {
		_ = db.bolt.View(func(tx *bbolt.Tx) error { n = tx.ID(); return nil })
		return n
	}
	before := txs()
	next = flex.Changes{JournalOpen: []flex.JournalEntry{{Device: "a"}}}
	commit(t, db, flex.Changes{Records: []flex.Record{{ID: "i", State: flex.Scheduled}}})
	entries, _ := db.Journal(t.Context())
	if txs() != before+1 || len(entries) != 1 || len(heard) != 1 || heard[0] != nil {
		t.Errorf("%d changes, %v, heard %v", txs()-before, entries, heard)
	}
	commit(t, db, flex.Changes{JournalClose: []flex.DeviceID{"a"}}) // nothing comes along
	next = flex.Changes{JournalOpen: []flex.JournalEntry{{Device: ""}}}
	commit(t, db, flex.Changes{Records: []flex.Record{{ID: "j", State: flex.Scheduled}}})
	if _, ok, _ := db.Record(t.Context(), "j"); !ok || len(heard) != 2 || heard[1] == nil {
		t.Errorf("stored %v, heard %v", ok, heard)
	}
	next = flex.Changes{JournalOpen: []flex.JournalEntry{{Device: "b"}}}
	no := errors.New("no")
	err := db.update(t.Context(), deciding, func(*bbolt.Tx) error { return no })
	if entries, _ := db.Journal(t.Context()); !errors.Is(err, no) || len(entries) != 1 || len(heard) != 3 || heard[2] != nil {
		t.Errorf("%v, %v, heard %v", err, entries, heard)
	}
}
