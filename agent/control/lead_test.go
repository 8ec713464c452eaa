package control

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

// The first write leaves so much ahead of the start as the device needs, by
// its commissioning or its configuration; the release is on the second.
func TestADeviceIsToldAheadOfTheStart(t *testing.T) {
	for _, tc := range []struct {
		name       string
		measured   time.Duration
		configured *time.Duration
		want       time.Duration
	}{
		{"on the second", 0, nil, 0},
		{"as measured", 1500 * time.Millisecond, nil, 1500 * time.Millisecond},
		{"as configured", 1500 * time.Millisecond, new(time.Duration), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := &device{id: "bat"}
				r := newRig(t, nil, false, d)
				r.c.cfg.Standing = func(flex.DeviceID) Standing { return Standing{Lead: tc.measured} }
				r.c.slots[0].set.Lead = tc.configured
				r.start()
				start := time.Now().Add(10 * time.Second)
				r.board.change(func(b *board) {
					b.running = []flex.Dispatch{wants("i1", d, 5000, start, start.Add(10*time.Second))}
				})
				time.Sleep(15 * time.Second)
				times, powers := d.log()
				if len(times) == 0 || !times[0].Equal(start.Add(-tc.want)) || powers[0] != 5000 {
					t.Errorf("told at %v %v, want %v before the start", times, powers, tc.want)
				}
				time.Sleep(5*time.Second + 10*time.Millisecond)
				if d.controlled() {
					t.Error("not released on the second")
				}
				r.kill()
			})
		})
	}
}
