package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
	"flexd/longtest"
)

// start is an offer of a dispatch, stop one that ends it.
func start(id string, raw string) flex.Offer {
	return flex.Offer{Instruction: flex.Instruction{ID: flex.InstructionID(id), Kind: flex.KindStart, Capacity: 1000, Raw: json.RawMessage(raw)}, Received: flex.Stamp{At: t0}}
}

func stop(id string) flex.Offer {
	o := start(id, `{}`)
	o.Instruction.Kind = flex.KindStop
	return o
}

func smallState(t *testing.T) *DB {
	t.Helper()
	db, err := Open(state(t), Options{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return t0 }, MaxSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	db.bolt.NoSync = true
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Whatever fills the file, in whatever way: what was accepted is carried to its
// end, stops and holds are stored, nothing is deleted, and nobody is silent.
func TestWhateverFillsTheFileEveryDecisionHasRoom(t *testing.T) {
	long := strings.Repeat("x", 4<<10)
	event := func(n int) flex.Message {
		body, _ := json.Marshal(flex.Event{Code: "c", Subject: strconv.Itoa(n), Text: long})
		return flex.Message{Stream: flex.StreamEvent, Body: body}
	}
	paths := []struct {
		name string
		fill func(db *DB, n int) error
	}{
		{"instructions", func(db *DB, n int) error {
			return db.Commit(t.Context(), flex.Changes{Offers: []flex.Offer{start(fmt.Sprint("i", n), `"`+long+`"`)}})
		}},
		{"small instructions", func(db *DB, n int) error {
			return db.Commit(t.Context(), flex.Changes{Offers: []flex.Offer{start(fmt.Sprint("j", n), `{}`)}})
		}},
		{"notifications", func(db *DB, n int) error {
			_, err := db.PutNotice(t.Context(), flex.Notice{ID: flex.NotificationID(fmt.Sprint("n", n)), State: flex.NoticeVerified, Received: t0}, []byte(long),
				flex.Changes{Audit: []flex.Audit{{What: "notice"}}, Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{}`)}}})
			return err
		}},
		{"events and diary", func(db *DB, n int) error {
			return db.Commit(t.Context(), flex.Changes{Outbox: []flex.Message{event(n)}, Audit: []flex.Audit{{What: "health", Text: long}}})
		}},
		{"intervals", func(db *DB, n int) error {
			return db.PutIntervals(t.Context(), map[flex.AssetID][]flex.Interval{flex.AssetID(fmt.Sprint("a", n)): {interval(t0, time.Minute, 1, flex.QualityPower)}}, []byte(long))
		}},
		{"replies and sightings", func(db *DB, n int) error {
			return db.Commit(t.Context(), flex.Changes{Replies: []flex.Reply{{Hash: strconv.Itoa(n), At: t0, Raw: []byte(long)}},
				Sightings: []flex.Sight{{Instruction: flex.InstructionID(strconv.Itoa(n))}}})
		}},
		{"contracts", func(db *DB, n int) error {
			return db.Commit(t.Context(), flex.Changes{Obligations: []flex.Obligation{{ID: flex.ObligationID(strconv.Itoa(n)), Bid: long}}, Nominations: []flex.Nomination{{Asset: flex.AssetID(strconv.Itoa(n)), Pieces: []flex.Stated{{}}}}})
		}},
		{"settings", func(db *DB, n int) error {
			return firstError(db.PutSetting(strconv.Itoa(n), []byte(long)), db.PutKeys(strconv.Itoa(n), []byte(long)))
		}},
	}
	fill := func(t *testing.T, db *DB, path func(*DB, int) error) int {
		for n := range 20000 {
			if err := path(db, n); err != nil {
				var retry *flex.RetryError
				if !errors.As(err, &retry) {
					t.Fatalf("after %d: %v", n, err)
				}
				return n
			}
		}
		return 20000
	}
	every := longtest.Pick(2, 1)
	first := rand.IntN(every) // every day others begin
	for i, p := range paths {
		if i%every != first {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			db := smallState(t)
			commit(t, db, flex.Changes{Audit: []flex.Audit{{What: "the first"}}, Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{"n":1}`)}}})
			if err := db.PutSetting("session", []byte("00000000")); err != nil {
				t.Fatal(err)
			}
			n := fill(t, db, p.fill)
			for k := range paths { // and then by all the others
				fill(t, db, paths[(i+k)%len(paths)].fill)
			}
			used := carryOut(t, db)
			acks, _ := db.Head(t.Context(), flex.StreamAck, 1)
			first, _ := db.Audit(t.Context(), time.Time{}, 0)
			if len(acks) != 1 || acks[0].Seq != 1 || len(first) == 0 || first[0].What != "the first" {
				t.Error("something was deleted to make room")
			}
			if err := firstError(db.PutSetting("session", []byte("00000001")), db.Check(t.Context())); err != nil {
				t.Error(err)
			}
			t.Logf("refused after %d; at the end %d of %d KiB are used", n, used>>10, db.max>>10)
		})
	}
}

