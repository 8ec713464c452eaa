package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
	"flexd/longtest"
)

// A year passes through the store: what it costs at the end is what it cost at
// the beginning. FLEXD_YEAR=100000 sets how many instructions (a tenth as many
// contracts); the figures count for that number, on a machine at rest.
func TestAYearPassesThrough(t *testing.T) {
	many, judged := longtest.Pick(500, 1500), false
	if n, err := strconv.Atoi(os.Getenv("FLEXD_YEAR")); err == nil {
		many, judged = n, true
	}
	path := state(t)
	db := mustOpen(t, path)
	db.bolt.NoSync = true
	began := t0.Add(-365 * day)
	took := make([]time.Duration, many)
	var last time.Time
	for i := range many {
		at := began.Add(time.Duration(i) * (365 * day / time.Duration(many)))
		if at.Sub(last) >= day {
			deliver(t, db)
			tend(t, db, at)
			last = at
		}
		if i%10 == 0 {
			contract(t, db, i/10, at)
		}
		id := flex.InstructionID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		from := time.Now()
		admit(t, db, id)
		life(t, db, string(id), at)
		took[i] = time.Since(from)
	}
	deliver(t, db)
	tend(t, db, t0)
	size := int64(0)
	_ = db.bolt.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil })
	_ = db.Close()
	from := time.Now()
	db, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return t0 }})
	start := time.Since(from)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	from = time.Now()
	look(t, db)
	status := time.Since(from)
	from = time.Now()
	r, ok, err := db.Record(t.Context(), flex.InstructionID(fmt.Sprintf("00000000-0000-4000-8000-%012d", many/2)))
	show := time.Since(from)
	if err != nil || !ok || r.State != flex.Completed || len(r.Steps) != 4 || len(db.Damaged()) != 0 || db.Lost() {
		t.Errorf("of last summer: %v %v %+v, damaged %v", ok, err, r, db.Damaged())
	}
	some := min(1000, many/4)
	first, end := middle(took[:some]), middle(took[many-some:])
	kib := func(kind string) (n int64) {
		parts, _ := db.archive.parts(kind)
		for _, p := range parts {
			n += p.size >> 10
		}
		return n
	}
	t.Logf("%d instructions: state.db %d KiB, archive %d KiB of history and %d KiB as sent; start %v, status %v, one of the archive %v; one instruction took %v first and %v last",
		many, size>>10, kib(kindHistory), kib(kindRaw), start, status, show, first, end)
	if size > 64<<20 || len(keysOf(t, db)) == 0 {
		t.Errorf("state.db has %d MiB", size>>20)
	}
	if judged && (start > time.Second || status > 20*time.Millisecond || end > first*12/10) {
		t.Error("the figures are beyond what is promised")
	}
}

// middle is the mean without the tenth that took longest: other work of the
// machine.
func middle(took []time.Duration) (mean time.Duration) {
	took = slices.Sorted(slices.Values(took))
	took = took[:len(took)*9/10]
	for _, d := range took {
		mean += d / time.Duration(len(took))
	}
	return mean
}

// contract has one contract begin, and the one that began a month ago go.
func contract(t *testing.T, db *DB, n int, at time.Time) {
	t.Helper()
	o := flex.Obligation{ID: flex.ObligationID(fmt.Sprint("o", n)), Assets: []flex.AssetID{"a"}, Raw: []byte(`{"id":"o"}`), SyncedAt: at}
	commit(t, db, flex.Changes{Obligations: []flex.Obligation{o}})
	if gone := n - 30; gone >= 0 {
		commit(t, db, flex.Changes{Obligations: []flex.Obligation{{ID: flex.ObligationID(fmt.Sprint("o", gone)), GoneAt: at}}})
	}
}

// admit is what is asked of the store before an instruction is decided.
func admit(t *testing.T, db *DB, id flex.InstructionID) {
	t.Helper()
	_, offered, err := db.LatestOffer(id)
	_, known, err2 := db.Record(t.Context(), id)
	_, stopped, err3 := db.Tombstone(t.Context(), id)
	_, err4 := db.Undecided(t.Context(), nil)
	if err := firstError(err, err2, err3, err4); err != nil || offered || known || stopped {
		t.Fatal(id, offered, known, stopped, err)
	}
}

// look is what a status page asks of the store.
func look(t *testing.T, db *DB) {
	t.Helper()
	ctx := context.Background()
	_, err1 := db.Records(ctx, RecordQuery{Open: true})
	_, err2 := db.Records(ctx, RecordQuery{Limit: 50})
	_, err3 := db.Obligations(ctx)
	_, err4 := db.Audit(ctx, time.Time{}, 50)
	_, err5 := db.OpenNotices(ctx)
	if err := firstError(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
}
