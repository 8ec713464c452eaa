package regmap_test

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	strangers "flexd/drivers/drivertest/makers"
	"flexd/drivers/regmap"
)

// state is what a plant does before anybody asks it for something.
type state struct {
	sun, house float64
}

var states = []state{{0, 0}, {0, 700}, {0, 3000}, {1000, 300}, {3000, 500}}

func as(role flex.Role, consent bool) func(*bench) {
	return func(b *bench) { b.role, b.consent = role, consent }
}

func madeFor(name string) made {
	for _, m := range mades {
		if m.name == name {
			return m
		}
	}
	panic("no device for " + name)
}

// on puts another device of the same make in the place of the usual one.
func (m made) with(build func(now func() time.Time) plant) made {
	m.build = build
	return m
}

// take records the device as control does, ahead of the first write.
func (b *bench) take(t *testing.T) (*regmap.Device, *flex.JournalEntry) {
	t.Helper()
	d := b.driver(t, b.p)
	if _, err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Second)
	e := entryOf(t, d)
	return d, &e
}

// steer samples and tells the device every second, as control does of what
// follows its plant.
func (b *bench) steer(t *testing.T, d *regmap.Device, e *flex.JournalEntry, w flex.Watts, long time.Duration) error {
	t.Helper()
	for spent := time.Duration(0); spent < long; spent += time.Second {
		if _, err := d.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		rec, err := d.Apply(t.Context(), b.order(w))
		if err != nil {
			return err
		}
		if !rec.Echo {
			t.Fatalf("%v: %+v", w, rec)
		}
		e.Intent = rec.Holds
		time.Sleep(time.Second)
	}
	return nil
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s: %.0f W, want %.0f W", what, got, want)
	}
}

// truthful insists that the reading is what the plant does.
func (b *bench) truthful(t *testing.T, d *regmap.Device) {
	t.Helper()
	r, err := d.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := b.dev.Watts()
	for _, q := range []struct {
		name string
		got  *flex.Watts
		want float64
	}{{"power", r.Power, float64(b.gives())}, {"battery", r.Battery, w.Battery}, {"pv", r.PV, w.PV}} {
		if q.got == nil {
			if q.name == "power" || q.name == "battery" && !b.cap {
				t.Errorf("%s is not told", q.name)
			}
			continue
		}
		near(t, "the reading of "+q.name, float64(*q.got), q.want, max(2, 10*(b.lsb-1)))
	}
}

// Whatever the plant did before, it gives what it is told to give.
func TestEveryStateBefore(t *testing.T) {
	for _, m := range mades {
		if m.cap || m.name == "huawei-luna" { // which refuses some: tried on its own
			continue
		}
		for _, role := range []flex.Role{flex.RoleStorage, flex.RoleHybrid} {
			if !m.plays(role) {
				continue
			}
			for _, s := range states {
				t.Run(fmt.Sprintf("%s as %s, sun %.0f, house %.0f", m.name, role, s.sun, s.house), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := m.bench(as(role, true))
						b.dev.SetSun(s.sun)
						b.dev.SetHouse(s.house)
						d, e := b.take(t)
						found := b.owner()
						for _, w := range []flex.Watts{3000, 500, -1500, 0, 2000, -300} {
							if err := b.steer(t, d, e, w, 3*time.Second); err != nil {
								t.Fatal(err)
							}
							near(t, "told", float64(b.gives()), float64(w), 3)
							b.truthful(t, d)
						}
						b.handedBack(t, e, found)
					})
				})
			}
		}
	}
}

// handedBack lets a later process release the device and insists that every
// register of its owner is as it was.
func (b *bench) handedBack(t *testing.T, e *flex.JournalEntry, found map[strangers.Register]uint16) {
	t.Helper()
	rec, err := b.driver(t, b.p).Release(t.Context(), *e)
	if err != nil || !rec.Echo || rec.Foreign {
		t.Errorf("release: %+v, %v", rec, err)
	}
	for at, was := range found {
		if now := b.owner()[at]; now != was {
			t.Errorf("register %d (%#x): found %d, left %d", at.Addr, at.Addr, was, now)
		}
	}
}

