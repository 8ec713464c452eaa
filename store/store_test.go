package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

var t0 = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func mustOpen(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return t0 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func state(t *testing.T) string { return filepath.Join(t.TempDir(), "state.db") }

func record(id string, st flex.State, at time.Time) flex.Record {
	return flex.Record{ID: flex.InstructionID(id), State: st, Steps: []flex.Transition{{State: st, Fact: flex.Stamp{At: at}}}}
}

func commit(t *testing.T, db *DB, c flex.Changes) {
	t.Helper()
	if err := db.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func TestADecisionSurvivesWholeAfterReopening(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	commit(t, db, flex.Changes{
		Offers: []flex.Offer{{Instruction: flex.Instruction{ID: "i1"}}}, Records: []flex.Record{record("i1", flex.Admitted, t0)},
		Tombstones: []flex.Tombstone{{ID: "i9"}}, Obligations: []flex.Obligation{{ID: "o1"}}, Assets: []flex.MarketAsset{{ID: "a1"}},
		Competitions: []flex.Competition{{ID: "c1"}}, JournalOpen: []flex.JournalEntry{{Device: "bat1"}}, Holds: []flex.Hold{{By: "root"}},
		Audit: []flex.Audit{{What: "x", At: flex.Stamp{At: t0}}}, Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{}`)}},
	})
	_ = db.Close()
	db = mustOpen(t, path)
	ctx := t.Context()
	undecided, _ := db.Undecided(ctx, nil)
	rec, ok, _ := db.Record(ctx, "i1")
	_, tomb, _ := db.Tombstone(ctx, "i9")
	obs, _ := db.Obligations(ctx)
	assets, _ := db.Assets(ctx)
	comps, _ := db.Competitions(ctx)
	journal, _ := db.Journal(ctx)
	holds, _ := db.Holds(ctx)
	audit, _ := db.Audit(ctx, time.Time{}, 0)
	out, _ := db.Head(ctx, flex.StreamAck, 10)
	if len(undecided) != 1 || !ok || rec.State != flex.Admitted || !tomb || len(obs)+len(assets)+len(comps)+len(journal)+len(holds)+len(audit)+len(out) != 7 {
		t.Errorf("came back: %d undecided, %v %+v, tombstone %v, %d %d %d %d %d %d %d", len(undecided), ok, rec, tomb,
			len(obs), len(assets), len(comps), len(journal), len(holds), len(audit), len(out))
	}
	if db.Lost() {
		t.Error("an orderly restart counts as lost")
	}
	commit(t, db, flex.Changes{Decided: []uint64{undecided[0].Seq}, JournalClose: []flex.DeviceID{"bat1"}, HoldsGone: []flex.AssetID{""}})
	undecided, _ = db.Undecided(ctx, nil)
	journal, _ = db.Journal(ctx)
	holds, _ = db.Holds(ctx)
	if len(undecided)+len(journal)+len(holds) != 0 {
		t.Error("what was closed is still open")
	}
	if o, ok, err := db.LatestOffer("i1"); err != nil || !ok || o.Instruction.ID != "i1" {
		t.Errorf("latest offer = %+v %v %v", o, ok, err)
	}
}

func TestUndecidedOffersAreReadOnce(t *testing.T) {
	db := mustOpen(t, state(t))
	for _, id := range []flex.InstructionID{"a", "b"} {
		commit(t, db, flex.Changes{Offers: []flex.Offer{{Instruction: flex.Instruction{ID: id}}}})
	}
	first, err := db.Undecided(t.Context(), nil)
	if err != nil || len(first) != 2 {
		t.Fatal(first, err)
	}
	first[0].Door, first[1].Door = "known", "known"
	commit(t, db, flex.Changes{Decided: []uint64{first[0].Seq}, Offers: []flex.Offer{{Instruction: flex.Instruction{ID: "c"}}}})
	next, err := db.Undecided(t.Context(), first)
	if err != nil || len(next) != 2 || next[0].Instruction.ID != "b" || next[0].Door != "known" || next[1].Instruction.ID != "c" || next[1].Seq <= next[0].Seq {
		t.Errorf("next are %+v, %v", next, err)
	}
}

func TestADecisionIsAllOrNothing(t *testing.T) {
	db := mustOpen(t, state(t))
	err := db.Commit(t.Context(), flex.Changes{Records: []flex.Record{record("i1", flex.Admitted, t0)}, Tombstones: []flex.Tombstone{{ID: ""}}})
	if err == nil {
		t.Fatal("a nameless tombstone was stored")
	}
	if _, ok, _ := db.Record(t.Context(), "i1"); ok {
		t.Error("half of a failed decision was stored")
	}
}

func TestOutboxNumbersAreNeverUsedTwice(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	add := func(db *DB) flex.Message {
		commit(t, db, flex.Changes{Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{}`)}}})
		head, err := db.Head(t.Context(), flex.StreamAck, 100)
		if err != nil || len(head) == 0 {
			t.Fatal(err)
		}
		return head[len(head)-1]
	}
	a, b := add(db), add(db)
	if err := db.Done(t.Context(), flex.StreamAck, b.Seq); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	c := add(mustOpen(t, path))
	if a.Seq != 1 || b.Seq != 2 || c.Seq != 3 || a.ID >= b.ID || c.ID == "" {
		t.Errorf("numbers %d %d %d, ids %s %s %s", a.Seq, b.Seq, c.Seq, a.ID, b.ID, c.ID)
	}
}

