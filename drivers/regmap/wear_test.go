package regmap_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/regmap"
)

// flash is what the makers and owners say is kept over a power loss, and what
// of it counts only where it changes, because it goes out with its neighbours.
var flash = map[string]struct {
	kept    []uint16
	changes []uint16
	never   []uint16
}{
	"victron-gx-mode3": {kept: []uint16{2902}},
	"victron-gx":       {never: []uint16{2700, 2703, 2704, 2902}},
}

// wornBy counts what a run of writes does to a register: as often as it is
// written, or only where its value changes.
func wornBy(writes []modbus.Request, addr, found uint16, changes bool) (n int) {
	for _, w := range writes {
		i := int(addr) - int(w.Addr)
		if i < 0 || i >= len(w.Values) {
			continue
		}
		if !changes || w.Values[i] != found {
			n++
		}
		found = w.Values[i]
	}
	return n
}

// Four dispatches a day with a setpoint that changes every quarter of an hour,
// refreshed every 20 s (4 s where the device needs it): the memory of every
// device that a map is for sees few writes, within the map's budget, and the
// receipts tell as many as came.
func TestADayWearsOutLittle(t *testing.T) {
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { aDay(t, m) })
		})
	}
}

func aDay(t *testing.T, m maker) {
	v := m.build()
	found := map[uint16]uint16{}
	for _, a := range slices.Concat(flash[m.name].kept, flash[m.name].changes) {
		found[a] = v.get(a)
	}
	told, budget := map[uint16]int{}, map[uint16]int{}
	d := drive(t, m.name, v)
	note := func(rec flex.Receipt) {
		for _, r := range rec.Wrote {
			if r.Persistent {
				told[r.Addr]++
				budget[r.Addr] = r.Budget
			}
		}
	}
	every := 20 * time.Second
	if m.after > 0 && m.after <= time.Minute/2 {
		every = 4 * time.Second
	}
	for range 4 {
		e := entryOf(t, d)
		for spent := time.Duration(0); spent < 2*time.Hour; spent += every {
			p := []flex.Watts{3000, -2000, 0, 1000}[spent/(15*time.Minute)%4]
			if _, err := d.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			rec, err := d.Apply(t.Context(), m.order(p))
			if err != nil || !rec.Echo {
				t.Fatalf("%v: %+v, %v", p, rec, err)
			}
			note(rec)
			e.Intent = rec.Holds
			time.Sleep(every)
		}
		rec, err := d.Release(t.Context(), e)
		if err != nil || !rec.Echo {
			t.Fatalf("release: %+v, %v", rec, err)
		}
		note(rec)
		time.Sleep(4 * time.Hour)
	}
	for a, was := range found {
		changes := slices.Contains(flash[m.name].changes, a)
		n := wornBy(v.writes, a, was, changes)
		if n == 0 || n > 8 || n > budget[a] || told[a] != n {
			t.Errorf("register %d: written %d times, told %d, budget %d", a, n, told[a], budget[a])
		}
	}
	if len(told) != len(found) {
		t.Errorf("told of %v", told)
	}
	for _, a := range flash[m.name].never {
		if n := wornBy(v.writes, a, 0, false); n > 0 {
			t.Errorf("register %d was written %d times", a, n)
		}
	}
}

// Where the source does not say whether a register is kept, it is written on
// change alone, unless the device falls back without it; each write counts.
func TestMemoryOfAnUnknownKindIsSpared(t *testing.T) {
	const text = `
map: x
title: x
status: unverified
sources: [x]
role: storage
points:
  battery: {at: 1, type: s16, unit: W}
  setpoint: {at: 2, type: s16, unit: W, access: rw, budget: 50}
measure: {power: battery}
rating: {charge: 5000, discharge: 5000}
control:
  set:
    of: battery
    write: [{point: setpoint, value: power}]
    release: [{point: setpoint, value: 0}]
    active: [{point: setpoint, not: [0]}]
    fallback: {after: `
	for after, writes := range map[string]int{"never": 2, "60s": 20} {
		m, err := regmap.Parse("x.yaml", []byte(text+after+", to: x}\n"))
		if err != nil {
			t.Fatal(err)
		}
		v := newVendor(1)
		v.put(1, 0, 0)
		v.allow, v.arms = among(2), only(2)
		v.power = func(*vendor, time.Time) (float64, bool) { return 0, false }
		v.show = func(*vendor, float64) {}
		d, err := regmap.New(regmap.Config{ID: "dev", Endpoint: "h:1", Unit: 1, Map: m, Bus: v})
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for i := range 20 {
			rec, err := d.Apply(t.Context(), flex.Target{Device: "dev", Order: flex.OrderSet, Power: flex.Watts(1000 + i/10)})
			if err != nil || !rec.Echo {
				t.Fatalf("%+v, %v", rec, err)
			}
			for _, r := range rec.Wrote {
				if r.Persistent && r.Budget == 50 {
					told++
				}
			}
		}
		if len(v.writes) != writes || told != writes {
			t.Errorf("fall-back %s: %d writes, %d told", after, len(v.writes), told)
		}
	}
}
