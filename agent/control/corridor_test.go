package control

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

// A device is read every second; what it did before it was told, what it is
// told, and when it is found out: -1 never.
func TestCorridor(t *testing.T) {
	const rating = 10_000
	ramp := func(from, to, step flex.Watts, n int) []flex.Watts {
		var out []flex.Watts
		for p := from; len(out) < n; {
			out = append(out, p)
			if p += step; step > 0 && p > to || step < 0 && p < to {
				p = to
			}
		}
		return out
	}
	hold := func(p flex.Watts, n int) []flex.Watts { return ramp(p, p, 0, n) }
	for _, tc := range []struct {
		name   string
		before span
		told   flex.Watts
		reads  []flex.Watts
		found  int // seconds after the first reading that shows it
	}{
		{"it follows at once", span{}, 3000, hold(3000, 60), -1},
		{"it ramps", span{}, 3000, ramp(0, 3000, 100, 60), -1},
		{"it was doing the opposite and ramps", span{-5000, -5000}, 3000, ramp(-5000, 3000, 250, 60), -1},
		{"it gave more and ramps down", span{8000, 8000}, 500, ramp(8000, 500, -250, 60), -1},
		{"it gives nothing", span{}, 3000, hold(0, 60), -1},
		{"its own needs while it is told to charge a little", span{-60, -60}, 200, hold(-60, 60), -1},
		{"noise", span{}, 500, []flex.Watts{480, 610, 390, 590, 420, 610, 540}, -1},
		{"losses", span{}, -3000, hold(-3400, 60), -1},
		{"a battery that is empty", span{2000, 2000}, 3000, append(hold(3000, 10), hold(0, 50)...), -1},
		{"a moment", span{}, 3000, []flex.Watts{3000, 3000, -3000, -3000, 3000, 3000}, -1},
		{"the opposite", span{}, 3000, hold(-3000, 60), 2},
		{"the opposite of charging", span{}, -2200, hold(4500, 60), 2},
		{"the opposite of little on a large device", span{}, 500, hold(-500, 60), 2},
		{"more than told", span{}, 500, hold(8000, 60), 2},
		{"more than told, from the other side", span{-4000, -4000}, 500, hold(8000, 60), 2},
		{"told to rest it goes", span{}, 0, hold(3000, 60), 2},
		{"it leaves in the wrong direction", span{2000, 2000}, 3000, hold(-2000, 60), 2},
		{"it was doing the opposite, ignores us, and is found out when settled", span{-3000, -3000}, 3000, hold(-3000, 60), 10 + 3},
		{"it turns round in the middle", span{-5000, -5000}, 3000, append(ramp(-5000, 3000, 2000, 5), hold(-5000, 10)...), 5 + 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			var c corridor
			told := span{tc.told, tc.told}
			c.aim(told, tc.before, start)
			m := marginsOf(tc.told, rating, Delivery{}.withDefaults().tolerance(tc.told, 0), 10)
			found := -1
			for i, p := range tc.reads {
				if _, proven := c.sees(p, start.Add(time.Duration(i)*time.Second), m, 10*time.Second, contraryFor); proven && found < 0 {
					found = i
				}
			}
			if found != tc.found {
				t.Errorf("found out at %d s, want %d", found, tc.found)
			}
		})
	}
}

// A setpoint that moves gives each its time: what was told before is still on
// its way.
func TestACorridorMovesWithTheSetpoint(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var c corridor
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	m := marginsOf(3000, 10_000, 150, 10)
	for n := range 120 { // up and down, and it lags 3 s behind
		p, lag := flex.Watts(3000), flex.Watts(3000)
		if n/5%2 == 1 {
			p = -3000
		}
		if (n-3)/5%2 == 1 {
			lag = -3000
		}
		if n%5 == 0 {
			c.aim(span{p, p}, span{lag, lag}, at(n))
		}
		if out, _ := c.sees(lag, at(n), m, 10*time.Second, contraryFor); out {
			t.Fatalf("outside after %d s", n)
		}
	}
}
