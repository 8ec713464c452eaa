package clock

import (
	"testing"
	"time"

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
			w := New(Fixed{IsSynced: tc.synced}, tc.floor)
			if _, got := w.Now(); got != tc.want {
				t.Errorf("trust = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFloorOnlyRises(t *testing.T) {
	w := New(Fixed{IsSynced: true}, time.Now().Add(-time.Hour))
	w.Raise(time.Now().Add(-2 * time.Hour))
	w.Raise(time.Now().Add(time.Hour))
	if _, got := w.Now(); got != flex.ClockUntrusted {
		t.Errorf("trust = %s, want untrusted below the raised floor", got)
	}
}

func TestCertificatesAreNeverJudgedBelowTheFloor(t *testing.T) {
	now := time.Now()
	ahead := now.Add(time.Hour)
	if got := New(Fixed{}, ahead).Certificates(); !got.Equal(ahead) {
		t.Errorf("below the floor certificates are judged at %s, want the floor %s", got, ahead)
	}
	if got := New(Fixed{}, now.Add(-time.Hour)).Certificates(); got.Before(now) {
		t.Errorf("above the floor certificates are judged at %s, want the present, %s or later", got, now)
	}
}

func TestSystemStampsThisBoot(t *testing.T) {
	st := New(&System{}, time.Time{}).Stamp()
	if st.Boot == "" || st.Since <= 0 || st.At.Location() != time.UTC {
		t.Errorf("stamp = %+v, want a boot id, a time since boot, and UTC", st)
	}
}
