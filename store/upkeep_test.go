package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

const day = 24 * time.Hour

// life stores a dispatch from its notification to its end, as it happens.
func life(t testing.TB, db *DB, id string, at time.Time) {
	t.Helper()
	do := func(c flex.Changes) {
		t.Helper()
		if err := db.Commit(context.Background(), c); err != nil {
			t.Fatal(err)
		}
	}
	stamp := func(d time.Duration) flex.Stamp { return flex.Stamp{At: at.Add(d), Clock: flex.ClockSynced} }
	n := flex.Notice{ID: flex.NotificationID("n" + id), State: flex.NoticeVerified, Received: at, DataURL: "https://market.example/" + id, RawHash: id}
	ack := func(state string) flex.Message {
		body, _ := json.Marshal(flex.Ack{Notification: n.ID, Instruction: flex.InstructionID(id), State: state, FactAt: at})
		return flex.Message{Stream: flex.StreamAck, At: at, Body: body}
	}
	if _, err := db.PutNotice(context.Background(), n, []byte("body of "+id), flex.Changes{Outbox: []flex.Message{ack("notified"), ack("verified")}, Audit: []flex.Audit{{At: stamp(0), What: "notice.verified"}}}); err != nil {
		t.Fatal(err)
	}
	in := flex.Instruction{ID: flex.InstructionID(id), Kind: flex.KindStart, Capacity: 4000, Content: "content of " + id, Raw: json.RawMessage(`{"id":"` + id + `"}`), Window: flex.Window{Start: at.Add(time.Hour), End: at.Add(2 * time.Hour)}}
	n.State = flex.NoticeFetched
	do(flex.Changes{Offers: []flex.Offer{{Instruction: in, Received: stamp(time.Second), Notification: n.ID}}, Notices: []flex.Notice{n}, Replies: []flex.Reply{{Hash: id, At: at, Raw: []byte("reply of " + id)}},
		Sightings: []flex.Sight{{Instruction: in.ID, Sighting: flex.Sighting{Door: flex.DoorWebhook, At: at}}}, Outbox: []flex.Message{ack("fetched")}})
	rec := flex.Record{ID: in.ID, Instruction: in, Notification: n.ID, Window: in.Window}
	o, _, err := db.LatestOffer(in.ID)
	if err != nil {
		t.Fatal(err)
	}
	decided := []uint64{o.Seq}
	for i, st := range []flex.State{flex.Admitted, flex.Scheduled, flex.Active, flex.Completed} {
		rec.State = st
		rec.Steps = append(rec.Steps, flex.Transition{State: st, Fact: stamp(time.Duration(i) * time.Hour)})
		do(flex.Changes{Records: []flex.Record{rec}, Decided: decided, Outbox: []flex.Message{ack(string(st))}, Audit: []flex.Audit{{At: stamp(time.Duration(i) * time.Hour), What: "dispatch." + string(st), Subject: id}}})
		decided = nil
	}
}

func deliver(t testing.TB, db *DB) {
	t.Helper()
	if err := db.Done(context.Background(), flex.StreamAck, 1<<62); err != nil {
		t.Fatal(err)
	}
}

func tend(t testing.TB, db *DB, now time.Time) {
	t.Helper()
	db.upkeep.pause = 0
	if err := db.Upkeep(context.Background(), now, Keep{Raw: 90 * day}); err != nil {
		t.Fatal(err)
	}
}