// When flexd dies, the device falls back to what the map says, and a later
// process still hands it back.
func TestWhatADeviceDoesWhenWeVanish(t *testing.T) {
	for _, m := range mades {
		if m.after == 0 { // it keeps the last command for ever
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := m.bench()
				d, e := b.take(t)
				found, free := b.owner(), b.gives()
				if err := b.steer(t, d, e, map[bool]flex.Watts{true: 2000, false: 3000}[b.cap], 5*time.Second); err != nil {
					t.Fatal(err)
				}
				time.Sleep(m.after + time.Second)
				if m.passes {
					free = 0
				}
				near(t, "after the fall-back", float64(b.gives()), float64(free), 1)
				b.handedBack(t, e, found)
			})
		})
	}
}

// A StorEdge that fell back keeps the limit of the direction it was told, and
// no other: the house's battery charges, and discharges up to what was told.
func TestAStorEdgeServesTheHouseAfterOurDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := madeFor("solaredge-storedge").bench(as(flex.RoleStorage, true))
		d, e := b.take(t)
		found := b.owner()
		for _, w := range []flex.Watts{-2000, 1500} {
			if err := b.steer(t, d, e, w, 3*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		b.dev.SetHouse(0)
		b.dev.SetSun(4000)
		near(t, "it charges from the sun", b.dev.Watts().Battery, -4000, 1)
		b.dev.SetSun(0)
		b.dev.SetHouse(1000)
		near(t, "it serves the house", b.dev.Watts().Battery, 1000, 1)
		b.handedBack(t, e, found)
		b.dev.SetHouse(3000)
		near(t, "it serves the house again", b.dev.Watts().Battery, 3000, 1)
	})
}

// A device that restarts under control is handed back all the same: what it
// keeps over a restart is as it was found.
func TestADeviceThatRestartsIsHandedBack(t *testing.T) {
	kept := map[string][]uint16{
		"sungrow-sh": {13049, 13051}, "fronius-gen24": {froniusMode, froniusMode + 10, froniusMode + 12},
		"solaredge-storedge": {0xE004, 0xE005, 0xE00A}, "solaredge-pv": {0xF300, 0xF310, 0xF312, 0xF318, 0xF31A}, "huawei-luna": {47083, 47087, 47100},
	}
	for _, m := range mades {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := m.bench()
				d, e := b.take(t)
				found, free := b.owner(), b.gives()
				if err := b.steer(t, d, e, map[bool]flex.Watts{true: 2000, false: -1000}[b.cap], 5*time.Second); err != nil {
					t.Fatal(err)
				}
				b.dev.(interface{ Restart() }).Restart()
				rec, err := b.driver(t, b.p).Release(t.Context(), *e)
				if err != nil || !rec.Echo || rec.Foreign {
					t.Errorf("release: %+v, %v", rec, err)
				}
				for _, a := range kept[m.name] {
					if was, now := found[strangers.Register{Unit: b.unit, Addr: a}], b.get(a); was != now {
						t.Errorf("register %d (%#x): found %d, left %d", a, a, was, now)
					}
				}
				time.Sleep(time.Minute)
				near(t, "by itself again", float64(b.gives()), float64(free), 1)
			})
		})
	}
}

