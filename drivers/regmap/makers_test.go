package regmap_test

import (
	"math"
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
	pv    bool
}

var makers = []maker{
	{name: "victron-gx", build: victron, stays: true, lsb: 1},
	{name: "victron-gx-mode3", build: victronPhases, after: 10 * time.Second, lsb: 3},
	{name: "fronius-gen24", build: fronius, after: 60 * time.Second, lsb: 5},
	{name: "solaredge-storedge", build: storEdge, after: 60 * time.Second, lsb: 1},
	{name: "solaredge-pv", build: solarEdge, after: 30 * time.Second, lsb: 1, pv: true},
	{name: "huawei-luna", build: huawei, after: 2 * time.Minute, lsb: 1},
	{name: "sungrow-sh", build: sungrow, after: 80 * time.Second, lsb: 1},
	{name: "kostal-plenticore", build: kostal, after: 30 * time.Second, lsb: 1},
	{name: "sma-storage", build: sma, after: 10 * time.Minute, lsb: 1},
	{name: "sigenergy", build: sigenergy, stays: true, lsb: 1},
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

// fronius keeps a SunSpec chain with models 1, 103, 121, 124 and 160; rates
// have a scale factor of -2, and negative ones force the other direction.
func fronius() *vendor {
	v := newVendor(1)
	v.solar, v.free = 900, 0
	v.put(40000, 0x5375, 0x6E53)
	addr := uint16(40002)
	place := map[uint16]uint16{}
	for _, m := range [][2]uint16{{1, 65}, {103, 50}, {121, 30}, {124, 24}, {160, 88}} {
		place[m[0]] = addr
		v.put(addr, m[0], m[1])
		for i := range m[1] {
			v.put(addr+2+i, 0)
		}
		addr += 2 + m[1]
	}
	v.put(addr, 0xFFFF, 0)
	p := func(model, off uint16) uint16 { return place[model] + off }
	v.putS(p(1, 2), "Fronius", 16)
	v.putS(p(1, 50), "GEN-1", 8)
	v.put(p(121, 2), 10000)
	v.put(p(124, 2), 5000)
	v.put(p(124, 8), 5500)
	v.put(p(124, 22), 0xFFFE) // -2
	v.put(p(124, 25), 0xFFFE)
	v.put(p(124, 12), 10000, 10000)
	v.put(p(124, 15), 3600) // found: an hour
	v.allow = among(p(124, 5), p(124, 12), p(124, 13), p(124, 14), p(124, 15))
	v.arms = only(p(124, 12))
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		revert := time.Duration(v.get(p(124, 15))) * time.Second
		if v.get(p(124, 5)) != 3 || revert > 0 && !v.within(revert) {
			v.put(p(124, 5), 0)
			return 0, false
		}
		out, in := float64(int16(v.get(p(124, 12))))/100, float64(int16(v.get(p(124, 13))))/100
		switch {
		case in < 0:
			return -in / 100 * 5000, true // must discharge
		case out < 0:
			return out / 100 * 5000, true // must charge
		}
		return 0, true
	}
	v.show = func(v *vendor, b float64) {
		v.put(p(103, 14), uint16(int16(v.solar+b)))
		v.put(p(160, 61), uint16(math.Max(0, -b)))
		v.put(p(160, 81), uint16(math.Max(0, b)))
	}
	return v
}

// storEdge does what 0xE00D says while 0xE004 is 4 and the timeout runs; then
// the default mode counts.
func storEdge() *vendor {
	v := newVendor(1)
	v.chain("SolarEdge", "SE5K-RWS", "SE-7")
	v.put(0xE004, 1)
	v.put(0xE00A, 7)
	v.put32(0xE00B, 3600, true)
	v.put(0xE00D, 7)
	v.putF(0xE00E, 3300, true)
	v.putF(0xE010, 3300, true)
	v.allow = among(0xE004, 0xE00A, 0xE00B, 0xE00C, 0xE00D, 0xE00E, 0xE00F, 0xE010, 0xE011)
	v.arms = only(0xE00D)
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		if v.get(0xE004) != 4 {
			return 0, false
		}
		mode := v.get(0xE00D)
		if !v.within(time.Duration(v.u32(0xE00B, true)) * time.Second) {
			mode = v.get(0xE00A)
		}
		switch mode {
		case 3:
			return -v.f32(0xE00E, true), true
		case 4:
			return v.f32(0xE010, true), true
		case 1:
			return 0, true
		}
		return 0, false
	}
	v.show = func(v *vendor, b float64) { v.putF(0xE174, -b, true); v.putF(0xE184, 60, true) }
	return v
}

// chain is a SunSpec map of models 1 and 103.
func (v *vendor) chain(maker, model, serial string) {
	v.put(40000, 0x5375, 0x6E53)
	for i := range uint16(140) {
		v.put(40002+i, 0)
	}
	v.put(40002, 1, 66)
	v.putS(40004, maker, 16)
	v.putS(40020, model, 16)
	v.putS(40052, serial, 16)
	v.put(40070, 103, 50)
	v.put(40122, 0xFFFF, 0)
}

