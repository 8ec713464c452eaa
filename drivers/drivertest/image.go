package drivertest

import "math"

// Scale is the scale factors of an image.
type Scale struct {
	Watt int // of powers
	Pct  int // of percentages
}

func sfWord(e int) uint16 { return uint16(int16(e)) }

// scaled spells a value in steps of 10^sf.
func scaled(v float64, sf int) uint16 { return uint16(int64(math.Round(v / math.Pow10(sf)))) }

// model makes a model of a length, filled with "not implemented" for unsigned
// values, and puts words at offsets from the ID register.
func model(id uint16, length int, at map[int]uint16) Model {
	m := Model{ID: id, Words: make([]uint16, length)}
	for i := range m.Words {
		m.Words[i] = 0xFFFF
	}
	for off, w := range at {
		if off >= 2 && off-2 < length {
			m.Words[off-2] = w
		}
	}
	return m
}

// Vendor is a model nobody knows.
func Vendor(id uint16, length int) Model { return model(id, length, nil) }

// Common is model 1 with its length as the device has it, 65 or 66.
func Common(length int, maker, name, serial string) Model {
	m := Model{ID: 1, Words: make([]uint16, length)}
	put := func(off int, s string) {
		for i := range len(s) {
			m.Words[off-2+i/2] |= uint16(s[i]) << (8 * (1 - i%2))
		}
	}
	put(2, maker)
	put(18, name)
	put(42, "1.2.3")
	put(50, serial)
	return m
}

// Inverter is model 103 feeding out w, and running.
func Inverter(w float64, s Scale) Model {
	return model(103, 50, map[int]uint16{14: scaled(w, s.Watt), 15: sfWord(s.Watt), 16: 5000, 17: sfWord(-2),
		24: 0, 25: 1000, 26: 0, 37: 0x8000, 38: 4, 40: 0, 41: 0})
}

// Nameplate is model 120: the kind of device and its rating.
func Nameplate(typ uint16, rated, energy float64, s Scale) Model {
	m := model(120, 26, map[int]uint16{2: typ, 3: scaled(rated, s.Watt), 4: sfWord(s.Watt)})
	if energy > 0 {
		m.Words[19-2], m.Words[20-2] = scaled(energy, 1), 1
	}
	return m
}

// Settings is model 121 with WMax.
func Settings(wmax float64, s Scale) Model {
	return model(121, 30, map[int]uint16{2: scaled(wmax, s.Watt), 22: sfWord(s.Watt)})
}

// Status is model 122 with StActCtl.
func Status(active uint16) Model {
	return model(122, 44, map[int]uint16{35: 0, 36: active})
}

// Immediate is model 123, nothing in force, the cap at 100 %.
func Immediate(s Scale) Model {
	return model(123, 24, map[int]uint16{4: 1, 5: scaled(100, s.Pct), 6: 0, 7: 0, 8: 0, 9: 0, 23: sfWord(s.Pct)})
}

// Storage is model 124, free to do as it likes, half full.
func Storage(wchamax float64, s Scale) Model {
	full := scaled(100, s.Pct)
	return model(124, 24, map[int]uint16{2: scaled(wchamax, s.Watt), 5: 0, 7: 10, 8: 500, 11: 6, 12: full, 13: full,
		14: 0, 15: 0, 16: 0, 17: 0, 18: sfWord(s.Watt), 21: 0, 22: sfWord(-1), 25: sfWord(s.Pct)})
}

// DERMeasure is model 701 feeding out w, and running.
func DERMeasure(w float64, s Scale) Model {
	return model(701, 153, map[int]uint16{3: 1, 4: 3, 5: 1, 6: 0, 7: 0, 10: scaled(w, s.Watt), 17: 0, 18: 50000,
		19: 0, 20: 0, 21: 0, 22: 1000, 23: 0, 24: 0, 25: 0, 26: 500, 111: 0, 112: 0, 115: sfWord(-3), 116: sfWord(s.Watt), 120: 0})
}

// DERCapacity is model 702: ratings, charging rates where there is storage,
// and the control modes on offer.
func DERCapacity(wmax, charge float64, modes uint16, s Scale) Model {
	m := model(702, 50, map[int]uint16{2: scaled(wmax, s.Watt), 23: 0, 24: modes, 26: scaled(wmax, s.Watt), 45: sfWord(s.Watt)})
	if charge > 0 {
		for _, off := range []int{10, 11, 34, 35} {
			m.Words[off-2] = scaled(charge, s.Watt)
		}
	}
	return m
}

// DERControls is model 704, nothing in force.
func DERControls(s Scale) Model {
	at := map[int]uint16{}
	for off := 14; off <= 34; off++ {
		at[off] = 0
	}
	at[15], at[16], at[23] = scaled(100, s.Pct), scaled(100, s.Pct), 1
	at[54], at[55], at[56] = sfWord(s.Pct), sfWord(s.Watt), sfWord(s.Pct)
	return model(704, 65, at)
}

// DERStorage is model 713, half full.
func DERStorage(energy float64) Model {
	return model(713, 7, map[int]uint16{2: scaled(energy, 1), 4: 500, 5: 1000, 7: 1, 8: sfWord(-1)})
}

// Meter is model 203 showing w.
func Meter(w float64, s Scale) Model {
	return model(203, 105, map[int]uint16{16: 5000, 17: sfWord(-2), 18: scaled(w, s.Watt), 22: sfWord(s.Watt),
		38: 0, 39: 700, 46: 0, 47: 300, 54: 0, 105: 0, 106: 0})
}

// DCPorts is model 714 with a PV port and a storage port.
func DCPorts(pv, ess float64, s Scale) Model {
	m := model(714, 18+2*25, map[int]uint16{4: 2, 6: scaled(pv+ess, s.Watt), 17: sfWord(s.Watt)})
	m.Words[20-2], m.Words[32-2] = 0, scaled(pv, s.Watt)
	m.Words[45-2], m.Words[57-2] = 1, scaled(ess, s.Watt)
	return m
}

// Bank802 is model 802: a battery bank with what it does (3 discharging, 4
// charging), its power and its rates; 57.5 % full, under remote control.
func Bank802(state uint16, power, charge, discharge float64, s Scale) Model {
	return model(802, 62, map[int]uint16{3: 200, 53: 2, 4: scaled(charge, s.Watt), 5: scaled(discharge, s.Watt), 54: sfWord(s.Watt),
		11: 575, 56: sfWord(-1), 16: state, 17: 0, 22: 3, 47: scaled(power, s.Watt), 63: sfWord(s.Watt)})
}

// Modules is model 160 with four modules of 20 registers; the third takes in,
// the fourth gives out, as a Fronius hybrid has it.
func Modules(in, out float64, s Scale) Model {
	return model(160, 88, map[int]uint16{4: sfWord(s.Watt), 8: 4, 61: scaled(in, s.Watt), 81: scaled(out, s.Watt)})
}

// FloatMeter is model 213 showing w at 50 Hz, with 700 Wh given and 300 Wh taken.
func FloatMeter(w float64) Model {
	m := model(213, 124, nil)
	for off, v := range map[int]float64{2: 5, 10: 230, 26: 50, 28: w, 60: 700, 68: 300} {
		bits := math.Float32bits(float32(v))
		m.Words[off-2], m.Words[off-1] = uint16(bits>>16), uint16(bits)
	}
	return m
}

// Service is model 703, permitted to enter service or not.
func Service(es uint16) Model {
	return model(703, 17, map[int]uint16{2: es, 9: 0, 10: 60, 13: 0, 14: 120, 15: 0, 16: 0})
}