// Without the owner's consent nothing is drawn from the grid and no permission
// is touched, whatever is asked.
func TestNothingIsDrawnFromTheGridWithoutConsent(t *testing.T) {
	permissions := map[string]uint16{"fronius-gen24": froniusMode + 12, "solaredge-storedge": 0xE005, "huawei-luna": 47087}
	for name, addr := range permissions {
		for _, role := range []flex.Role{flex.RoleStorage, flex.RoleHybrid} {
			for _, s := range states {
				t.Run(fmt.Sprintf("%s as %s, sun %.0f, house %.0f", name, role, s.sun, s.house), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := madeFor(name).bench(as(role, false))
						b.dev.SetSun(s.sun)
						b.dev.SetHouse(s.house)
						d, e := b.take(t)
						found := b.owner()
						for _, w := range []flex.Watts{1500, -500, 200, -2500, 0} {
							_ = b.steer(t, d, e, w, 4*time.Second)
							if p := b.dev.Watts(); p.Battery < -p.PV-1 {
								t.Errorf("%v: the battery takes %.0f W, the sun gives %.0f W", w, -p.Battery, p.PV)
							}
							if b.get(addr) != 0 {
								t.Errorf("%v: the permission is %d", w, b.get(addr))
							}
						}
						b.handedBack(t, e, found)
					})
				})
			}
		}
	}
}

// With the consent the permission is given, journaled, and taken back by a
// later process.
func TestAPermissionIsTakenBackAfterAKill(t *testing.T) {
	for name, addr := range map[string]uint16{"fronius-gen24": froniusMode + 12, "solaredge-storedge": 0xE005, "huawei-luna": 47087} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := madeFor(name).bench(as(flex.RoleStorage, true))
				d, e := b.take(t)
				found := b.owner()
				if err := b.steer(t, d, e, -2000, 3*time.Second); err != nil {
					t.Fatal(err)
				}
				near(t, "charging", float64(b.gives()), -2000, 1)
				if b.get(addr) != 1 {
					t.Errorf("the permission is %d", b.get(addr))
				}
				e.Intent = nil // killed before the proof was journaled
				b.consent = false
				b.handedBack(t, e, found)
			})
		})
	}
}

// An owner's own forced order is in force again after us.
func TestAnOwnersOwnOrderIsRestored(t *testing.T) {
	sungrow := func(now func() time.Time) plant {
		return strangers.NewSungrow(now, strangers.SungrowOptions{House: 700, Mode: 2, Command: 0xAA, Forced: 2200})
	}
	huawei := func(now func() time.Time) plant {
		return strangers.NewHuawei(now, strangers.HuaweiOptions{House: 700, FromGrid: true, Forced: 1, ForcedPower: 2200, ForcedMinutes: 600, RampIn: 1e12, RampOut: 1e12})
	}
	edge := func(now func() time.Time) plant {
		return strangers.NewSolarEdge(now, strangers.SolarEdgeOptions{Batteries: 1, House: 700, Mode: 4, Policy: 1, CommandMode: 3, ChargeCap: 2200, DefaultMode: 3})
	}
	for _, m := range []made{madeFor("sungrow-sh").with(sungrow), madeFor("huawei-luna").with(huawei), madeFor("solaredge-storedge").with(edge)} {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := m.bench(as(flex.RoleStorage, true))
				b.driver(t, b.p) // nothing is done to it yet
				time.Sleep(time.Second)
				near(t, "the owner's order", float64(b.gives()), -2200, 1)
				for _, w := range []flex.Watts{3000, -500} {
					d, e := b.take(t)
					found := b.owner()
					if err := b.steer(t, d, e, w, 10*time.Second); err != nil {
						t.Fatal(err)
					}
					near(t, "ours", float64(b.gives()), float64(w), 1)
					b.handedBack(t, e, found)
					time.Sleep(time.Second)
					near(t, "the owner's order again", float64(b.gives()), -2200, 1)
				}
			})
		})
	}
}

