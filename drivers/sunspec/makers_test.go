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

// roofs are the kinds of devices whose power is capped.
var roofs = []struct {
	name string
	kind makers.SunSpecKind
}{
	{"123", makers.SunSpecKind{}},
	{"123 with floats", makers.SunSpecKind{Float: true}},
	{"123 in whole per cent", makers.SunSpecKind{PctSF: 2}}, // over the 2 below
	{"704 by limit", makers.SunSpecKind{DER: true, Modes: 1}},
	{"704 by limit, though it takes setpoints", makers.SunSpecKind{DER: true, Modes: 3, Ports: true}},
}

// A roof that is capped, capped otherwise, freed, cut off after each write or
// controlled by another process never gives more than the larger and never less
// than the smaller of what it gave and what it is to give.
func TestACappedRoofStaysBetweenItsPowers(t *testing.T) {
	for _, k := range roofs {
		for _, sun := range []float64{0, 600, 3000, 9000} {
			for _, how := range []string{"whole", "killed", "lost", "refused"} {
				t.Run(fmt.Sprintf("%s/%.0f W/%s", k.name, sun, how), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						for step := range 4 {
							for n := 0; capped(t, k.kind, sun, step, n, how) && how != "whole"; n++ {
							}
						}
					})
				})
			}
		}
	}
}

// capped takes a roof through its steps up to one that is cut after n writes;
// false when the step has no more.
func capped(t *testing.T, k makers.SunSpecKind, sun float64, step, n int, how string) bool {
	k.Base, k.PctSF, k.Rated, k.Sun = 50000, k.PctSF-2, 10000, steady(sun)
	k.Delay, k.Renew = 300*time.Millisecond, 500*time.Millisecond
	p := makers.NewSunSpec(time.Now, k)
	w := watch(t, p, flex.RolePV)
	l := &line{p: p, left: -1, how: how}
	w.dev = open(t, l, w.cfg)
	w.sample()
	w.take()
	caps := []flex.Watts{2500, 1200, 4000}
	between := func(from, to float64, act func() error) (err error) {
		t.Helper()
		err = act()
		low, high := math.Min(from, to)-w.slack, math.Max(from, to)+w.slack
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			if ac := w.ac(); ac < low || ac > high {
				t.Errorf("step %d cut after %d writes: from %.0f to %.0f W, and it gives %.0f W", step, n, from, to, ac)
				break
			}
		}
		return err
	}
	run := func(i int) error {
		if i == len(caps) {
			return between(w.ac(), sun, func() error {
				rec, err := w.dev.Release(t.Context(), w.entry)
				if err == nil && !rec.Echo {
					t.Errorf("%+v", rec)
				}
				return err
			})
		}
		return between(w.ac(), math.Min(sun, float64(caps[i])), func() error {
			w.entry.Intent = nil // as the journal has it while a cap changes
			rec, err := w.dev.Apply(t.Context(), limit(caps[i]))
			if err == nil {
				w.entry.Intent = rec.Holds
			}
			return err
		})
	}
	for i := range step {
		if err := run(i); err != nil {
			t.Fatal(err)
		}
	}
	if how == "whole" {
		l.left, n = -1, 100
	} else {
		l.left = n
	}
	l.writes = 0
	err := run(step)
	whole := l.writes <= n && err == nil
	if step < len(caps) && whole {
		if ac, to := w.ac(), math.Min(sun, float64(caps[step])); math.Abs(ac-to) > w.slack {
			t.Errorf("capped at %v, it gives %.0f W of %.0f W", caps[step], ac, sun)
		}
	}
	l.left = -1
	w.dev = open(t, l, w.cfg)
	w.free()
	time.Sleep(2 * time.Second)
	if ac := w.ac(); math.Abs(ac-sun) > 1 {
		t.Errorf("step %d cut after %d writes: free, it gives %.0f W of %.0f W", step, n, ac, sun)
	}
	return !whole
}

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