func TestARepeatedNoticeOnlyCounts(t *testing.T) {
	db := mustOpen(t, state(t))
	n := flex.Notice{ID: "n1", State: flex.NoticeVerified, Received: t0}
	msg := flex.Changes{Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{}`)}}}
	for i, want := range []bool{true, false, false} {
		if fresh, err := db.PutNotice(t.Context(), n, []byte("raw"), msg); err != nil || fresh != want {
			t.Errorf("delivery %d: fresh = %v, %v", i+1, fresh, err)
		}
	}
	got, _, _ := db.Notice("n1")
	waiting, _ := db.Waiting(flex.StreamAck)
	body, ok, _ := db.Raw("n1")
	if got.Seen != 3 || waiting != 1 || !ok || string(body) != "raw" {
		t.Errorf("seen %d, %d messages, raw %q", got.Seen, waiting, body)
	}
	open, _ := db.OpenNotices(t.Context())
	n.State = flex.NoticeFetched
	commit(t, db, flex.Changes{Notices: []flex.Notice{n}})
	closed, _ := db.OpenNotices(t.Context())
	if len(open) != 1 || len(closed) != 0 {
		t.Errorf("open before %d, after %d", len(open), len(closed))
	}
}

func TestRecordsNewestFirst(t *testing.T) {
	db := mustOpen(t, state(t))
	for i, st := range []flex.State{flex.Completed, flex.Scheduled, flex.Refused, flex.Active} {
		commit(t, db, flex.Changes{Records: []flex.Record{record(fmt.Sprint("i", i), st, t0.Add(time.Duration(i)*time.Hour))}})
	}
	for _, tc := range []struct {
		name string
		q    RecordQuery
		want string
	}{
		{"all", RecordQuery{}, "i3 i2 i1 i0"}, {"open", RecordQuery{Open: true}, "i3 i1"},
		{"limit", RecordQuery{Limit: 2}, "i3 i2"}, {"since", RecordQuery{Since: t0.Add(2 * time.Hour)}, "i3 i2"},
	} {
		list, err := db.Records(t.Context(), tc.q)
		var ids []string
		for _, r := range list {
			ids = append(ids, string(r.ID))
		}
		if got := strings.Join(ids, " "); err != nil || got != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestANewerLayoutIsRefusedInPlainWords(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	raw, _ := encode(keyLevel, layout{Level: level + 1})
	if err := db.bolt.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bMeta).Put(keyLevel, raw) }); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	if _, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now}); err == nil || !strings.Contains(err.Error(), "install the newer flexd") {
		t.Errorf("err = %v", err)
	}
}

func TestTwoProcessesDoNotShareTheFile(t *testing.T) {
	path := state(t)
	mustOpen(t, path)
	if _, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("err = %v", err)
	}
}

func TestADamagedFileIsKeptAsideAndTheBackupOpens(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	commit(t, db, flex.Changes{Records: []flex.Record{record("i1", flex.Active, t0)}})
	commit(t, db, flex.Changes{Records: []flex.Record{record("i2", flex.Active, t0)}}) // so that either header knows the first
	if err := db.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		bad := append([]byte{}, good...)
		from := rng.IntN(len(bad) / 2)
		for j := from; j < min(len(bad), from+9000); j++ {
			bad[j] = byte(rng.Uint32())
		}
		if i%5 == 0 {
			bad = bad[:rng.IntN(len(bad))]
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		db := mustOpen(t, path)
		if _, ok, err := db.Record(t.Context(), "i1"); !ok || err != nil {
			t.Errorf("round %d: the record of the backup is gone: %v", i, err)
		}
		_ = db.Close()
	}
	if aside, _ := filepath.Glob(path + ".bad-*"); len(aside) == 0 {
		t.Error("no damaged file was kept aside")
	}
}

func TestAMissingFileWithTracesCountsAsLost(t *testing.T) {
	path := state(t)
	if db := mustOpen(t, path); db.Lost() {
		t.Error("the first start counts as lost")
	} else {
		_ = db.Close()
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 2 {
		t.Errorf("the first start leaves %v, want the state file and its holds", left)
	}
	_ = os.Remove(path)
	_ = os.Remove(path + holdsSuffix)
	_ = os.WriteFile(filepath.Join(filepath.Dir(path), "series.db"), []byte("x"), 0o600)
	if !mustOpen(t, path).Lost() {
		t.Error("a state file that vanished does not count as lost")
	}
}

// TestChild is not a test of its own: it commits until it is killed.
func TestChild(t *testing.T) {
	path := os.Getenv("FLEXD_STORE_CHILD")
	if path == "" {
		t.Skip("run by TestNoAcknowledgedCommitIsLost")
	}
	db, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if err := db.Commit(context.Background(), flex.Changes{Audit: []flex.Audit{{What: strconv.Itoa(i)}}, Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{}`)}}}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("committed")
	}
}

