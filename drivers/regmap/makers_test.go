package regmap_test

import (
	"time"

	"flexd/drivers/modbus"
)

// maker is one vendor's device with what its map must bring about.
type maker struct {
	name  string
	build func() *vendor
	// stays: the last command stays when nobody writes any more.
	stays bool
	after time.Duration // else it falls back after so long
	lsb   float64       // W
}

var makers = []maker{
	{name: "victron-gx", build: victron, stays: true, lsb: 1},
	{name: "victron-gx-mode3", build: victronPhases, after: 10 * time.Second, lsb: 3},
	{name: "sma-storage", build: sma, after: 10 * time.Minute, lsb: 1},
}

// victron moves the exchange at the grid connection: the house takes 400 W,
// the battery makes up the difference, at once.
func victron() *vendor {
	const house = 400
	v := newVendor(100)
	v.putS(800, "c0619ab4d2e1", 6)
	v.put(2902, 1)
	v.put(5400, 0)
	v.put32(2716, 0, false)
	v.allow, v.arms = among(2716, 2717), only()
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		set := int32(v.u32(2716, false)) // + import
		return house - float64(set), set != 0
	}
	v.show = func(v *vendor, b float64) {
		grid := house - b // import
		v.put(820, uint16(int16(grid)), 0, 0)
		v.put(842, uint16(int16(-b)), 60)
	}
	return v
}

// victronPhases falls back to passthrough when no phase is told for 10 s.
func victronPhases() *vendor {
	v := newVendor(100)
	v.putS(800, "c0619ab4d2e1", 6)
	v.put(2902, 2)
	v.put(842, 0, 60)
	for _, a := range []uint16{37, 40, 41} {
		v.words[at(227, a)] = 0
	}
	v.allow = func(v *vendor, unit byte, addr uint16) bool {
		return unit == 100 && addr == 2902 || unit == 227 && (addr == 37 || addr == 40 || addr == 41)
	}
	v.arms = only(37, 40, 41)
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		if v.get(2902) != 3 {
			return 0, false
		}
		if !v.within(10 * time.Second) {
			return 0, true // passthrough
		}
		var sum float64
		for _, a := range []uint16{37, 40, 41} {
			sum -= float64(int16(v.words[at(227, a)]))
		}
		return sum, true
	}
	v.show = func(v *vendor, b float64) { v.put(842, uint16(int16(-b)), 60) }
	return v
}

// sma takes power and control, which nobody can read.
func sma() *vendor {
	v := newVendor(3)
	v.put32(30053, 19049, false) // STP6.0-3SE-40
	v.put32(30057, 1901234567, false)
	v.put32(30201, 307, false)
	v.put32(30845, 48, false)
	v.put32(40149, 0, false)
	v.put32(40151, 803, false)
	for a := uint16(40149); a < 40153; a++ {
		v.locked[at(3, a)] = true
	}
	v.allow, v.arms = among(40149, 40150, 40151, 40152), only(40151)
	v.reject = func(_ *vendor, r modbus.Request) byte { // a block that begins or ends inside a value
		if r.Addr%2 == 0 || len(r.Values)%2 == 1 {
			return modbus.IllegalAddress
		}
		return 0
	}
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		return float64(int32(v.u32(40149, false))), v.u32(40151, false) == 802 && v.within(10*time.Minute)
	}
	v.show = func(v *vendor, b float64) { v.put32(30775, uint32(int32(b)), false) }
	return v
}