// A Sungrow tells its battery's power by a signed register on current firmware
// and by a magnitude and a flow on old.
func TestASungrowOfEitherFirmware(t *testing.T) {
	for _, old := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := madeFor("sungrow-sh").with(func(now func() time.Time) plant {
				return strangers.NewSungrow(now, strangers.SungrowOptions{OldFirmware: old, House: 600, Sun: 0, Rating: 10000, Charge: 6000, Discharge: 6000})
			}).bench(as(flex.RoleHybrid, true))
			d, e := b.take(t)
			b.truthful(t, d)
			p, err := d.Open(t.Context())
			if err != nil || p.MaxPower != 10000 || p.MaxCharge != 6000 || p.MaxDischarge != 6000 {
				t.Errorf("%+v, %v", p, err)
			}
			for _, w := range []flex.Watts{6000, -4000, 3000} {
				if err := b.steer(t, d, e, w, 40*time.Second); err != nil {
					t.Fatal(err)
				}
				near(t, fmt.Sprintf("old firmware %v", old), float64(b.gives()), float64(w), 1)
				b.truthful(t, d)
			}
		})
	}
}

// A Verto Plus has its battery in other modules than a GEN24, and both tell
// their AC power in either kind of map.
func TestAVertoAndItsFloats(t *testing.T) {
	for _, o := range []strangers.FroniusOptions{{VertoPlus: true}, {VertoPlus: true, Floats: true}, {Floats: true}, {Strict: true}, {VertoPlus: true, Rating: 33000}} {
		o.House, o.Sun = 600, 2500
		synctest.Test(t, func(t *testing.T) {
			b := madeFor("fronius-gen24").with(func(now func() time.Time) plant { return strangers.NewFronius(now, o) }).bench(as(flex.RoleHybrid, true))
			d, e := b.take(t)
			found := b.owner()
			for _, w := range []flex.Watts{5000, 0, -2000} {
				b.truthful(t, d)
				if err := b.steer(t, d, e, w, 5*time.Second); err != nil {
					t.Fatal(err)
				}
				near(t, fmt.Sprintf("%+v", o), float64(b.gives()), float64(w), 12)
			}
			b.handedBack(t, e, found)
		})
	}
}

// The percentage is of the inverter's own rating, its ramps do not hold a
// limit up, and after our death it gives what it can again.
func TestASolarEdgeOfAnySize(t *testing.T) {
	for _, o := range []strangers.SolarEdgeOptions{{Rating: 33000, Sun: 30000}, {Rating: 33000, Sun: 30000, OldFirmware: true}, {Rating: 3000, Sun: 2900},
		{Rating: 33000, Sun: 30000, Enabled: true, Fallback: 70, RampUp: 20, Timeout: 300}} {
		synctest.Test(t, func(t *testing.T) {
			b := madeFor("solaredge-pv").with(func(now func() time.Time) plant { return strangers.NewSolarEdge(now, o) }).bench()
			d, e := b.take(t)
			found := b.owner()
			if p, err := d.Open(t.Context()); err != nil || float64(p.MaxPower) != o.Rating {
				t.Errorf("%+v, %v", p, err)
			}
			for _, part := range []float64{0.6, 0.2, 0.5} {
				w := flex.Watts(o.Rating * part)
				if err := b.steer(t, d, e, w, 61*time.Second); err != nil {
					t.Fatal(err)
				}
				near(t, "limited", float64(b.gives()), float64(w), 1)
				b.truthful(t, d)
			}
			if writes := len(b.p.writes); writes > 3*61+16 {
				t.Errorf("%d writes", writes)
			}
			time.Sleep(3 * time.Minute)
			want := o.Sun
			if o.Enabled {
				want = min(want, o.Rating*o.Fallback/100)
			}
			near(t, "after our death", float64(b.gives()), want, 1)
			b.handedBack(t, e, found)
			time.Sleep(10 * time.Minute)
			near(t, "handed back", float64(b.gives()), want, 1) // who has enabled it rules on
		})
	}
}

// What belongs to the owner is looked at whole.
func TestOwnersAreCopiedWhole(t *testing.T) {
	for _, m := range mades {
		b := m.bench()
		if a, z := b.owner(), b.owner(); len(a) == 0 && !m.blind || !maps.Equal(a, z) {
			t.Errorf("%s: %d registers", m.name, len(a))
		}
	}
}