func TestNoAcknowledgedCommitIsLost(t *testing.T) {
	path := state(t)
	acked := 0
	for range 10 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), "FLEXD_STORE_CHILD="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		goal := 1 + rand.IntN(60)
		sc := bufio.NewScanner(out)
		for n := 0; n < goal && sc.Scan(); n++ {
			acked++
		}
		_ = cmd.Process.Kill()
		for sc.Scan() {
			acked++
		}
		_ = cmd.Wait()
		db := mustOpen(t, path)
		audit, err := db.Audit(t.Context(), time.Time{}, 0)
		out2, err2 := db.Head(t.Context(), flex.StreamAck, 1<<20)
		if err := errors.Join(err, err2, db.Check(t.Context())); err != nil {
			t.Fatal(err)
		}
		if db.Lost() || len(audit) < acked || len(audit) != len(out2) {
			t.Fatalf("%d acknowledged, %d audit lines, %d messages, lost %v", acked, len(audit), len(out2), db.Lost())
		}
		for i, m := range out2 {
			if m.Seq != uint64(i+1) {
				t.Fatalf("message %d has number %d", i, m.Seq)
			}
		}
		_ = db.Close()
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("rubbish"), 0)
	f.Add(make([]byte, 4096), 100)
	f.Fuzz(func(t *testing.T, junk []byte, at int) {
		path := filepath.Join(t.TempDir(), "state.db")
		db := mustOpen(t, path)
		_ = db.Close()
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > 0 {
			copy(raw[uint(at)%uint(len(raw)):], junk)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if db, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now}); err == nil {
			_ = db.Close()
		} else if !strings.Contains(err.Error(), "layout") {
			t.Errorf("a damaged file keeps the agent down: %v", err)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	db, err := Open(filepath.Join(b.TempDir(), "state.db"), Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for b.Loop() {
		if err := db.Commit(context.Background(), flex.Changes{Audit: []flex.Audit{{What: "x"}}}); err != nil {
			b.Fatal(err)
		}
	}
}