// solarEdge limits its generation while the command is younger than 30 s.
func solarEdge() *vendor {
	v := newVendor(1)
	v.chain("SolarEdge", "SE10K", "SE-1")
	v.put32(0xF142, 1, true)
	v.putF(0xF322, 100, true)
	v.allow, v.arms = among(0xF322, 0xF323), only(0xF322)
	v.clamp, v.free = 10000, 8000
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		pct := v.f32(0xF322, true)
		if !v.within(30 * time.Second) {
			pct = 100
		}
		return math.Min(8000, 10000*pct/100), pct < 100
	}
	v.show = func(v *vendor, b float64) { v.put(40084, uint16(int16(b)), 0) }
	return v
}

// huawei obeys 47100 for the minutes in 47083.
func huawei() *vendor {
	v := newVendor(1)
	v.putS(30000, "SUN2000-10KTL-M1", 15)
	v.putS(30015, "HV123", 10)
	v.put32(37046, 5000, false)
	v.put32(37048, 5000, false)
	v.put(37760, 612)
	v.put(47083, 0)
	v.put(47087, 0)
	v.put(47100, 0)
	v.put(47246, 1)
	v.put32(47247, 0, false)
	v.put32(47249, 0, false)
	v.allow = among(47083, 47087, 47100, 47246, 47247, 47248, 47249, 47250)
	v.arms = only(47100)
	v.reject = func(v *vendor, r modbus.Request) byte { // a power above 37046 or 37048
		for a, most := range map[uint16]uint16{47247: 37046, 47249: 37048} {
			i := int(a) - int(r.Addr)
			if i >= 0 && i+1 < len(r.Values) && uint32(r.Values[i])<<16|uint32(r.Values[i+1]) > v.u32(most, false) {
				return modbus.DeviceFailure
			}
		}
		return 0
	}
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		if !v.within(time.Duration(v.get(47083)) * time.Minute) {
			v.put(47100, 0)
		}
		switch v.get(47100) {
		case 1:
			if v.get(47087) == 0 || v.get(47246) != 0 {
				return 0, true
			}
			return -float64(v.u32(47247, false)), true
		case 2:
			return float64(v.u32(47249, false)), v.get(47246) == 0
		}
		return 0, false
	}
	v.show = func(v *vendor, b float64) {
		v.put32(32080, uint32(int32(b)), false)
		v.put32(37765, uint32(int32(-b)), false)
	}
	return v
}

// sungrow obeys its external EMS while the heartbeat comes.
func sungrow() *vendor {
	v := newVendor(1)
	v.putS(4989, "A22", 10)
	v.put(4999, 0x0E03) // SH10RT
	v.put(13049, 0)
	v.put(13050, 0xCC, 0)
	v.put(13079, 0)
	for a := uint16(4989); a < 5000; a++ {
		v.only4 = append(v.only4, a)
	}
	v.only4 = append(v.only4, 13021, 13022)
	v.allow, v.arms = among(13049, 13050, 13051, 13079), only(13079)
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		if v.get(13049) != 3 || v.get(13079) > 0 && !v.within(80*time.Second) {
			return 0, false
		}
		switch v.get(13050) {
		case 0xAA:
			return -float64(v.get(13051)), true
		case 0xBB:
			return float64(v.get(13051)), true
		}
		return 0, true
	}
	v.show = func(v *vendor, b float64) { v.put(13021, uint16(int16(-b)), 600) }
	return v
}

// kostal takes a float, low word first, - is charging, for 30 s.
func kostal() *vendor {
	v := newVendor(71)
	v.putS(14, "PLENTI-1", 8)
	v.putS(768, "PLENTICORE plus", 32)
	v.put(514, 55)
	v.put(1080, 2)
	v.putF(1034, 0, true)
	v.allow, v.arms = among(1034, 1035), only(1034)
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		p := v.f32(1034, true)
		return p, v.within(30 * time.Second)
	}
	v.show = func(v *vendor, b float64) { v.put(582, uint16(int16(b))) }
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

// sigenergy keeps the last command, and refuses a limit outside its mode.
func sigenergy() *vendor {
	v := newVendor(247)
	v.put(30014, 700)
	v.put32(30047, 5000, false)
	v.put32(30049, 5000, false)
	v.put(40029, 0)
	v.put(40031, 2)
	v.put32(40032, 0xFFFFFFFF, false)
	v.put32(40034, 0xFFFFFFFF, false)
	v.allow = func(v *vendor, unit byte, addr uint16) bool {
		mode := v.get(40031)
		switch {
		case unit != v.unit || addr != 40029 && v.get(40029) != 1:
			return false
		case addr == 40032 || addr == 40033: // limits outside their modes are refused
			return mode == 3 || mode == 4
		case addr == 40034 || addr == 40035:
			return mode == 5 || mode == 6
		}
		return addr == 40029 || addr == 40031
	}
	v.arms = only()
	v.power = func(v *vendor, _ time.Time) (float64, bool) {
		if v.get(40029) != 1 {
			return 0, false
		}
		switch v.get(40031) {
		case 3, 4:
			return -float64(v.u32(40032, false)), true
		case 5, 6:
			return float64(v.u32(40034, false)), true
		case 1:
			return 0, true
		}
		return 0, false
	}
	v.show = func(v *vendor, b float64) { v.put32(30037, uint32(int32(-b)), false) }
	return v
}
