package regmap_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/regmap"
)

// drive opens the driver of a map on a simulated device.
func drive(t *testing.T, name string, v *vendor) *regmap.Device {
	t.Helper()
	m, err := regmap.Load(name, "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := regmap.New(regmap.Config{ID: "dev", Endpoint: "10.0.0.1:502", Unit: v.unit, Map: m, Bus: v})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func (m maker) order(p flex.Watts) flex.Target {
	return flex.Target{Device: "dev", Order: flex.OrderSet, Power: p, Revert: time.Minute}
}

// ac is what the device gives at its terminals, as far as the vendor says.
func (m maker) ac(v *vendor) float64 {
	b, _ := v.told()
	return b
}

func entryOf(t *testing.T, d *regmap.Device) flex.JournalEntry {
	t.Helper()
	if _, err := d.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := d.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Foreign != nil {
		t.Fatalf("a free device is foreign: %v", s.Foreign)
	}
	return flex.JournalEntry{Device: "dev", Snapshot: s}
}

// hold keeps a target for a while, as control does: sampled each second and
// written again at the map's pace.
func hold(t *testing.T, m maker, d *regmap.Device, v *vendor, p flex.Watts, e *flex.JournalEntry, long time.Duration) {
	t.Helper()
	for spent := time.Duration(0); spent <= long; spent += 4 * time.Second {
		if _, err := d.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		rec, err := d.Apply(t.Context(), m.order(p))
		if err != nil || !rec.Echo {
			t.Fatalf("%v after %v: %+v, %v", p, spent, rec, err)
		}
		if got := m.ac(v); math.Abs(got-float64(p)) > m.lsb {
			t.Fatalf("%v after %v: the plant gives %.0f W", p, spent, got)
		}
		e.Intent = rec.Holds
		time.Sleep(4 * time.Second)
	}
}

func TestEveryMapAgainstItsVendor(t *testing.T) {
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { replay(t, m) })
		})
	}
}

func replay(t *testing.T, m maker) {
	v := m.build()
	found := v.copy()
	d := drive(t, m.name, v)
	e := entryOf(t, d)
	powers := []flex.Watts{3000, -2000, 0, 1234, -1}
	for _, p := range powers {
		hold(t, m, d, v, p, &e, 2*time.Second)
	}
	hold(t, m, d, v, 2500, &e, m.after+20*time.Second) // beyond the fall-back time

	// Nobody writes any more.
	time.Sleep(m.after + time.Second)
	told, on := v.told()
	if !m.stays && on && told != 0 { // 0 W is passthrough
		t.Errorf("the device still holds %v after the fall-back time", told)
	}
	if m.stays && !on {
		t.Error("the device fell back, it should not")
	}

	// A later process hands it back by the journal alone.
	later := drive(t, m.name, v)
	rec, err := later.Release(t.Context(), e)
	if err != nil || !rec.Echo || rec.Foreign {
		t.Fatalf("release: %+v, %v", rec, err)
	}
	if told, on := v.told(); on && told != 0 { // the last 0 W of a device that frees itself when nobody writes
		t.Errorf("an order of %v W is still in force", told)
	}
	v.same(t, found)
	before := len(v.writes)
	if rec, err := later.Release(t.Context(), e); err != nil || !rec.Echo || len(v.writes) != before {
		t.Errorf("a second release: %+v, %v, %d writes", rec, err, len(v.writes)-before)
	}
}

func (v *vendor) copy() map[uint32]uint16 {
	out := map[uint32]uint16{}
	for a, w := range v.words {
		if v.allow(v, byte(a>>16), uint16(a)) {
			out[a] = w
		}
	}
	return out
}

// same insists on the modes that were found; setpoints that nothing obeys may
// differ, unless they are switches.
func (v *vendor) same(t *testing.T, found map[uint32]uint16) {
	t.Helper()
	for _, a := range []uint16{2902, 40029} {
		for _, unit := range []byte{v.unit} {
			if was, ok := found[at(unit, a)]; ok && v.words[at(unit, a)] != was {
				t.Errorf("register %d: found %d, left %d", a, was, v.words[at(unit, a)])
			}
		}
	}
}

func TestAForeignChangeIsLeftAlone(t *testing.T) {
	for _, m := range makers {
		if m.name == "sma-storage" || m.name == "victron-gx" {
			continue // write only; moved by itself with every sample
		}
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := m.build()
				d := drive(t, m.name, v)
				e := entryOf(t, d)
				hold(t, m, d, v, 2000, &e, 0)
				// whoever it is, writes another power in the same way
				hold(t, m, drive(t, m.name, v), v, 900, &flex.JournalEntry{}, 0)
				n := len(v.writes)
				rec, err := drive(t, m.name, v).Release(t.Context(), e)
				if err != nil || !rec.Foreign || len(v.writes) != n {
					t.Errorf("%+v, %v, %d writes", rec, err, len(v.writes)-n)
				}
			})
		})
	}
}

func TestPersistentRegistersAreNotWrittenForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			name string
			addr []uint16
		}{{"victron-gx-mode3", []uint16{2902}}} {
			m := makers[0]
			for _, x := range makers {
				if x.name == tc.name {
					m = x
				}
			}
			v := m.build()
			d := drive(t, m.name, v)
			e := entryOf(t, d)
			for range 20 {
				hold(t, m, d, v, 2000, &e, 0)
			}
			for _, a := range tc.addr {
				n := 0
				for _, w := range v.writes {
					if w.Addr == a {
						n++
					}
				}
				if n != 1 {
					t.Errorf("%s: register %d was written %d times", tc.name, a, n)
				}
			}
		}
	})
}

func TestNeutralTakesControlAwayWithoutAJournal(t *testing.T) {
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := m.build()
				d := drive(t, m.name, v)
				e := entryOf(t, d)
				hold(t, m, d, v, 2000, &e, 0)
				if rec, err := drive(t, m.name, v).Neutral(t.Context()); err != nil || !rec.Echo {
					t.Errorf("%+v, %v", rec, err)
				}
				told, on := v.told()
				if on && told != 0 {
					t.Errorf("still %v W", told)
				}
			})
		})
	}
}

// What control is told of the pace is what the device needs.
func TestEveryMapTellsHowOftenItIsWritten(t *testing.T) {
	for _, m := range makers {
		d := drive(t, m.name, m.build())
		p, err := d.Open(t.Context())
		if err != nil || p.Refresh < time.Second || m.after > 0 && p.Refresh > m.after/2 {
			t.Errorf("%s: every %v, falls back after %v, %v", m.name, p.Refresh, m.after, err)
		}
	}
}
