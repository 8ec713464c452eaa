package intake

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestAnInstructionThatVanishesFromTheListIsToldAndGoesOn(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		full := []flex.Instruction{start("i1", "a"), start("i2", "a")}
		poll := func(list []flex.Instruction) {
			r.market.sets["list"] = list
			if err := r.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		poll(full)
		poll(full[:1])
		if r.notes.raised(CodeNotListed) {
			t.Error("one list with a hole is enough")
		}
		poll(full[:1])
		if !r.notes.raised(CodeNotListed) {
			t.Error("not told")
		}
		poll(full)
		if r.notes.raised(CodeNotListed) {
			t.Error("still told although it is back")
		}
		if len(r.notes.stops) != 0 {
			t.Error("a hole in a list stopped something")
		}
	})
}

func TestWhoIsMissedOnTheList(t *testing.T) {
	for _, tc := range []struct {
		name   string
		listed time.Duration // the list shows it for so long; 0: never
		state  flex.State
		told   bool // within three days
	}{
		{"one that only a notification named", 0, flex.Scheduled, true},
		{"one that vanishes while it must be listed", time.Hour, flex.Scheduled, true},
		{"one that was stopped", time.Hour, flex.Stopped, false},
		{"one that was refused", 0, flex.Refused, false},
		{"one that grew too old for the list", listBack - 30*time.Minute, flex.Scheduled, false},
		{"one that was listed beyond its age and vanishes", 60 * time.Hour, flex.Scheduled, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) { missed(t, tc.listed, tc.state, tc.told) })
		})
	}
}

func missed(t *testing.T, listed time.Duration, state flex.State, want bool) {
	r := newRig(nil)
	r.market.count = 1
	in := start("i1", "a")
	in.Window.Start, in.Window.End = in.Window.Start.Add(5*24*time.Hour), in.Window.End.Add(5*24*time.Hour)
	r.market.offer("u", in)
	r.start(t)
	if err := r.Accept(t.Context(), body("u")); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	r.book.records["i1"] = flex.Record{ID: "i1", State: state}
	told := false
	for since := time.Duration(0); since < 72*time.Hour; since += 30 * time.Minute {
		time.Sleep(30 * time.Minute)
		if r.market.offer("list"); since < listed {
			r.market.offer("list", in)
		}
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		told = told || strings.HasPrefix(r.notes.text(CodeNotListed), "i1")
	}
	if told != want {
		t.Errorf("told: %v", told)
	}
	time.Sleep(4 * 24 * time.Hour)
	if err := r.Poll(t.Context()); err != nil || r.notes.raised(CodeNotListed) {
		t.Errorf("still told after the window: %v", err)
	}
}
