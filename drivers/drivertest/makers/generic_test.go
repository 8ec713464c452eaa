package makers

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"flexd/drivers/modbus"
)

// A hybrid does by its registers what the models' own words say.
func TestSunSpecPlant(t *testing.T) {
	steady := func(w float64) func(time.Time) float64 { return func(time.Time) float64 { return w } }
	legacy := SunSpecKind{Base: 40000, Rates: true, PctSF: -2, Rated: 10000, Charge: 5000, Discharge: 5000, Energy: 10000, Level: 50,
		Modules: []string{"MPPT 1", "MPPT 2", "StCha 3", "StDisCha 4"}, Sun: steady(2000), House: steady(3000)}
	der := legacy
	der.Rates, der.Modules, der.DER, der.Ports, der.Modes = false, nil, true, true, 3
	rates := func(mode uint16, out, in int16) map[uint16]map[int]uint16 {
		return map[uint16]map[int]uint16{124: {5: mode, 12: uint16(out), 13: uint16(in), 17: 1}}
	}
	rows := []struct {
		name        string
		kind        SunSpecKind
		found       map[uint16]map[int]uint16
		ac, battery float64
	}{
		{"free, it serves the house", legacy, nil, 3000, 1000},
		{"rates without a mode do nothing", legacy, rates(0, 4000, -4000), 3000, 1000},
		{"both pinned, it gives 40 %", legacy, rates(3, 4000, -4000), 4000, 2000},
		{"both pinned, it takes 40 % with leave", legacy, rates(3, -4000, 4000), 0, -2000},
		{"at least 10 % out lets it give more", legacy, rates(1, 10000, -1000), 3000, 1000},
		{"at most 10 % out", legacy, rates(2, 1000, 10000), 2500, 500},
		{"a limit holds the whole", legacy, map[uint16]map[int]uint16{123: {5: 1000, 9: 1}}, 1000, -1000},
		{"a setpoint is of the whole", der, map[uint16]map[int]uint16{704: {22: 1, 24: 0, 25: 4500}}, 4500, 2500},
		{"a setpoint that charges", der, map[uint16]map[int]uint16{704: {22: 1, 24: 0xFFFF, 25: 0x10000 - 1000}}, -1000, -3000},
		{"without service nothing flows", der, map[uint16]map[int]uint16{703: {2: 0}}, 0, 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			r.kind.Found = r.found
			s := NewSunSpec(time.Now, r.kind)
			if w := s.Watts(); math.Abs(w.AC-r.ac) > 1 || math.Abs(w.Battery-r.battery) > 1 {
				t.Errorf("%+v", w)
			}
		})
	}
	t.Run("a timer ends a rate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			legacy.Ramp = 500
			s := NewSunSpec(time.Now, legacy)
			at := s.at[124]
			for _, w := range []modbus.Request{{Addr: at + 12, Values: []uint16{4000, 0xFFFF - 3999, 0, 60}}, {Addr: at + 5, Values: []uint16{3}}} {
				w.Unit, w.Func = 1, modbus.WriteMultiple
				if _, err := s.Do(t.Context(), w); err != nil {
					t.Fatal(err)
				}
			}
			for _, step := range []struct {
				after time.Duration
				ac    float64
			}{{time.Second, 3500}, {58 * time.Second, 4000}, {5 * time.Second, 3000}} {
				time.Sleep(step.after)
				if w := s.Watts(); math.Abs(w.AC-step.ac) > 15 {
					t.Errorf("after %v: %+v", step.after, w)
				}
			}
		})
	})
}
