package dispatch

import (
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestStepKeepsToTheTable(t *testing.T) {
	all := []flex.State{"", flex.Admitted, flex.Scheduled, flex.Active, flex.Completed, flex.Refused, flex.Expired, flex.Cancelled, flex.Stopped, flex.Superseded}
	for _, from := range all {
		for _, to := range all[1:] {
			rec, err := Step(flex.Record{ID: "i", State: from}, Event{To: to, Fact: stampAt(noon)})
			ok := slices.Contains(allowed(from), to)
			if ok != (err == nil) || ok && (rec.State != to || len(rec.Steps) != 1) {
				t.Errorf("%q to %q: %v, %+v", from, to, err, rec)
			}
			if err != nil && (!strings.Contains(err.Error(), `"`+string(from)+`"`) || !strings.Contains(err.Error(), `"`+string(to)+`"`)) {
				t.Errorf("error %q does not name both states", err)
			}
			if from.Final() && ok {
				t.Errorf("final %q leads to %q", from, to)
			}
		}
	}
}

func TestRecover(t *testing.T) {
	dark := stampAt(noon)
	dark.Clock, dark.Boot = flex.ClockUntrusted, "another"
	sameDark := dark
	sameDark.Boot = "b"
	rec := func(state flex.State, from, to int, stop time.Time) flex.Record {
		r := openRecord("x", "ob", from, to)
		r.State, r.StopAt = state, stop
		if !stop.IsZero() {
			r.StopReason = flex.ReasonStopped
		}
		r.Steps = []flex.Transition{{State: state, Fact: stampAt(noon.Add(-time.Hour))}}
		return r
	}
	for _, tc := range []struct {
		name string
		rec  flex.Record
		now  flex.Stamp
		want Need
	}{
		{"final needs nothing", rec(flex.Completed, -60, 60, time.Time{}), stampAt(noon), NeedNothing},
		{"refused needs nothing", rec(flex.Refused, -60, 60, time.Time{}), stampAt(noon), NeedNothing},
		{"admitted is scheduled", rec(flex.Admitted, -60, 60, time.Time{}), stampAt(noon), NeedSchedule},
		{"ahead waits", rec(flex.Scheduled, 10, 60, time.Time{}), stampAt(noon), NeedWait},
		{"inside runs, proven or not", rec(flex.Scheduled, -10, 60, time.Time{}), stampAt(noon), NeedRun},
		{"active inside runs", rec(flex.Active, -10, 60, time.Time{}), stampAt(noon), NeedRun},
		{"active after its end is closed", rec(flex.Active, -60, -10, time.Time{}), stampAt(noon), NeedClose},
		{"the end is exclusive", rec(flex.Active, -60, 0, time.Time{}), stampAt(noon), NeedClose},
		{"stopped is closed", rec(flex.Active, -10, 60, noon.Add(-time.Minute)), stampAt(noon), NeedClose},
		{"stopped is closed without a clock", rec(flex.Active, -10, 60, noon.Add(-time.Minute)), dark, NeedClose},
		{"another boot without a clock holds", rec(flex.Active, -10, 60, time.Time{}), dark, NeedHold},
		{"the same boot without a clock runs", rec(flex.Active, -10, 60, time.Time{}), sameDark, NeedRun},
		{"an unknown state needs nothing", rec("odd", -10, 60, time.Time{}), stampAt(noon), NeedNothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Recover(tc.rec, tc.now); got != tc.want {
				t.Errorf("need %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	no := false
	started := openRecord("x", "ob", 0, 60)
	started.State, started.EchoAt = flex.Active, noon
	stopped := func(r flex.Record, at int, why flex.Reason) flex.Record {
		r.StopAt, r.StopReason, r.StopBy = noon.Add(time.Duration(at)*time.Minute), why, "s"
		return r
	}
	mins := func(m float64) time.Time { return noon.Add(time.Duration(m * float64(time.Minute))) }
	waiting := openRecord("x", "ob", 0, 60)
	short := openRecord("x", "ob", 0, 60).With(flex.Partial, true)
	short.Reason, short.Text = flex.ReasonLimitSetByOthers, "704 is enabled at 40 % by others"
	for _, tc := range []struct {
		name  string
		rec   flex.Record
		p     flex.Progress
		blind bool // control knows nothing of it
		now   time.Time
		state flex.State
		fact  time.Time
		conds []flex.Condition
		why   flex.Reason
	}{
		{name: "before its start it waits", rec: waiting, now: mins(-1), state: flex.Scheduled},
		{name: "the echo makes it active, at the time of the echo", rec: waiting, p: flex.Progress{EchoAt: mins(0.01), Engaged: true}, now: mins(1), state: flex.Active, fact: mins(0.01)},
		{name: "an echo of an earlier life does not", rec: waiting, p: flex.Progress{EchoAt: mins(-30)}, now: mins(1), state: flex.Scheduled},
		{name: "observed is active at its start", rec: waiting, p: flex.Progress{Observed: true}, now: mins(0.1), state: flex.Active, fact: noon, conds: []flex.Condition{flex.Observed}},
		{name: "conditions follow control", rec: started, p: flex.Progress{Missing: 100, MissingReason: flex.ReasonRating, Delivering: &no, Failed: []flex.DeviceID{"b"}, Overridden: true, Engaged: true}, now: mins(1), state: flex.Active,
			conds: []flex.Condition{flex.DeviceFailed, flex.NotDelivering, flex.Overridden, flex.Partial}, why: flex.ReasonRating},
		{name: "over and released is completed, at the release", rec: started, p: flex.Progress{Released: true, ReleasedAt: mins(60.01)}, now: mins(61), state: flex.Completed, fact: mins(60.01)},
		{name: "released before its end is completed at the end", rec: started, p: flex.Progress{Released: true, ReleasedAt: mins(20)}, now: mins(61), state: flex.Completed, fact: mins(60)},
		{name: "over and just not released yet", rec: started, p: flex.Progress{Engaged: true}, now: mins(60.01), state: flex.Active},
		{name: "over and not released is owed", rec: started, p: flex.Progress{Engaged: true}, now: mins(61), state: flex.Active, conds: []flex.Condition{flex.ReleaseOwed}},
		{name: "what control does not know is not released", rec: started, blind: true, now: mins(61), state: flex.Active, conds: []flex.Condition{flex.ReleaseOwed}},
		{name: "a paid debt completes", rec: started.With(flex.ReleaseOwed, true), p: flex.Progress{Released: true, ReleasedAt: mins(70)}, now: mins(71), state: flex.Completed, fact: mins(70)},
		{name: "stopped after the release", rec: stopped(started, 30, flex.ReasonStopped), p: flex.Progress{Released: true, ReleasedAt: mins(30.01)}, now: mins(31), state: flex.Stopped, fact: mins(30.01), why: flex.ReasonStopped},
		{name: "superseded after the hand-over", rec: stopped(started, 30, flex.ReasonSuperseded), p: flex.Progress{Released: true}, now: mins(31), state: flex.Superseded, fact: mins(30), why: flex.ReasonSuperseded},
		{name: "a hand-over ahead changes nothing", rec: stopped(started, 30, flex.ReasonSuperseded), p: flex.Progress{Engaged: true}, now: mins(29), state: flex.Active},
		{name: "stopped while its first write was under way", rec: stopped(waiting, 1, flex.ReasonStopped), p: flex.Progress{Engaged: true}, now: mins(1.01), state: flex.Scheduled},
		{name: "and released", rec: stopped(waiting, 1, flex.ReasonStopped), p: flex.Progress{Released: true}, now: mins(1.1), state: flex.Stopped, fact: mins(1), why: flex.ReasonStopped},
		{name: "never active is expired", rec: waiting, p: flex.Progress{Released: true}, now: mins(61), state: flex.Expired, fact: mins(60), why: flex.ReasonDeviceUnavailable},
		{name: "expired under a hold", rec: waiting, p: flex.Progress{Overridden: true, Released: true}, now: mins(61), state: flex.Expired, fact: mins(60), why: flex.ReasonLocalHold, conds: nil},
		{name: "expired for what was told within the window", rec: short, p: flex.Progress{Released: true}, now: mins(61), state: flex.Expired, fact: mins(60), conds: []flex.Condition{flex.Partial}, why: flex.ReasonLimitSetByOthers},
		{name: "expired for want of energy", rec: waiting, p: flex.Progress{MissingReason: flex.ReasonEnergyInsufficient}, now: mins(61), state: flex.Expired, fact: mins(60), why: flex.ReasonEnergyInsufficient},
		{name: "never proven but perhaps engaged is owed", rec: waiting, p: flex.Progress{Engaged: true}, now: mins(61), state: flex.Scheduled, conds: []flex.Condition{flex.ReleaseOwed}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Follow(tc.rec, tc.p, !tc.blind, stampAt(tc.now))
			if err != nil {
				t.Fatal(err)
			}
			if got.State != tc.state || got.Reason != tc.why || !slices.Equal(got.Conditions, tc.conds) {
				t.Errorf("%s (%s) %v, want %s (%s) %v", got.State, got.Reason, got.Conditions, tc.state, tc.why, tc.conds)
			}
			if !tc.fact.IsZero() && !got.Steps[len(got.Steps)-1].Fact.At.Equal(tc.fact) {
				t.Errorf("fact at %v, want %v", got.Steps[len(got.Steps)-1].Fact.At, tc.fact)
			}
			if again, err := Follow(got, tc.p, !tc.blind, stampAt(tc.now)); err != nil || changed(got, again) {
				t.Errorf("the same facts change it again: %+v, %v", again, err)
			}
		})
	}
}

// What others had changed was left to them: nobody says that it was handed back.
func TestWhatWasLeftToOthersIsNotToldAsHandedBack(t *testing.T) {
	for _, left := range [][]string{nil, {"bat1: register 40259 is 2, found 0"}} {
		got := handedBack(flex.Progress{Released: true, Left: left})
		if told := strings.Contains(got, "handed back"); told != (left == nil) || left != nil && !strings.Contains(got, left[0]) {
			t.Errorf("%v: %s", left, got)
		}
	}
}
