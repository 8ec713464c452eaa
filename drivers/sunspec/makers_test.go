package sunspec_test

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest/makers"
	"flexd/drivers/sunspec"
)

// A Fronius hybrid, of either kind and with either map, in any state before
// take-over: its power goes straight to the target, and all that its owner had
// set is as before.
func TestAFroniusHybridGoesStraightToTheTarget(t *testing.T) {
	for _, o := range []makers.FroniusOptions{
		{}, {Floats: true}, {VertoPlus: true, Rating: 10000}, {VertoPlus: true, Rating: 10000, Floats: true},
		{Revert: 3600}, {NoReserve: true}, {GridCharge: true, Strict: true},
	} {
		for _, state := range []struct{ sun, house, soc float64 }{
			{0, 0, 50}, {0, 3000, 50}, {1500, 0, 50}, {1500, 4000, 50}, {7000, 1000, 50}, {7000, 9000, 50}, {7000, 1000, 100}, {1500, 4000, 5},
		} {
			t.Run(fmt.Sprintf("%+v/%+v", o, state), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o.Sun, o.House, o.SoC, o.Ramp = state.sun, state.house, state.soc, 2500
					for _, target := range []float64{500, 3000, 4500, state.house, -1500} {
						p := makers.NewFronius(time.Now, o)
						if battery := target - state.sun; battery > 0 && state.soc <= 5 || battery < 0 && state.soc >= 100 {
							continue
						}
						time.Sleep(10 * time.Second)
						straight(t, p, flex.Watts(target))
					}
				})
			})
		}
	}
}

// straight controls a device for a while, restarts in the middle, and hands it
// back.
func straight(t *testing.T, p makers.Device, target flex.Watts) {
	t.Helper()
	const slack = 15.0
	found, free := p.Owner(), p.Watts().AC
	begin := func() *sunspec.Device { return open(t, p, sunspec.Config{Role: flex.RoleHybrid, GridCharge: true}) }
	d := begin()
	sample := func() {
		if _, err := d.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sample()
	time.Sleep(time.Second)
	sample()
	e := snapshot(t, d)
	low, high := math.Min(free, float64(target))-slack, math.Max(free, float64(target))+slack
	for n := range 12 {
		if n == 6 {
			d = begin()
			sample()
		}
		e.Intent = apply(t, d, set(target)).Holds
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			if w := p.Watts(); w.AC < low || w.AC > high {
				t.Errorf("asked %v at %.0f W: it gives %+v", target, free, w)
				return
			}
		}
		sample()
	}
	if w := p.Watts(); math.Abs(w.AC-float64(target)) > slack {
		t.Errorf("asked %v at %.0f W, it ends at %+v", target, free, w)
	}
	if rec, err := d.Release(t.Context(), e); err != nil || !rec.Echo || rec.Foreign {
		t.Errorf("%+v, %v", rec, err)
	}
	if now := p.Owner(); !maps.Equal(now, found) {
		for a, v := range found {
			if now[a] != v {
				t.Errorf("register %v: found %d, now %d", a, v, now[a])
			}
		}
	}
}
