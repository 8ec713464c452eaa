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

// flows is the plant's own state before anybody takes it over: what the sun
// gives and what the battery does by itself.
type flows struct{ sun, own float64 }

// states are all that a hybrid may be in.
var states = map[string]flows{
	"at rest in the dark":         {0, 0},
	"discharging in the dark":     {0, 3000},
	"at rest in some sun":         {1500, 0},
	"charging from some sun":      {1500, -1500},
	"discharging beside some sun": {1500, 2500},
	"at rest in full sun":         {7000, 0},
	"charging from full sun":      {7000, -4000},
	"discharging in full sun":     {7000, 2000},
}

// kinds are the kinds of SunSpec devices that a power can be told. exact tells
// that the device says enough to hit the target at once.
var kinds = []struct {
	name  string
	kind  makers.SunSpecKind
	exact bool
}{
	{"124 beside the modules of 160", makers.SunSpecKind{Rates: true, Modules: []string{"MPPT 1", "MPPT 2", "StCha 3", "StDisCha 4"}}, true},
	{"124 beside five modules", makers.SunSpecKind{Rates: true, Modules: []string{"MPPT 1", "MPPT 2", "MPPT 3", "StCha 4", "StDisCha 5"}}, true},
	{"124 with floats beside the modules", makers.SunSpecKind{Rates: true, Float: true, Modules: []string{"MPPT 1", "MPPT 2", "StCha 3", "StDisCha 4"}}, true},
	{"124 beside the inputs of the panels alone", makers.SunSpecKind{Rates: true, Modules: []string{"MPPT 1", "MPPT 2"}}, false},
	{"124 beside a bank", makers.SunSpecKind{Rates: true, Bank: true}, true},
	{"124 beside ports", makers.SunSpecKind{Rates: true, Ports: true}, true},
	{"124 alone", makers.SunSpecKind{Rates: true}, false},
	{"124 alone with floats", makers.SunSpecKind{Rates: true, Float: true}, false},
	{"124 alone that does not say what the battery does", makers.SunSpecKind{Rates: true, MuteState: true}, false},
	{"704 by setpoint", makers.SunSpecKind{DER: true, Modes: 3}, true},
	{"704 by setpoint in per cent", makers.SunSpecKind{DER: true, Modes: 3, Found: map[uint16]map[int]uint16{704: {24: 0x8000, 26: 0x8000, 55: 0x8000}}}, true},
	{"704 by setpoint beside ports and a bank", makers.SunSpecKind{DER: true, Modes: 3, Ports: true, Bank: true}, true},
}

func steady(w float64) func(time.Time) float64 { return func(time.Time) float64 { return w } }

// plantOf puts a kind of device in a state, with the habits of real ones:
// ramps, a delay, readings that are refreshed twice a second.
func plantOf(k makers.SunSpecKind, f flows) *makers.SunSpec {
	k.Sun, k.Level = steady(f.sun), 50
	return plantAs(k, func(time.Time, makers.Watts) float64 { return f.own })
}

func plantAs(k makers.SunSpecKind, own func(time.Time, makers.Watts) float64) *makers.SunSpec {
	k.Base, k.PctSF, k.Rated, k.Charge, k.Discharge, k.Energy = 40000, -2, 10000, 5000, 5000, 20000
	k.Ramp, k.Delay, k.Renew, k.Own = 2500, 300*time.Millisecond, 500*time.Millisecond, own
	return makers.NewSunSpec(time.Now, k)
}

// watched is a plant and the one who controls it.
type watched struct {
	t     *testing.T
	p     *makers.SunSpec
	cfg   sunspec.Config
	dev   *sunspec.Device
	entry flex.JournalEntry
	found map[makers.Register]uint16
	slack float64 // W that watts may be off
}

func watch(t *testing.T, p *makers.SunSpec, role flex.Role) *watched {
	w := &watched{t: t, p: p, cfg: sunspec.Config{Role: role, GridCharge: true}, slack: 6, found: p.Owner()}
	w.restart()
	w.sample()
	time.Sleep(time.Second)
	w.sample()
	return w
}

// restart puts another process in place of the one that controls.
func (w *watched) restart() { w.dev = open(w.t, w.p, w.cfg) }

