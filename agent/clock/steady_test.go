package clock_test

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestTheSteadyClockIsNeverStepped(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		src := clocktest.New(true)
		w := clock.New(src, time.Time{})
		begin, sum := w.Steady(), time.Duration(0)
		for _, by := range []time.Duration{0, 10 * time.Millisecond, -10 * time.Millisecond, time.Hour, -3 * time.Hour, 5 * time.Millisecond, 2 * time.Hour} {
			src.Step(by)
			sum += by
			time.Sleep(time.Minute)
			now, ahead := w.Both()
			if d := now.At.Sub(w.Steady()) - sum; d != 0 {
				t.Errorf("stepped by %v in all, the wall clock is %v off", sum, d)
			}
			if (ahead-sum).Abs() > 20*time.Millisecond || sum == 0 && ahead != 0 {
				t.Errorf("stepped by %v in all, and told as %v", sum, ahead)
			}
		}
		if d := w.Steady().Sub(begin); d != 7*time.Minute {
			t.Errorf("after seven minutes the steady clock has gone on by %v", d)
		}
	})
}

func TestAStepByNobodysWordIsNotTrusted(t *testing.T) {
	for _, tc := range []struct {
		name   string
		first  bool // synchronised before
		step   time.Duration
		synced bool // after the step
		wait   time.Duration
		want   flex.ClockTrust
	}{
		{"stepped and not synchronised", true, time.Hour, false, 0, flex.ClockUntrusted},
		{"back as well", true, -time.Hour, false, time.Hour, flex.ClockUntrusted},
		{"a second is holdover", true, time.Second, false, 0, flex.ClockHoldover},
		{"stepped by whoever synchronises it", true, time.Hour, true, 0, flex.ClockSynced},
		{"never synchronised: the clock is all there is", false, time.Hour, false, 0, flex.ClockHoldover},
		{"a day later nobody knows any more", true, time.Hour, false, 25 * time.Hour, flex.ClockHoldover},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				src := clocktest.New(tc.first)
				w := clock.New(src, time.Time{})
				w.Now()
				time.Sleep(time.Minute)
				src.Adjust(tc.step, tc.synced)
				time.Sleep(tc.wait)
				st := w.State()
				if st.Trust != tc.want || (tc.want == flex.ClockUntrusted) != strings.Contains(st.Why, "was stepped by") {
					t.Errorf("%+v, want %s", st, tc.want)
				}
				if src.Adjust(-tc.step, true); w.State().Trust != flex.ClockSynced {
					t.Errorf("put right: %+v", w.State())
				}
			})
		})
	}
}
