package meter

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// minute is one of the power before t0, ago minutes.
func minute(ago int, w flex.Watts) flex.Interval {
	return flex.Interval{Start: t0.Add(time.Duration(-ago) * time.Minute), Step: time.Minute, Energy: int64(w) * 60, Seen: time.Minute, Quality: flex.QualityPower}
}

// history is a run of minutes up to t0, each with a power of its own.
func history(n int, power func(ago int) flex.Watts) []flex.Interval {
	var out []flex.Interval
	for ago := n; ago > 0; ago-- {
		out = append(out, minute(ago, power(ago)))
	}
	return out
}

func question(in, length time.Duration) Question {
	return Question{Asset: "a", Notice: t0, Window: flex.Window{Start: t0.Add(in), End: t0.Add(in + length)}}
}

func TestRecentIsTheMeanBeforeTheNotice(t *testing.T) {
	ago := func(n int) flex.Watts { return flex.Watts(n) }
	busy := func(from, to int) []flex.Window {
		return []flex.Window{{Start: t0.Add(time.Duration(-from) * time.Minute), End: t0.Add(time.Duration(-to) * time.Minute)}}
	}
	for _, c := range []struct {
		name    string
		minutes []flex.Interval
		in      time.Duration
		busy    []flex.Window
		want    flex.Watts
		fails   string
	}{
		{"the last thirty", history(240, ago), time.Hour, nil, 16, ""}, // 15.5 rounded away from zero
		{"a window that began before the notice", history(240, ago), -10 * time.Minute, nil, 26, ""},
		{"the minutes of a dispatch are left out", history(240, ago), time.Hour, busy(100, 10), 0, ""},
		{"a dispatch until now, and what was before it", history(240, ago), time.Hour, busy(60, 0), 76, ""},
		{"a dispatch for as long as is looked back", history(240, ago), time.Hour, busy(200, 0), 0, "only 0 of 30"},
		{"too few", history(14, ago), time.Hour, nil, 0, "only 14 of 30"},
		{"half of it", history(15, ago), time.Hour, nil, 8, ""},
		{"nothing", nil, time.Hour, nil, 0, "only 0 of 30"},
		{"what comes after the notice does not count", append(history(30, ago), minute(0, 90_000), minute(-1, 90_000)), time.Hour, nil, 16, ""},
		{"a negative mean", history(240, func(n int) flex.Watts { return -ago(n) }), time.Hour, nil, -16, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := question(c.in, 45*time.Minute)
			b, err := Recent(q, c.minutes, 30*time.Minute, c.busy)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("%v, want %q", err, c.fails)
				}
				return
			}
			if c.name == "the minutes of a dispatch are left out" {
				c.want = flex.Watts(flex.RoundDiv(10*11/2+20*221/2, 30)) // 1 to 10 and 101 to 120 ago
			}
			if err != nil || b.At(q.Window.Start) != c.want || b.At(q.Window.End) != c.want || b.Start.After(q.Window.Start) ||
				b.Start.Add(time.Duration(len(b.Values))*b.Step).Before(q.Window.End) || b.Detail == "" {
				t.Errorf("%+v, %v, want %v", b, err, c.want)
			}
		})
	}
}

func TestAMinuteThatWasHardlyMeasuredDoesNotCount(t *testing.T) {
	list := history(60, func(int) flex.Watts { return 100 })
	for n := 40; n < 50; n++ {
		list[n] = flex.Interval{Start: list[n].Start, Step: time.Minute, Energy: 9e9, Seen: 20 * time.Second, Quality: flex.QualityEstimated}
	}
	if b, err := Recent(question(time.Hour, time.Hour), list, 30*time.Minute, nil); err != nil || b.Values[0] != 100 {
		t.Errorf("%+v %v", b, err)
	}
}

func stated(from, steps int, step time.Duration, w flex.Watts, at time.Time) flex.Stated {
	s := flex.Stated{Start: t0.Add(time.Duration(from) * time.Minute), Step: step, At: at, By: "eve"}
	for n := range steps {
		s.Values = append(s.Values, w+flex.Watts(n))
	}
	return s
}

