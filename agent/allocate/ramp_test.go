package allocate

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

// A slow battery comes up second by second while a fast one stands in for it:
// the asset gives all of it from the first tick on, and ends by energy.
func TestAFastDeviceStandsInForASlowOne(t *testing.T) {
	slow, fast := battery("slow", 10_000, 8000), battery("fast", 10_000, 8000)
	slow.Ramp = 500
	in := input([]Device{slow, fast}, dispatch("d", 8000))
	for n := range 10 {
		p := Decide(in)
		s, f := p.Targets[0].Power, p.Targets[1].Power
		if s+f != 8000 || len(p.Shortfall) > 0 {
			t.Fatalf("after %d s: %v and %v (%+v)", n, s, f, p.Shortfall)
		}
		if want := min(flex.Watts(1000+500*n), 4000); s != want {
			t.Errorf("after %d s the slow one is told %v, want %v", n, s, want)
		}
		in.Now, in.State = in.Now.Add(time.Second), p.State
		for i := range in.Devices {
			d := &in.Devices[i]
			w, soc := p.Targets[i].Power, *d.Reading.SoC
			if i == 0 {
				w = flex.Watts(500 * (n + 1))
			}
			d.Target, d.Reading = p.Targets[i], &flex.Reading{Device: d.ID, At: in.Now, Power: &w, SoC: &soc}
		}
	}
}

// Alone, a slow device is told all of it at once: it goes as fast as it can.
func TestASlowDeviceAloneIsNotHeldBack(t *testing.T) {
	slow := battery("slow", 10_000, 8000)
	slow.Ramp = 500
	for _, p := range []flex.Watts{8000, -8000} {
		if got := Decide(input([]Device{slow}, dispatch("d", p))).Targets[0].Power; got != p {
			t.Errorf("told %v of %v", got, p)
		}
	}
}