func keysOf(t testing.TB, db *DB) map[string]int {
	t.Helper()
	out := map[string]int{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			out[string(name)] = b.Stats().KeyN
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What is over leaves the state file, whole, and everything of it is found in
// the archive; what is open, owed, undecided or not announced stays.
func TestWhatIsOverGoesToTheArchiveAndIsFoundThere(t *testing.T) {
	db := mustOpen(t, state(t))
	db.bolt.NoSync = true
	ctx, now := t.Context(), t0
	old := now.Add(-20 * day)
	for i := range 40 {
		life(t, db, fmt.Sprint("old", i), old.Add(time.Duration(i)*time.Minute))
	}
	life(t, db, "new", now.Add(-day))
	owed := record("owed", flex.Refused, old)
	owed.Answer = &flex.Answer{Word: flex.Reject}
	commit(t, db, flex.Changes{Records: []flex.Record{record("running", flex.Active, old), owed}, Offers: []flex.Offer{{Instruction: flex.Instruction{ID: "waits", Kind: flex.KindStart, Capacity: 1}, Received: flex.Stamp{At: old}}},
		Tombstones: []flex.Tombstone{{ID: "never came", By: "s", At: flex.Stamp{At: old}, Reason: flex.ReasonStopped}}})
	tend(t, db, now)
	if n := keysOf(t, db); n["dispatches"] != 43 || n["past"] != 1 {
		t.Fatalf("before anything was announced %v", n)
	}
	deliver(t, db)
	tend(t, db, now)
	if n := keysOf(t, db); n["dispatches"] != 3 || n["dispatches.time"] != 3 || n["instructions"] != 2 || n["instructions.latest"] != 2 || n["inbox"] != 1 || n["inbox.raw"] != 1 || n["replies"] != 1 || n["sightings"] != 1 || n["past"] != 81 || n["seen"] != 0 {
		t.Errorf("left in the state file: %v", n)
	}
	r, ok, err := db.Record(ctx, "old7")
	sights, _ := db.Sights(ctx, "old7")
	n, found, _ := db.Notice("nold7")
	body, raw, _ := db.Raw("nold7")
	o, offered, _ := db.LatestOffer("old7")
	if err != nil || !ok || r.State != flex.Completed || len(r.Steps) != 4 || len(sights) != 1 || !found || n.RawHash != "old7" || !raw || string(body) != "body of old7" || !offered || o.Instruction.Content != "content of old7" {
		t.Errorf("of an archived dispatch: %v %v %+v, %v, %v %+v, %q, %v %+v", ok, err, r, sights, found, n, body, offered, o)
	}
	if stop, ok, _ := db.Tombstone(ctx, "never came"); !ok || stop.By != "s" || stop.Reason != flex.ReasonStopped || !stop.At.At.Equal(old) {
		t.Errorf("an archived stop: %v %+v", ok, stop)
	}
	list, err := db.Records(ctx, RecordQuery{Limit: 10})
	if err != nil || len(list) != 10 || list[0].ID != "new" || list[1].ID != "old39" || list[9].ID != "old31" {
		t.Errorf("listed %v, %v", list, err)
	}
	if list, _ := db.Records(ctx, RecordQuery{Since: old.Add(35 * time.Minute)}); len(list) != 6 {
		t.Errorf("%d since an instant, want 6", len(list))
	}
	fresh, err := db.PutNotice(ctx, flex.Notice{ID: "nold7", State: flex.NoticeVerified, Received: now}, nil, flex.Changes{})
	if again, _, _ := db.Notice("nold7"); fresh || err != nil || again.State != flex.NoticeFetched || !again.Again {
		t.Errorf("a notification that is sent again counts as new: %v %v %+v", fresh, err, again)
	}
	lines, _ := db.Audit(ctx, time.Time{}, 1)
	if len(lines) != 1 || !strings.Contains(lines[0].Text, "40 of dispatches.time") {
		t.Errorf("the diary: %+v", lines)
	}
}

// State does not depend on the archive: without it an old id is still old.
func TestWithoutItsArchiveAnOldIDIsStillOld(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	life(t, db, "old", t0.Add(-20*day))
	commit(t, db, flex.Changes{Tombstones: []flex.Tombstone{{ID: "old", By: "s", At: flex.Stamp{At: t0.Add(-20 * day)}}}})
	deliver(t, db)
	tend(t, db, t0)
	_ = db.Close()
	if err := os.RemoveAll(filepath.Join(filepath.Dir(path), archiveDir)); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, path)
	r, ok, err := db.Record(t.Context(), "old")
	_, stopped, _ := db.Tombstone(t.Context(), "old")
	o, offered, _ := db.LatestOffer("old")
	if err != nil || !ok || r.State != flex.Completed || !r.Window.End.Equal(t0.Add(-20*day+2*time.Hour)) || !stopped || !offered || o.Instruction.Content != "content of old" {
		t.Errorf("%v %v %+v, %v, %v %+v", ok, err, r, stopped, offered, o)
	}
}

// A slice is bounded, whatever there is to do, and a pass that is cut goes on
// where it was.
func TestUpkeepGoesInSlicesAndIsResumed(t *testing.T) {
	db := mustOpen(t, state(t))
	db.bolt.NoSync = true
	for i := range 150 {
		life(t, db, fmt.Sprint("i", i), t0.Add(-20*day))
	}
	deliver(t, db)
	db.upkeep.pause = 0
	cuts := 0
	for err := context.Canceled; err != nil && cuts < 1000; cuts++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+5*cuts)*time.Millisecond)
		err = db.Upkeep(ctx, t0, Keep{Raw: 90 * day})
		cancel()
	}
	if n := keysOf(t, db); cuts < 2 || n["dispatches"] != 0 || n["inbox"] != 0 {
		t.Errorf("after %d cuts: %v", cuts-1, n)
	}
	s := &sweep{db: db, now: t0, keep: Keep{Raw: 90 * day}, after: window, sent: t0, moved: map[string]int{}}
	for i := range 150 {
		life(t, db, fmt.Sprint("j", i), t0.Add(-20*day))
	}
	deliver(t, db)
	for _, st := range s.steps() {
		for cursor := []byte(nil); ; {
			was, commits := keysOf(t, db)[string(st.bucket)], db.wear.commits.Load()
			next, err := s.slice(t.Context(), st, cursor)
			if err != nil {
				t.Fatal(err)
			}
			gone, n := was-keysOf(t, db)[string(st.bucket)], int(db.wear.commits.Load()-commits)
			if gone > n*st.take {
				t.Errorf("%s: %d transactions took %d values away", st.bucket, n, gone)
			}
			if cursor = next; next == nil {
				break
			}
		}
	}
	if n := keysOf(t, db); n["dispatches"] != 0 || n["inbox"] != 0 {
		t.Errorf("left: %v", n)
	}
}