// carryOut takes every offer of a full file through its whole life, and does
// all else that must have room then. It tells how much of the file is used.
func carryOut(t *testing.T, db *DB) (used int64) {
	t.Helper()
	commit(t, db, flex.Changes{Offers: []flex.Offer{stop("the stop")}, Sightings: []flex.Sight{{Instruction: "the stop"}}})
	commit(t, db, flex.Changes{Holds: []flex.Hold{hold("bat")}, JournalOpen: []flex.JournalEntry{{Device: "d"}}})
	offers, err := db.Undecided(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("t", 200)
	for _, o := range offers {
		rec := flex.Record{ID: o.Instruction.ID, Instruction: o.Instruction}
		decided := []uint64{o.Seq}
		for _, st := range []flex.State{flex.Admitted, flex.Scheduled, flex.Active, flex.Completed} {
			rec.State = st
			rec.Steps = append(rec.Steps, flex.Transition{State: st, Fact: flex.Stamp{At: t0}, Text: text})
			body, _ := json.Marshal(flex.Ack{Instruction: rec.ID, State: string(st), Text: text})
			commit(t, db, flex.Changes{Records: []flex.Record{rec}, Decided: decided, Outbox: []flex.Message{{Stream: flex.StreamAck, Body: body}},
				Audit: []flex.Audit{{What: "dispatch." + string(st), Subject: string(rec.ID), Text: text, Detail: body}}})
			decided = nil
		}
	}
	notices, err := db.OpenNotices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notices {
		n.State = flex.NoticeFetched
		commit(t, db, flex.Changes{Notices: []flex.Notice{n}, Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{"state":"fetched"}`)}}})
	}
	commit(t, db, flex.Changes{HoldsGone: []flex.AssetID{"bat"}, JournalClose: []flex.DeviceID{"d"}, Tombstones: []flex.Tombstone{{ID: "gone"}}})
	_ = db.bolt.View(func(tx *bbolt.Tx) error { used = db.used(tx); return nil })
	return used
}

// A broker that is away for months: the events fold, and say for how many they
// stand; acknowledgements all stay.
func TestUnsentEventsFoldAndAcknowledgementsStay(t *testing.T) {
	db := smallState(t)
	all := longtest.Pick(1200, 3000)
	for n := range all {
		body, _ := json.Marshal(flex.Event{Code: "device_lost", Subject: strconv.Itoa(n % 40), Text: strconv.Itoa(n)})
		commit(t, db, flex.Changes{Outbox: []flex.Message{{Stream: flex.StreamEvent, Body: body}, {Stream: flex.StreamAck, Body: []byte(`{}`)}}, Tombstones: []flex.Tombstone{{ID: "x"}}})
	}
	rows, err := db.Head(t.Context(), flex.StreamEvent, 5000)
	if err != nil || len(rows) > db.mostEvents() || len(rows) < 40 {
		t.Fatalf("%d events wait, %v", len(rows), err)
	}
	stands := 0
	for i, m := range rows {
		var e flex.Event
		if err := json.Unmarshal(m.Body, &e); err != nil || i > 0 && rows[i-1].Seq >= m.Seq {
			t.Fatalf("%+v, %v", m, err)
		}
		stands += 1 + e.Folded
	}
	if stands != all {
		t.Errorf("the events stand for %d of %d", stands, all)
	}
	if acks, _ := db.Waiting(flex.StreamAck); acks != all {
		t.Errorf("%d acknowledgements are left", acks)
	}
	for n := range longtest.Pick(800, 2000) { // of as many kinds
		body, _ := json.Marshal(flex.Event{Code: "k", Subject: fmt.Sprint("s", n)})
		commit(t, db, flex.Changes{Outbox: []flex.Message{{Stream: flex.StreamEvent, Body: body}}, Tombstones: []flex.Tombstone{{ID: "x"}}})
	}
	lines, _ := db.Audit(t.Context(), time.Time{}, 0)
	if n, _ := db.Waiting(flex.StreamEvent); n > db.mostEvents() || len(lines) == 0 || lines[0].What != "outbox.dropped" {
		t.Errorf("%d events wait, the diary says %+v", n, lines)
	}
}

// Everybody stores at once while the file grows: the mapping moves under the
// look at how much room there is. The race detector judges.
func TestRoomIsLookedAtWhileTheFileGrows(t *testing.T) {
	db := mustOpen(t, state(t))
	text := []byte(`"` + strings.Repeat("x", 64<<10) + `"`)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20 {
				id := flex.InstructionID(fmt.Sprintf("i%d-%d", w, i))
				o := flex.Offer{Instruction: flex.Instruction{ID: id, Raw: text}, Received: flex.Stamp{At: t0}}
				if err := db.Commit(t.Context(), flex.Changes{Offers: []flex.Offer{o}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDoorsAndDeclarationsAreKept(t *testing.T) {
	db := mustOpen(t, state(t))
	see := func(door flex.Door, rev int64, at time.Time) flex.Sight {
		return flex.Sight{Instruction: "i", Revision: rev, Sighting: flex.Sighting{Door: door, At: at}}
	}
	commit(t, db, flex.Changes{Sightings: []flex.Sight{see(flex.DoorWebhook, 1, t0)}, Unavailable: []flex.Unavailability{{ID: "u", Asset: "a"}}})
	commit(t, db, flex.Changes{Sightings: []flex.Sight{see(flex.DoorPoll, 1, t0.Add(time.Second)), see(flex.DoorWebhook, 1, t0.Add(time.Hour)), see(flex.DoorWebhook, 2, t0)}})
	if s, err := db.Sights(t.Context(), "i"); err != nil || len(s) != 3 || !s[0].At.Equal(t0) {
		t.Errorf("%+v, %v", s, err)
	}
	if u, err := db.Unavailable(t.Context()); err != nil || len(u) != 1 {
		t.Errorf("%+v, %v", u, err)
	}
	n := flex.Notice{ID: "n", Doors: []flex.Sighting{{Door: flex.DoorWebhook, At: t0}}}
	for _, door := range []flex.Door{flex.DoorWebhook, flex.DoorRelay, flex.DoorRelay} {
		n.Doors[0].Door = door
		if _, err := db.PutNotice(t.Context(), n, []byte("x"), flex.Changes{}); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, _ := db.Notice("n"); got.Seen != 3 || len(got.Doors) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestAnswersThatAreOwedAreFoundAgain(t *testing.T) {
	db := mustOpen(t, state(t))
	owed := record("owed", flex.Refused, t0)
	owed.Answer = &flex.Answer{Word: flex.Reject}
	told := record("told", flex.Scheduled, t0)
	told.Answer = &flex.Answer{Word: flex.Accept, Confirmed: t0}
	commit(t, db, flex.Changes{Records: []flex.Record{owed, told, record("none", flex.Scheduled, t0)}})
	if list, err := db.Records(t.Context(), RecordQuery{Owed: true}); err != nil || len(list) != 1 || list[0].ID != "owed" {
		t.Errorf("%+v, %v", list, err)
	}
	owed.Answer.Confirmed = t0
	commit(t, db, flex.Changes{Records: []flex.Record{owed}})
	if list, _ := db.Records(t.Context(), RecordQuery{Owed: true}); len(list) != 0 {
		t.Errorf("%d are still owed", len(list))
	}
}
