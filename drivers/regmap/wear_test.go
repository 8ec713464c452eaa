package regmap_test

import (
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/regmap"
)

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
