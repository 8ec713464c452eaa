package regmap_test

import (
	"math"
	"testing"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/regmap"
)

// rigOf lets the suite that every driver passes look at a simulated vendor's
// device and disturb it.
func rigOf(t *testing.T, name string, v *vendor, orders ...flex.Target) drivertest.Rig {
	t.Helper()
	m, err := regmap.Load(name, "")
	if err != nil {
		t.Fatal(err)
	}
	return drivertest.Rig{
		Orders: orders,
		Device: func() drivertest.Device {
			d, err := regmap.New(regmap.Config{ID: "dev", Endpoint: "10.0.0.1:502", Unit: v.unit, Map: m, Bus: v})
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		Told: func() (flex.Watts, bool) {
			p, on := v.told()
			return flex.Watts(math.Floor(p + 1e-3)), on
		},
		Control: func() map[uint16]uint16 {
			out := map[uint16]uint16{}
			for a, w := range v.copy() {
				out[uint16(a)] = w
			}
			return out
		},
		Fault: func(n int, f drivertest.Fault) bool {
			v.faults[len(v.writes)+n] = f
			return true
		},
	}
}

func TestTheSuiteThatEveryDriverPasses(t *testing.T) {
	set := func(p flex.Watts) flex.Target { return flex.Target{Device: "dev", Order: flex.OrderSet, Power: p} }
	cap := func(p flex.Watts) flex.Target { return flex.Target{Device: "dev", Order: flex.OrderCap, Power: p} }
	t.Run("a battery that keeps the last command", func(t *testing.T) {
		drivertest.Run(t, func(t *testing.T) drivertest.Rig {
			v := sigenergy()
			r := rigOf(t, "sigenergy", v, set(3000), set(-2000))
			r.Once = []uint16{40029}
			r.Others = func() { v.put32(40034, 777, false) }
			r.Blank = func() {
				v.show = func(v *vendor, _ float64) { v.put(30014, 0xFFFF); v.put32(30037, 0x80000000, false) }
			}
			r.Produce = func(w flex.Watts) { v.show = func(v *vendor, _ float64) { v.put32(30037, uint32(int32(-w)), false) } }
			return r
		})
	})
	t.Run("a battery that falls back", func(t *testing.T) {
		drivertest.Run(t, func(t *testing.T) drivertest.Rig {
			v := huawei()
			r := rigOf(t, "huawei-luna", v, set(3000), set(-2000))
			r.Lapse = func() { v.put(47100, 0) }
			r.Others = func() { v.put32(47249, 777, false) }
			r.Swap = func() { v.putS(30015, "HV999", 10) }
			r.Blank = func() {
				v.show = func(v *vendor, _ float64) { v.put(37760, 0xFFFF); v.put32(37765, 0x80000000, false) }
			}
			r.Produce = func(w flex.Watts) { v.show = func(v *vendor, _ float64) { v.put32(37765, uint32(int32(-w)), false) } }
			return r
		})
	})
	t.Run("an inverter with a limit", func(t *testing.T) {
		drivertest.Run(t, func(t *testing.T) drivertest.Rig {
			v := solarEdge()
			r := rigOf(t, "solaredge-pv", v, cap(3000), cap(5000))
			r.Others = func() { v.putF(0xF322, 13, true) }
			r.Limit = func() { v.putF(0xF322, 40, true) }
			r.Swap = func() { v.putS(40052, "SE-9", 16) }
			r.Produce = func(w flex.Watts) { v.show = func(v *vendor, _ float64) { v.put(40084, uint16(int16(w)), 0) } }
			return r
		})
	})
}
