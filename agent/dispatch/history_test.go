package dispatch

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
)

// What went wrong is told afterwards as during it: every condition with its
// beginning and its end, how late the release was, and the energy.
func TestTheRecordKeepsWhatWentWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil)
		o := soon("i1", 10*time.Second)
		start, end := o.Instruction.Window.Start, o.Instruction.Window.End
		within := func(from, to time.Duration) bool {
			now := time.Now()
			return !now.Before(start.Add(from)) && now.Before(start.Add(to))
		}
		var counted flex.Seconds
		r.hands.extra = func(p *flex.Progress) {
			p.Missing, p.MissingReason, p.MissingText, p.Failed, p.Energy = 0, "", "", nil, nil
			if within(5*time.Second, 15*time.Second) {
				p.Missing, p.MissingReason, p.MissingText = 500, flex.ReasonSiteLimit, "the site's limit leaves 500 W less"
			}
			if within(40*time.Second, time.Minute) {
				p.Failed = []flex.DeviceID{"bat1"}
			}
			if within(0, 2*time.Minute) {
				counted = flex.InSeconds(min(time.Since(start), time.Minute))
			}
			p.Energy = []flex.Energy{{Asset: "a1", Account: 7, Asked: 600, Delivered: 500, Followed: counted}}
		}
		r.hands.stuck = true
		r.take(o, 1)
		time.Sleep(2 * time.Minute)
		if got := led.rec("i1"); !got.Has(flex.ReleaseOwed) {
			t.Fatalf("%s %v", got.State, got.Conditions)
		}
		r.hands.mu.Lock()
		r.hands.stuck = false
		r.hands.mu.Unlock()
		time.Sleep(5 * time.Second)
		r.end()
		rec := led.rec("i1")
		want := []flex.Spell{
			{Condition: flex.Partial, From: start.Add(5 * time.Second), To: start.Add(15 * time.Second)},
			{Condition: flex.DeviceFailed, From: start.Add(40 * time.Second), To: end},
			{Condition: flex.ReleaseOwed, From: end, To: rec.ReleasedAt},
		}
		if rec.State != flex.Completed || len(rec.History) != len(want) {
			t.Fatalf("%s, history %+v", rec.State, rec.History)
		}
		for i, w := range want {
			got := rec.History[i]
			if got.Condition != w.Condition || got.From.Sub(w.From).Abs() > time.Second || got.To.Sub(w.To).Abs() > time.Second {
				t.Errorf("history tells %+v, want %+v", got, w)
			}
		}
		if rec.History[0].Reason != flex.ReasonSiteLimit || rec.History[0].Text == "" {
			t.Errorf("the reason of %+v is lost", rec.History[0])
		}
		led.mu.Lock()
		last := led.acks[len(led.acks)-1]
		led.mu.Unlock()
		if last.State != string(flex.Completed) || !slices.Equal(last.History, rec.History) {
			t.Errorf("the last acknowledgement tells %+v", last)
		}
		if last.ReleaseLate == nil || *last.ReleaseLate < 50 || *last.ReleaseLate > 62 {
			t.Errorf("the release came a minute late, and %v is told", last.ReleaseLate)
		}
		if len(last.Energy) != 1 || last.Energy[0].Delivered != 500 || last.Energy[0].Followed != 60 {
			t.Errorf("energy %+v", last.Energy)
		}
	})
}

// A condition that flutters for hours stays within a bound, and its first
// beginning, its last end and its count are kept.
func TestAFlutteringConditionIsBounded(t *testing.T) {
	rec := openRecord("x", "ob", 0, 600)
	rec.State = flex.Active
	at := noon
	never := func(flex.Condition) time.Time { return time.Time{} }
	for range 300 {
		at = at.Add(20 * time.Second)
		rec = rec.With(flex.NotDelivering, true).Chronicle(at, never)
		rec = rec.Chronicle(at.Add(time.Second), never) // the same face again
		at = at.Add(20 * time.Second)
		rec = rec.With(flex.NotDelivering, false).Chronicle(at, never)
	}
	times := 0
	for _, s := range rec.History {
		times += max(1, s.Times)
	}
	if n := len(rec.History); n != 8 || times != 300 || !rec.History[n-1].To.Equal(at) || !rec.History[0].From.Equal(noon.Add(20*time.Second)) {
		t.Errorf("%d spells of %d times: %+v", len(rec.History), times, rec.History)
	}
}