// A decision that comes between the look and the deletion counts.
func TestWhatChangesWhileItLeavesStays(t *testing.T) {
	db := mustOpen(t, state(t))
	life(t, db, "i", t0.Add(-20*day))
	deliver(t, db)
	s := &sweep{db: db, now: t0, keep: Keep{Raw: 90 * day}, after: window, sent: t0, moved: map[string]int{}}
	var f found
	err := db.bolt.View(func(tx *bbolt.Tx) (err error) {
		k, _ := tx.Bucket(bByTime).Cursor().First()
		f, err = s.record(tx, k, nil)
		return err
	})
	if err != nil || f.take == nil {
		t.Fatalf("%+v, %v", f, err)
	}
	changed := record("i", flex.Completed, t0.Add(-20*day))
	changed.Text = "changed since"
	commit(t, db, flex.Changes{Records: []flex.Record{changed}})
	if err := s.remove(t.Context(), step{bucket: bByTime}, []*leaving{f.take}); err != nil {
		t.Fatal(err)
	}
	if r, ok, _ := db.Record(t.Context(), "i"); !ok || r.Text != "changed since" || keysOf(t, db)["past"] != 0 {
		t.Errorf("%v %+v", ok, r)
	}
}

// The archive is bounded by age and bytes, the oldest goes first, and the
// diary says what, how much and why.
func TestTheArchiveIsBoundedAndTheDiarySaysWhatGoes(t *testing.T) {
	db := mustOpen(t, state(t))
	db.bolt.NoSync = true
	at := t0.Add(-500 * day)
	for i := range 18 {
		life(t, db, fmt.Sprint("i", i), at.Add(time.Duration(i)*30*day))
		deliver(t, db)
		tend(t, db, at.Add(time.Duration(i)*30*day+10*day))
	}
	history, err := db.archive.parts(kindHistory)
	raw, err2 := db.archive.parts(kindRaw)
	if err := firstError(err, err2); err != nil || len(history) < 13 || len(history) > 15 || len(raw) < 3 || len(raw) > 5 {
		t.Errorf("%d months of history, %d of what was sent, %v", len(history), len(raw), err)
	}
	gone, why, err := db.archive.excess(kindHistory, time.Time{}, history[0].size*3)
	if err != nil || len(gone) == 0 || len(gone) >= len(history) || gone[0] != history[0] || !strings.Contains(why[0], "MiB") {
		t.Errorf("beyond the bytes: %v %v %v", gone, why, err)
	}
	said := ""
	err = db.archive.visit(kindHistory, time.Time{}, func(s *segment, fr frame) (bool, error) {
		list, err := s.entries(fr)
		for _, e := range list {
			said += string(e.Value) + "\n"
		}
		return false, err
	})
	if err != nil || !strings.Contains(said, "upkeep.dropped") || !strings.Contains(said, "1 of dispatches") || !strings.Contains(said, "older than it has to be kept") {
		t.Errorf("the diary does not tell of what was dropped, %v", err)
	}
}

// Where nobody fetches the outbox it must not fill the file.
func TestWithoutABrokerTheOutboxIsArchived(t *testing.T) {
	db := mustOpen(t, state(t))
	life(t, db, "i", t0.Add(-20*day))
	db.upkeep.pause = 0
	if err := db.Upkeep(t.Context(), t0, Keep{Raw: 90 * day, Unsent: true}); err != nil {
		t.Fatal(err)
	}
	if n, _ := db.Waiting(flex.StreamAck); n != 0 || keysOf(t, db)["dispatches"] != 0 {
		t.Errorf("%d acknowledgements wait, %v", n, keysOf(t, db))
	}
}