func (w *watched) sample() flex.Reading {
	w.t.Helper()
	r, err := w.dev.Read(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *watched) ac() float64 { return w.p.Watts().AC }

// take journals what is found, as before a first write.
func (w *watched) take() {
	w.t.Helper()
	w.entry = snapshot(w.t, w.dev)
	if w.entry.Snapshot.Foreign != nil {
		w.t.Fatal(w.entry.Snapshot.Foreign)
	}
}

// hold tells a target for a while as control does, with every sample, or until
// it has been there for some seconds, and insists that the watts never leave
// what lies between before and target.
func (w *watched) hold(target flex.Target, d time.Duration) {
	w.t.Helper()
	from := w.ac()
	low, high := math.Min(from, float64(target.Power))-w.slack, math.Max(from, float64(target.Power))+w.slack
	var worst, at float64
	there := 0
	for n := range int(d / time.Second) {
		if there++; math.Abs(w.ac()-float64(target.Power)) > w.slack {
			there = 0
		} else if there > 6 {
			break
		}
		rec, err := w.dev.Apply(w.t.Context(), target)
		if err != nil || !rec.Echo {
			w.t.Fatalf("%+v, %v", rec, err)
		}
		w.entry.Intent = rec.Holds
		for tick := range 10 {
			if off := math.Max(low-w.ac(), w.ac()-high); off > worst {
				worst, at = off, float64(n)+float64(tick)/10
			}
			time.Sleep(100 * time.Millisecond)
		}
		r := w.sample()
		if r.Acting != nil && *r.Acting && target.Power != 0 && math.Abs(w.ac()) < 5 && math.Abs(float64(*r.Power)) < 5 {
			w.t.Errorf("acting at %.0f W of %v", w.ac(), target.Power)
		}
	}
	if worst > 0 {
		w.t.Errorf("asked %v at %.0f W, it went %.0f W beyond after %.1f s", target.Power, from, worst, at)
	}
}

// reached insists on the target's watts.
func (w *watched) reached(target flex.Watts) {
	w.t.Helper()
	if ac := w.ac(); math.Abs(ac-float64(target)) > w.slack {
		w.t.Errorf("asked %v, it gives %.0f W (%+v)", target, ac, w.p.Watts())
	}
}

// free hands the device back and insists that everything is as it was found.
func (w *watched) free() {
	w.t.Helper()
	rec, err := w.dev.Release(w.t.Context(), w.entry)
	if err != nil || !rec.Echo || rec.Foreign {
		w.t.Fatalf("%+v, %v", rec, err)
	}
	if now := w.p.Owner(); !maps.Equal(now, w.found) {
		for a, v := range w.found {
			if now[a] != v {
				w.t.Errorf("register %d: found %d, now %d", a.Addr, v, now[a])
			}
		}
	}
}

// targets are what a plant in a state can be asked without curtailing, within
// what its battery and its inverter can do.
func (f flows) targets() []flex.Watts {
	var out []flex.Watts
	now := f.sun + f.own
	for _, w := range []float64{now, now + 1000, now - 1000, now + 250, now - 250, 3000, 500, f.sun, 9900, -2000} {
		if b := w - f.sun; b <= 5000 && b >= -5000 && w <= 10000 {
			out = append(out, flex.Watts(w))
		}
	}
	return out
}

func each(t *testing.T, test func(t *testing.T, k makers.SunSpecKind, f flows, exact bool)) {
	for _, k := range kinds {
		for name, f := range states {
			t.Run(fmt.Sprintf("%s/%s", k.name, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test(t, k.kind, f, k.exact) })
			})
		}
	}
}

// long is how long a target may take: where the device says too little, the
// battery's own flow is felt out without ever leaving the way to the target.
func long(exact bool) time.Duration {
	if exact {
		return 8 * time.Second
	}
	return 5 * time.Minute
}

func TestATakeOverNeverLeavesTheWayToTheTarget(t *testing.T) {
	each(t, func(t *testing.T, k makers.SunSpecKind, f flows, exact bool) {
		for _, target := range f.targets() {
			w := watch(t, plantOf(k, f), flex.RoleHybrid)
			w.take()
			w.hold(set(target), long(exact))
			w.reached(target)
			w.free()
		}
	})
}

func TestASecondDispatchNeverLeavesTheWayToItsTarget(t *testing.T) {
	each(t, func(t *testing.T, k makers.SunSpecKind, f flows, exact bool) {
		targets := f.targets()
		for _, between := range []time.Duration{0, time.Second, 5 * time.Second} {
			w := watch(t, plantOf(k, f), flex.RoleHybrid)
			w.take()
			w.hold(set(targets[1]), long(exact))
			w.hold(set(targets[2]), long(true)) // without a hand-back in between
			w.reached(targets[2])
			w.free()
			time.Sleep(between)
			w.sample()
			w.take()
			w.hold(set(targets[1]), long(exact))
			w.reached(targets[1])
			w.free()
		}
	})
}

