package control

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
)

// While one of a higher priority has the device, the lower one waits, says so,
// and counts nothing; then it goes on, whether or not the process was killed
// meanwhile.
func TestALowerPriorityWaitsAndGoesOn(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed %v", killed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := &device{id: "bat"}
				r := newRig(t, nil, false, d)
				r.start()
				time.Sleep(2 * time.Second)
				start := time.Now().Truncate(time.Second).Add(5 * time.Second)
				lower := wants("lower", d, 3000, start, start.Add(10*time.Minute))
				lower.Obligation, lower.Priority = "b", 1
				higher := wants("higher", d, 5000, start.Add(2*time.Minute), start.Add(4*time.Minute))
				higher.Obligation, higher.Priority = "a", 2
				orders := []flex.Dispatch{lower, higher}
				r.board.change(func(b *board) { b.running = orders })
				see := func(at time.Duration, want flex.Watts, waits bool) {
					t.Helper()
					time.Sleep(time.Until(start.Add(at)))
					p := r.c.Progress()["lower"]
					_, powers := d.log()
					if !d.controlled() || powers[len(powers)-1] != want || p.Overridden != waits || (p.Outranked == "higher") != waits {
						t.Errorf("after %v told %v, progress %+v", at, powers, p)
					}
					if waits && (!p.Released || p.Missing != 0 || p.Delivering != nil || len(p.Failed) > 0) {
						t.Errorf("after %v, waiting: %+v", at, p)
					}
				}
				see(time.Minute, 3000, false)
				see(3*time.Minute, 5000, true)
				given := r.c.Progress()["lower"].Energy[0].Delivered
				if killed {
					r.kill()
					r = newRig(t, r.journal, false, d)
					r.board.running = orders
					if err := r.c.Recover(context.Background()); err != nil {
						t.Fatal(err)
					}
					r.start()
					given = 0 // of an account of its own
					see(3*time.Minute+10*time.Second, 5000, true)
				}
				see(9*time.Minute+59*time.Second, 3000, false)
				want := flex.WattSeconds(3000 * (6*60 - 1))
				if got := r.c.Progress()["lower"].Energy[0].Delivered - given; max(got-want, want-got) > 3000*3 {
					t.Errorf("counted %v behind the higher one, want %v", got, want)
				}
				_, powers := d.log()
				powers = slices.Compact(slices.Clone(powers))
				if want := []flex.Watts{3000, 5000, 3000}; !slices.Equal(powers, want) {
					t.Errorf("told %v, want %v", powers, want)
				}
				r.kill()
			})
		})
	}
}
