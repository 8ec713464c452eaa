package agent_test

import (
	"math"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// figures are those of a closed loop, over a dispatch.
type figures struct {
	settle    time.Duration // after the step of the house, to a tenth of it
	overshoot float64       // part of the step, beyond the target
	rms, mean float64       // W, of the error once the start is over
	energy    float64       // part of the energy that was asked for
}

// figuresOf judges what the foreign meter showed from start to end; the start
// itself counts from ramp on.
func figuresOf(all []seen, target float64, start, end time.Time, ramp time.Duration) (f figures) {
	var last, step time.Time
	var n, sum, square, asked, given, before float64
	for _, x := range all {
		at := x.time()
		if x.Grid == nil || at.Before(start) || !at.Before(end) {
			continue
		}
		if step.IsZero() && before != 0 && x.House-before > 1500 {
			step = at
		}
		before = x.House
		miss := *x.Grid - target
		if !last.IsZero() {
			dt := at.Sub(last).Seconds()
			asked, given = asked+target*dt, given+*x.Grid*dt
		}
		last = at
		if at.Sub(start) >= ramp {
			n, sum, square = n+1, sum+miss, square+miss*miss
		}
		if !step.IsZero() {
			if math.Abs(miss) > 250 { // a tenth of the step
				f.settle = at.Sub(step)
			}
			f.overshoot = max(f.overshoot, miss/2500)
		}
	}
	f.rms, f.mean, f.energy = math.Sqrt(square/n), sum/n, (given-asked)/asked
	return f
}

// A plant and a meter of a stack that nobody here wrote, a lag of a second, a
// living house that takes 2.5 kW more in the midst: the asset's meter is held.
// FLEXD_LOOP lengthens the dispatch (30m for the figures of the README).
func TestAForeignPlantIsHeldAtItsMeter(t *testing.T) {
	t.Parallel()
	long := 75 * time.Second
	if d, err := time.ParseDuration(os.Getenv("FLEXD_LOOP")); err == nil {
		long = d
	}
	meter := freePort(t)
	_, port, _ := net.SplitHostPort(meter)
	bat := newForeignBattery(t, port, "1.0")
	s := newSite(t, siteOptions{foreign: bat.addr, meter: meter, asset: "control: meter", noBroker: true})
	s.inside()
	start := second(10 * time.Second) // the rest is known by then
	end := start.Add(long)
	s.instruct(ask("i1", "0.00300", "export", start, end))
	until(end)
	bat.mu.Lock()
	all := slices.Clone(bat.all)
	bat.mu.Unlock()
	f := figuresOf(all, 3000, start, end, 15*time.Second)
	t.Logf("3 kW for %v at a foreign meter, device lag 1 s: settles %.1f s after a step of 2.5 kW, overshoot %.1f %%, error RMS %.0f W (mean %.0f W), energy %+.2f %%",
		long, f.settle.Seconds(), 100*f.overshoot, f.rms, f.mean, 100*f.energy)
	if f.settle == 0 || f.settle > 20*time.Second || f.overshoot > 0.25 {
		t.Errorf("figures %+v", f)
	}
	if bound := 0.005 + 20/long.Seconds()*0.5; math.Abs(f.energy) > bound { // a start and a step cost a few seconds of power
		t.Errorf("energy is off by %.2f %%, bound %.2f %%", 100*f.energy, 100*bound)
	}
}