func TestNominatedIsWhatWasStatedBeforeTheNotice(t *testing.T) {
	day := t0.Add(-24 * time.Hour)
	for _, c := range []struct {
		name   string
		pieces []flex.Stated
		start  time.Duration // of the first value, after t0
		values []flex.Watts
		fails  string
	}{
		{"half-hours, with one on either side", []flex.Stated{stated(-60, 8, halfHour, 10, day)}, 0, []flex.Watts{12, 13, 14, 15}, ""},
		{"none on the sides", []flex.Stated{stated(30, 2, halfHour, 13, day)}, 30 * time.Minute, []flex.Watts{13, 14}, ""},
		{"hours", []flex.Stated{stated(0, 3, time.Hour, 7, day)}, -time.Hour, nil, ""},
		{"a finer piece in it", []flex.Stated{stated(0, 2, halfHour, 50, day), stated(60, 2, 15*time.Minute, 90, day)}, 15 * time.Minute, []flex.Watts{50, 51, 51, 90, 91}, ""},
		{"nothing at all", nil, 0, nil, "nothing is nominated for"},
		{"a hole", []flex.Stated{stated(30, 1, halfHour, 13, day)}, 0, nil, "nothing is nominated for the 30m0s from 2026-11-02T11:00Z"},
		{"stated too late", []flex.Stated{stated(-60, 8, halfHour, 10, t0.Add(time.Second))}, 0, nil, "nothing is nominated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := question(30*time.Minute, time.Hour)
			b, err := Nominated(q, flex.Nomination{Asset: "a", Pieces: c.pieces})
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("%v, want %q", err, c.fails)
				}
				return
			}
			if c.values == nil {
				c.start, c.values = 0, []flex.Watts{7, 8, 9}
			}
			if err != nil || !b.Start.Equal(t0.Add(c.start)) || !equal(b.Values, c.values) || b.Method != "nominated" || !strings.Contains(b.Detail, "eve") {
				t.Errorf("%+v, %v", b, err)
			}
		})
	}
}

func equal(a, b []flex.Watts) bool {
	if len(a) != len(b) {
		return false
	}
	for n := range a {
		if a[n] != b[n] {
			return false
		}
	}
	return true
}

func TestABaselineIsNeverSilentlyZero(t *testing.T) {
	rule := &Rule{Method: flex.MethodRecent, Fallback: FallbackRefuse, Span: halfHour}
	r := newRig(t, Asset{ID: "a", Meter: "grid", Rule: rule}, Asset{ID: "free", Meter: "grid"})
	w := flex.Window{Start: t0.Add(2 * time.Hour), End: t0.Add(3 * time.Hour)}
	if _, held, err := r.m.Baseline(t.Context(), "free", w, t0); held || err != nil {
		t.Errorf("%v %v", held, err)
	}
	_, held, err := r.m.Baseline(t.Context(), "a", w, t0)
	if why, refused := flex.RefusalOf(err); !held || !refused || why.Reason != flex.ReasonNoBaseline || len(r.alarms) != 1 {
		t.Errorf("%v %v %v", held, err, r.alarms)
	}
	rule.Fallback = FallbackZero
	b, held, err := r.m.Baseline(t.Context(), "a", w, t0)
	if !held || err != nil || b.Method != flex.MethodZero || !strings.Contains(b.Detail, "only 0 of 30") || !strings.Contains(r.alarms["baseline_missing a"], "zero is taken instead") {
		t.Errorf("%+v %v %v", b, err, r.alarms)
	}
	r.run("grid", 31*time.Minute, flat(700))
	b, _, err = r.m.Baseline(t.Context(), "a", w, r.wall.now)
	if err != nil || b.Method != flex.MethodRecent || b.At(w.Start) != 700 || len(r.alarms) != 0 {
		t.Errorf("%+v %v %v", b, err, r.alarms)
	}
	// The alarm ends with the window that it is about.
	if _, _, err = r.m.Baseline(t.Context(), "a", w, t0.Add(-time.Hour)); err != nil || len(r.alarms) != 1 {
		t.Fatalf("%v %v", err, r.alarms)
	}
	now := r.wall.now
	for at, left := range map[time.Time]int{w.End.Add(-time.Second): 1, w.End: 0} {
		r.alarms = alarms{}
		r.m.cfg.Health = r.alarms
		_, _, _ = r.m.Baseline(t.Context(), "a", w, t0.Add(-time.Hour))
		r.wall.now = at
		if r.m.keep(t.Context()); len(r.alarms) != left {
			t.Errorf("at %v: %v", at, r.alarms)
		}
	}
	r.wall.now = now
	// Over a restart the minutes are still known.
	r.m.keep(t.Context())
	r.restart()
	if b, _, err = r.m.Baseline(t.Context(), "a", w, r.wall.now); err != nil || b.At(w.Start) != 700 {
		t.Errorf("%+v %v", b, err)
	}
	// A dispatch of ours disturbs it; one that was refused, or wrote nothing, does not.
	rec := flex.Record{ID: "i", State: flex.Active, Window: flex.Window{Start: t0, End: t0.Add(20 * time.Minute)}, Shares: []flex.AssetShare{{Asset: "a", Power: 1}}}
	for _, c := range []struct {
		state flex.State
		write time.Time
		fails bool
	}{{flex.Active, time.Time{}, true}, {flex.Refused, time.Time{}, false}, {flex.Completed, t0, true}, {flex.Completed, time.Time{}, false}, {flex.Scheduled, time.Time{}, true}, {flex.Cancelled, time.Time{}, false}} {
		rec.State, rec.FirstWrite = c.state, c.write
		r.m.Note(flex.Changes{Records: []flex.Record{rec}})
		if _, err := r.m.Try(t.Context(), "a", w, r.wall.now); err == nil == c.fails {
			t.Errorf("%s: %v", c.state, err)
		}
	}
}