// A dispatch whose only device is left to somebody else is overridden, and does
// not end as if nothing had been.
func TestTheFinalWordTellsOfADeviceThatWasLeftToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil)
		o := soon("i1", 10*time.Second)
		start := o.Instruction.Window.Start
		r.hands.extra = func(p *flex.Progress) {
			if p.Yielded = nil; !time.Now().Before(start.Add(20 * time.Second)) {
				p.Yielded = []flex.DeviceID{"bat1"}
			}
		}
		r.take(o, 1)
		time.Sleep(2 * time.Minute)
		r.end()
		rec := led.rec("i1")
		last := rec.Steps[len(rec.Steps)-1]
		if rec.State != flex.Completed || !rec.Has(flex.Overridden) || len(rec.History) == 0 || !strings.Contains(last.Text, "; overridden for 40s") {
			t.Errorf("%s %v %+v: %s", rec.State, rec.Conditions, rec.History, last.Text)
		}
	})
}

// What waits for one of a higher priority says so with its beginning and end,
// also in its last word; of one that never had its turn the reason is told.
func TestTheFinalWordTellsOfOneThatHadToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil)
		o := soon("i1", 10*time.Second)
		start := o.Instruction.Window.Start
		r.hands.extra = func(p *flex.Progress) {
			in := time.Since(start)
			p.Overridden = in >= 20*time.Second && in < 40*time.Second
			if p.Outranked = ""; p.Overridden {
				p.Outranked = "i0"
			}
		}
		r.take(o, 1)
		time.Sleep(2 * time.Minute)
		r.end()
		rec := led.rec("i1")
		last := rec.Steps[len(rec.Steps)-1]
		if rec.State != flex.Completed || rec.Has(flex.Overridden) || len(rec.History) != 1 || rec.History[0].To.Sub(rec.History[0].From).Round(5*time.Second) != 20*time.Second ||
			rec.History[0].Reason != flex.ReasonOutranked || !strings.Contains(last.Text, "; overridden for ") {
			t.Errorf("%s %v %+v: %s", rec.State, rec.Conditions, rec.History, last.Text)
		}
	})
	rec := openRecord("x", "o", 30, 60)
	rec.Steps = []flex.Transition{{State: flex.Admitted}, {State: flex.Scheduled}}
	waits := flex.Progress{Overridden: true, Outranked: "i0", Released: true}
	rec, err := Follow(rec, waits, true, stampAt(noon.Add(40*time.Minute)))
	if err != nil || rec.State != flex.Scheduled || !rec.Has(flex.Overridden) {
		t.Fatalf("%+v, %v", rec, err)
	}
	rec, err = Follow(rec, flex.Progress{Released: true}, true, stampAt(noon.Add(61*time.Minute)))
	if err != nil || rec.State != flex.Expired || rec.Steps[len(rec.Steps)-1].Reason != flex.ReasonOutranked {
		t.Errorf("%+v, %v", rec, err)
	}
}

// A device that fails shortly before the end, and answers again, counts as
// failed to the end: the history and the last word tell the same of it.
func TestTheLastWordAndTheHistoryAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil)
		o := soon("i1", 10*time.Second)
		end := o.Instruction.Window.End
		r.hands.extra = func(p *flex.Progress) {
			if p.Failed = nil; !time.Now().Before(end.Add(-2100*time.Millisecond)) && time.Now().Before(end.Add(-900*time.Millisecond)) {
				p.Failed = []flex.DeviceID{"bat1"}
			}
		}
		r.take(o, 1)
		time.Sleep(2 * time.Minute)
		r.end()
		rec := led.rec("i1")
		last := rec.Steps[len(rec.Steps)-1].Text
		if !rec.Has(flex.DeviceFailed) || len(rec.History) != 1 || !rec.History[0].To.Equal(end) || !strings.Contains(last, "; device failed for 2s") {
			t.Errorf("%v %+v: %s", rec.Conditions, rec.History, last)
		}
	})
}
