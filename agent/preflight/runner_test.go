package preflight

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// world is a site with one window, and what was stored and raised.
type world struct {
	mu       sync.Mutex
	subjects []Subject
	bad      bool
	clock    flex.ClockTrust
	fails    error

	in     func() Input
	judged int
	kept   []flex.Preflight
	said   []string // result and the lead
	raised map[string]bool
	raises int
}

func (w *world) Upcoming(_ context.Context, now, to time.Time) ([]Subject, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.subjects), func(s Subject) bool { return !s.Window.End.After(now) || s.Window.Start.After(to) }), w.fails
}

func (w *world) Judge(_ context.Context, s Subject) (flex.Preflight, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judged++
	p := flex.Preflight{Kind: s.Kind, ID: s.ID, Window: s.Window, At: flex.Stamp{At: time.Now()}, Result: flex.PreflightGo}
	if w.bad {
		p.Result, p.Reasons = flex.PreflightAtRisk, []flex.Concern{{Reason: flex.ReasonLocalHold, Text: "held"}}
	}
	return p, nil
}

func (w *world) Look(context.Context) (Input, error) { return w.in(), w.fails }

func (w *world) LoadPreflights() ([]flex.Preflight, error) { return w.kept, nil }
func (w *world) PutPreflights(l []flex.Preflight) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = l
	return nil
}
func (w *world) Commit(_ context.Context, ch flex.Changes) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range ch.Audit {
		w.said = append(w.said, a.What)
	}
	if len(ch.Outbox) != len(ch.Audit) {
		return errors.New("every check is announced")
	}
	return nil
}
func (w *world) Raise(_, subject, _ string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.raised[subject] {
		w.raises++
	}
	w.raised[subject] = true
}
func (w *world) Clear(_, subject string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.raised, subject)
}

// after lets time go by, then looks at the world, or changes it.
func (w *world) after(d time.Duration, look func()) {
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	look()
}

// run lets a runner live for a while.
func (w *world) run(t *testing.T, d time.Duration) {
	t.Helper()
	r := New(Config{Leads: []time.Duration{24 * time.Hour, time.Hour, 10 * time.Minute}, Charge: w.in != nil, Site: w, Book: w, Health: w, Log: slog.New(slog.DiscardHandler),
		Stamp: func() flex.Stamp { return flex.Stamp{At: time.Now(), Clock: w.clock} }})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
}

func newWorld(ahead time.Duration) *world {
	w := flex.Window{Start: time.Now().Add(ahead), End: time.Now().Add(ahead + time.Hour)}
	return &world{raised: map[string]bool{}, clock: flex.ClockSynced, subjects: []Subject{{Kind: flex.PreflightObligation, ID: "ob", Window: w}}}
}

func TestEachLeadIsCheckedOnce(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		w := newWorld(30 * time.Hour)
		for _, step := range []struct {
			until time.Duration // after the beginning
			want  int
		}{{5 * time.Hour, 0}, {6*time.Hour + time.Minute, 1}, {28 * time.Hour, 1}, {29*time.Hour + time.Second, 2}, {29*time.Hour + 49*time.Minute, 2},
			{29*time.Hour + 50*time.Minute + time.Second, 3}, {32 * time.Hour, 3}} {
			start := w.subjects[0].Window.Start.Add(-30 * time.Hour)
			w.run(t, step.until-time.Since(start)) // every step is a restart as well
			if len(w.said) != step.want {
				t.Fatalf("%v after the beginning %d checks were made, want %d", step.until, len(w.said), step.want)
			}
		}
		if w.judged != 3 {
			t.Errorf("%d looks at a window that is well, want one a lead", w.judged)
		}
	})
}

func TestALateStartRunsTheNearestLeadAtOnce(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		w := newWorld(40 * time.Minute)
		w.run(t, settle+time.Second)
		if len(w.said) != 1 || w.kept[0].Lead != time.Hour {
			t.Fatalf("want the check of one hour, got %v %+v", w.said, w.kept)
		}
		for range 5 { // restarts in between repeat nothing
			w.run(t, time.Minute)
		}
		if len(w.said) != 1 {
			t.Errorf("%d checks after restarts, want 1", len(w.said))
		}
	})
}

func TestWhatIsAtRiskIsLookedAtUntilItIsWell(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		w := newWorld(50 * time.Minute)
		w.bad = true
		done := make(chan struct{})
		go func() { defer close(done); w.run(t, 3*time.Hour) }()
		w.after(10*time.Minute, func() {
			if !w.raised["ob"] || w.raises != 1 || !slices.Equal(w.said, []string{"preflight.at_risk"}) {
				t.Errorf("raised %v %d times, said %v", w.raised, w.raises, w.said)
			}
			w.bad = false
		})
		looks := 0
		w.after(4*time.Minute, func() {
			if w.raised["ob"] || !slices.Equal(w.said, []string{"preflight.at_risk", "preflight.go"}) {
				t.Errorf("still raised %v, said %v", w.raised, w.said)
			}
			looks = w.judged
		})
		w.after(20*time.Minute, func() {
			if w.judged != looks {
				t.Errorf("%d looks at a window that is well", w.judged-looks)
			}
			w.bad = true // at ten minutes it is at risk again, and then it is gone
		})
		w.after(10*time.Minute, func() {
			if !w.raised["ob"] {
				t.Error("not raised by the last check")
			}
			w.subjects = nil
		})
		w.after(2*time.Minute, func() {
			if w.raised["ob"] || len(w.kept) != 0 {
				t.Errorf("a window that is gone is still kept: %v %v", w.raised, w.kept)
			}
		})
		<-done
	})
}

func TestNothingIsCheckedByAWrongClock(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		w := newWorld(40 * time.Minute)
		w.clock = flex.ClockUntrusted
		w.run(t, 10*time.Minute)
		if w.judged != 0 {
			t.Error("a check was made by a clock that nobody trusts")
		}
		w.clock = flex.ClockHoldover
		w.run(t, time.Minute)
		if len(w.said) != 1 {
			t.Errorf("%d checks once the clock is plausible, want 1", len(w.said))
		}
	})
}

func TestAFailingStoreRepeatsTheCheck(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		w := newWorld(40 * time.Minute)
		w.fails = errors.New("disk")
		w.run(t, 5*time.Minute)
		w.fails = nil
		w.run(t, time.Minute)
		if len(w.said) != 1 {
			t.Errorf("%d checks, want 1", len(w.said))
		}
	})
}

func TestChargingIsPlannedAndAnnouncedWhenItBegins(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		w := newWorld(2 * time.Hour)
		base, _ := low()
		s := &w.subjects[0]
		s.Run, s.Shares = time.Hour, []flex.AssetShare{{Asset: "a", Power: 5000}}
		w.in = func() Input {
			in := base
			in.Now = flex.Stamp{At: time.Now(), Clock: flex.ClockSynced}
			return in
		}
		count := func() (n int) {
			for _, what := range w.said {
				if what == "preflight.precharge" {
					n++
				}
			}
			return n
		}
		go w.run(t, 4*time.Hour)
		for _, step := range []struct {
			d    time.Duration
			want int
		}{{80 * time.Minute, 0}, {5 * time.Minute, 1}, {2 * time.Hour, 1}} {
			w.after(step.d, func() {
				if got := count(); got != step.want {
					t.Errorf("announced %d times, want %d", got, step.want)
				}
			})
		}
		time.Sleep(time.Hour)
	})
}
