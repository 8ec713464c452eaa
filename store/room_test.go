package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
)

// A flood of instructions may fill the file; what was taken in before must
// still be decided, and stops stored.
func TestAFullFileTakesNothingNewAndDecidesOn(t *testing.T) {
	db, err := Open(state(t), Options{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return t0 }, MaxSize: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	text := []byte(`"` + strings.Repeat("x", 16<<10) + `"`)
	n := 0
	for ; n < 1000; n++ {
		o := flex.Offer{Instruction: flex.Instruction{ID: flex.InstructionID(rune('a' + n)), Raw: text}, Received: flex.Stamp{At: t0}}
		if err = db.Commit(context.Background(), flex.Changes{Offers: []flex.Offer{o}}); err != nil {
			break
		}
	}
	var retry *flex.RetryError
	if !errors.As(err, &retry) || n < 50 {
		t.Fatalf("after %d offers: %v", n, err)
	}
	if _, err := db.PutNotice(t.Context(), flex.Notice{ID: "n"}, []byte("raw"), flex.Changes{}); !errors.As(err, &retry) {
		t.Errorf("a notification was taken in: %v", err)
	}
	commit(t, db, flex.Changes{Decided: []uint64{1}, Records: []flex.Record{record("x", flex.Scheduled, t0)}, JournalOpen: []flex.JournalEntry{{Device: "d"}}})
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

func TestWhatTheMarketSentIsKeptOnceAndThenByItsHash(t *testing.T) {
	db := mustOpen(t, state(t))
	old := t0.Add(-100 * 24 * time.Hour)
	in := flex.Instruction{ID: "i", Raw: []byte(`{"id":"i"}`), RawHash: "abc"}
	rec := record("i", flex.Completed, old)
	rec.Instruction = in
	commit(t, db, flex.Changes{Records: []flex.Record{rec}, Offers: []flex.Offer{{Instruction: in, Received: flex.Stamp{At: old}}},
		Replies: []flex.Reply{{Hash: "h", At: old, Raw: []byte("deflated"), Bytes: 99}, {Hash: "young", At: t0, Raw: []byte("deflated")}}})
	commit(t, db, flex.Changes{Decided: []uint64{1}})
	if r, _, _ := db.Record(t.Context(), "i"); r.Instruction.Raw != nil || r.Instruction.RawHash != "abc" {
		t.Errorf("the record keeps %q, %q", r.Instruction.Raw, r.Instruction.RawHash)
	}
	if o, _, _ := db.LatestOffer("i"); string(o.Instruction.Raw) != `{"id":"i"}` {
		t.Errorf("the offer keeps %q", o.Instruction.Raw)
	}
	if err := db.Prune(t.Context(), t0, 90*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	o, ok, _ := db.LatestOffer("i")
	replies, _ := db.Replies(t.Context(), 10)
	if !ok || o.Instruction.Raw != nil || o.Instruction.RawHash != "abc" || len(replies) != 2 || replies[1].Raw != nil || replies[1].Hash != "h" || replies[0].Raw == nil {
		t.Errorf("offer %+v, replies %+v", o.Instruction, replies)
	}
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
