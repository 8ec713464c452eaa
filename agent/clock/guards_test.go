package clock_test

import (
	"testing"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// turning is a kernel that stops vouching for its clock while it is read, or
// begins to.
type turning struct {
	*clocktest.Source
	says []bool
}

func (s *turning) Synced() bool {
	said := s.says[0]
	s.says = append(s.says[1:], said)
	return said
}

// The kernel must vouch for its clock before and after the reading.
func TestAReadingIsSyncedWhereTheKernelVouchesTwice(t *testing.T) {
	for _, tc := range []struct {
		before, after bool
		want          flex.ClockTrust
	}{{true, true, flex.ClockSynced}, {false, true, flex.ClockHoldover}, {true, false, flex.ClockHoldover}} {
		w := clock.New(&turning{clocktest.New(true), []bool{tc.before, tc.after}}, time.Now().Add(-time.Hour))
		if got := w.Stamp().Clock; got != tc.want {
			t.Errorf("vouched for before %v, after %v: %s, want %s", tc.before, tc.after, got, tc.want)
		}
	}
}

// The time since boot speaks for and against the clock of its own boot alone.
func TestAnotherBootSaysNothingAgainstTheClock(t *testing.T) {
	for _, boot := range []string{"boot-1", "boot-2"} {
		src := clocktest.New(true)
		w := clock.New(src, time.Now().Add(-time.Hour))
		if got := w.Stamp().Clock; got != flex.ClockSynced {
			t.Fatal(got)
		}
		if boot == "boot-2" {
			src.Reboot(boot)
		}
		src.Adjust(10*time.Second, false)
		want := flex.ClockUntrusted // stepped, and nobody vouches for it
		if boot == "boot-2" {
			want = flex.ClockHoldover
		}
		if got := w.Stamp().Clock; got != want {
			t.Errorf("in %s after a step: %s, want %s", boot, got, want)
		}
	}
}

// A floor that is told later and lies lower changes nothing.
func TestALowerFloorChangesNothing(t *testing.T) {
	w := clock.New(clocktest.New(true), time.Now().Add(-time.Hour))
	w.Raise(time.Now().Add(time.Hour))
	w.Raise(time.Now().Add(-2 * time.Hour))
	if got := w.Stamp().Clock; got != flex.ClockUntrusted {
		t.Errorf("%s below the floor", got)
	}
}