func TestARestartInMidDispatchIsNotSeenInTheWatts(t *testing.T) {
	each(t, func(t *testing.T, k makers.SunSpecKind, f flows, exact bool) {
		for _, after := range []time.Duration{time.Second, 2 * time.Second, 30 * time.Second} {
			for _, target := range f.targets()[1:3] {
				w := watch(t, plantOf(k, f), flex.RoleHybrid)
				w.take()
				w.hold(set(target), after)
				w.restart()
				w.hold(set(target), long(exact))
				w.reached(target)
				w.restart()
				w.free()
			}
		}
	})
}

// A battery that is held between bounds is handed back by a later process,
// though the last write's proof, or every one's, never reached the journal.
func TestALaterProcessHandsBackABatteryHeldBetweenBounds(t *testing.T) {
	each(t, func(t *testing.T, k makers.SunSpecKind, f flows, exact bool) {
		if exact {
			return
		}
		for _, writes := range []time.Duration{1, 4, 10} {
			for _, proven := range []bool{false, true} {
				w := watch(t, plantOf(k, f), flex.RoleHybrid)
				w.take()
				target := set(flex.Watts(f.sun + f.own + 400))
				w.hold(target, time.Second)
				first := w.entry.Intent
				w.hold(target, writes*time.Second)
				w.entry.Intent = nil
				if proven && writes == 1 {
					w.entry.Intent = first
				}
				w.restart()
				w.free()
			}
		}
	})
}

// Losses between the panels, the battery and the grid do not keep a hybrid from
// its target, and clouds and the house move its power by no more than they do
// until the next samples.
func TestLossesAndCloudsAreMadeUpFor(t *testing.T) {
	for _, k := range kinds {
		for _, target := range []flex.Watts{4000, 2500, 500, -1000} {
			t.Run(fmt.Sprintf("%s/%v", k.name, target), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					kind := k.kind
					kind.Loss, kind.Level = 0.04, 50
					p := plantOf(kind, flows{2000, 500})
					w := watch(t, p, flex.RoleHybrid)
					w.slack = 20 // what is lost is not the same both ways
					w.take()
					w.hold(set(target), long(k.exact))
					w.reached(target)
					w.free()

					const amplitude, period = 1200.0, 100.0
					begun := time.Now()
					kind.Sun = func(at time.Time) float64 {
						return 2000 + amplitude*math.Sin(2*math.Pi*at.Sub(begun).Seconds()/period)
					}
					p = plantAs(kind, func(at time.Time, now makers.Watts) float64 { return 1500 - now.PV })
					w = watch(t, p, flex.RoleHybrid)
					w.take()
					fastest, lag := amplitude*2*math.Pi/period, 2.5 // W/s, s
					if !k.exact {
						lag = 5
					}
					for n := range 150 {
						w.entry.Intent = apply(t, w.dev, set(target)).Holds
						time.Sleep(time.Second)
						w.sample()
						if off := math.Abs(w.ac() - float64(target)); n > 60 && off > fastest*lag {
							t.Fatalf("after %d s it gives %.0f W of %v", n, w.ac(), target)
						}
					}
					w.free()
				})
			})
		}
	}
}

// A battery that is full or empty is not told more and more: it would give all
// of it once it could.
func TestABatteryThatCannotFollowIsNotToldMoreAndMore(t *testing.T) {
	for _, k := range kinds {
		if !k.kind.Rates {
			continue
		}
		for _, c := range []struct{ level, target, want float64 }{{100, 1000, -2000}, {0, 6000, 3000}} {
			t.Run(fmt.Sprintf("%s/%.0f %%", k.name, c.level), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					kind := k.kind
					kind.Sun, kind.Level = steady(3000), c.level
					p := plantAs(kind, func(time.Time, makers.Watts) float64 { return 0 })
					w := watch(t, p, flex.RoleHybrid)
					w.take()
					for range 120 {
						w.entry.Intent = apply(t, w.dev, set(flex.Watts(c.target))).Holds
						time.Sleep(time.Second)
						w.sample()
					}
					out := float64(int16(p.Point(124, 12))) / 10_000 * 5000
					in := float64(int16(p.Point(124, 13))) / 10_000 * 5000
					if (k.exact || !k.kind.MuteState) && (math.Abs(out-c.want) > 100 || math.Abs(out+in) > 1) {
						t.Errorf("it is told %.0f W to %.0f W, want %.0f W", -in, out, c.want)
					}
					w.free()
				})
			})
		}
	}
}
