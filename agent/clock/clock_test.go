package clock_test

import (
	"testing"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestTrust(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name   string
		synced bool
		floor  time.Time
		want   flex.ClockTrust
	}{
		{"disciplined and above the floor", true, now.Add(-time.Hour), flex.ClockSynced},
		{"not disciplined is holdover", false, now.Add(-time.Hour), flex.ClockHoldover},
		{"below the floor is never trusted", true, now.Add(time.Hour), flex.ClockUntrusted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := clock.New(clocktest.New(tc.synced), tc.floor)
			if _, got := w.Now(); got != tc.want {
				t.Errorf("trust = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFloorOnlyRises(t *testing.T) {
	w := clock.New(clocktest.New(true), time.Now().Add(-time.Hour))
	w.Raise(time.Now().Add(-2 * time.Hour))
	w.Raise(time.Now().Add(time.Hour))
	if _, got := w.Now(); got != flex.ClockUntrusted {
		t.Errorf("trust = %s, want untrusted below the raised floor", got)
	}
}

func TestCertificatesAreNeverJudgedBelowTheFloor(t *testing.T) {
	now := time.Now()
	ahead := now.Add(time.Hour)
	if got := clock.New(clocktest.New(false), ahead).Certificates(); !got.Equal(ahead) {
		t.Errorf("below the floor certificates are judged at %s, want the floor %s", got, ahead)
	}
	got := clock.New(clocktest.New(false), now.Add(-time.Hour)).Certificates()
	if got.Before(now.Round(0)) {
		t.Errorf("above the floor certificates are judged at %s, want the present, %s or later", got, now)
	}
}

// What is reached is never ahead of the true time, whatever the clock shows.
func TestOnlyASynchronisedClockReachesNewTimes(t *testing.T) {
	const built = -48 * time.Hour
	type step struct {
		wait   time.Duration
		step   time.Duration
		synced bool
		reboot bool
		want   time.Duration // from the beginning
	}
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"synchronised: it is now", []step{{wait: time.Hour, synced: true, want: time.Hour}}},
		{"never synchronised: the floor and the time since it was set", []step{{wait: time.Hour, want: built + time.Hour}}},
		{"a jump of years in holdover counts for nothing", []step{{wait: time.Hour, synced: true, want: time.Hour},
			{wait: time.Hour, step: 5 * 365 * 24 * time.Hour, want: 2 * time.Hour}}},
		{"a jump back in holdover takes nothing away", []step{{wait: 3 * time.Hour, synced: true, want: 3 * time.Hour},
			{wait: time.Hour, step: -2 * time.Hour, want: 4 * time.Hour}}},
		{"a jump before the first synchronisation counts for nothing", []step{{wait: time.Hour, step: 24 * time.Hour, want: built + time.Hour}}},
		{"another boot knows nothing of the last one's", []step{{wait: time.Hour, synced: true, want: time.Hour},
			{wait: time.Hour, reboot: true, want: built + 0}}},
		{"synchronised again after a wrong synchronisation", []step{{wait: time.Hour, step: 24 * time.Hour, synced: true, want: 25 * time.Hour},
			{wait: time.Hour, step: -24 * time.Hour, synced: true, want: 2 * time.Hour}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				begin := time.Now()
				src := clocktest.New(false)
				w := clock.New(src, begin.Add(built))
				for i, s := range tc.steps {
					time.Sleep(s.wait)
					src.Sync(s.synced)
					src.Step(s.step)
					if s.reboot {
						src.Reboot("boot-2")
					}
					if got := w.Reached().Sub(begin); got != s.want {
						t.Errorf("step %d: reached %v from the beginning, want %v", i, got, s.want)
					}
					w.Now()
				}
			})
		})
	}
}

func TestSystemStampsThisBoot(t *testing.T) {
	st := clock.New(&clock.System{}, time.Time{}).Stamp()
	if st.Boot == "" || st.Since <= 0 || st.At.Location() != time.UTC {
		t.Errorf("stamp = %+v, want a boot id, a time since boot, and UTC", st)
	}
}
