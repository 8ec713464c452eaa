package makers

import (
	"math"
	"strings"
)

// lay writes the chain: the marker, the models and the end.
func (s *SunSpec) lay() {
	k := s.kind
	addr := k.Base
	s.put(1, addr, 0x5375, 0x6E53)
	addr += 2
	add := func(id uint16, length int, writable ...[2]int) {
		s.at[id] = addr
		s.put(1, addr, id, uint16(length))
		for i := range length {
			s.put(1, addr+2+uint16(i), 0xFFFF)
		}
		for _, run := range writable {
			for off := run[0]; off <= run[1]; off++ {
				s.rw[addr+uint16(off)] = true
			}
		}
		addr += 2 + uint16(length)
	}
	add(1, 66)
	set := func(model uint16, off int, words ...uint16) { s.put(1, s.at[model]+uint16(off), words...) }
	for off, words := range map[int][]uint16{2: text("Example", 16), 18: text("Plant", 16), 34: text("", 8), 42: text("1.0", 8), 50: text("S1", 16)} {
		set(1, off, words...)
	}
	sf := func(e int) uint16 { return uint16(int16(e)) }
	w := func(v float64) uint16 { return s.whole(v, k.PowerSF) }
	full := s.whole(100, k.PctSF)
	switch {
	case k.DER:
		s.layDER(add, set)
	default:
		s.layInverter(add, set)
	}
	if k.Ports {
		add(714, 18+2*25)
		set(714, 4, 2)
		set(714, 15, sf(-2), sf(-1), sf(k.PowerSF), sf(0), sf(0))
		set(714, 20, 0, 1)
		set(714, 45, 1, 2)
	}
	if len(k.Modules) > 0 {
		add(160, 8+20*len(k.Modules))
		set(160, 2, sf(-2), sf(-1), sf(k.PowerSF), sf(0), 0, 0, uint16(len(k.Modules)))
		for i, name := range k.Modules {
			set(160, 10+20*i, uint16(i+1))
			set(160, 11+20*i, text(name, 8)...)
		}
	}
	if k.Rates {
		add(124, 24, [2]int{2, 7}, [2]int{12, 17})
		set(124, 2, w(max(k.Charge, k.Discharge)))
		set(124, 5, 0)
		set(124, 12, full, full, 0, 0, 0, 0)
		set(124, 18, sf(k.PowerSF), sf(0))
		set(124, 22, sf(-1))
		set(124, 25, sf(k.PctSF))
	}
	if k.Bank {
		add(802, 62, [2]int{9, 10}, [2]int{19, 20}, [2]int{50, 51})
		set(802, 3, s.whole(k.Energy, 1), w(k.Charge), w(k.Discharge))
		set(802, 17, 0, 0, 0, 0)
		set(802, 22, 3)
		set(802, 26, 0, 0, 0, 0)
		set(802, 50, 1, 3)
		set(802, 52, sf(0), sf(1), sf(k.PowerSF))
		set(802, 56, sf(-1))
		set(802, 63, sf(k.PowerSF))
	}
	s.put(1, addr, 0xFFFF, 0)
}

// layDER lays the models of the 700 series.
func (s *SunSpec) layDER(add func(uint16, int, ...[2]int), set func(uint16, int, ...uint16)) {
	k := s.kind
	sf := func(e int) uint16 { return uint16(int16(e)) }
	w := func(v float64) uint16 { return s.whole(v, k.PowerSF) }
	full := s.whole(100, k.PctSF)
	add(701, 153)
	set(701, 2, 2, 1, 3, 1, 0, 0, 0, 1)
	set(701, 115, sf(-3), sf(k.PowerSF))
	set(701, 17, 0, 50000)
	add(702, 50, [2]int{26, 44})
	set(702, 2, w(k.Rated))
	set(702, 23, uint16(k.Modes>>16), uint16(k.Modes))
	set(702, 26, w(k.Rated))
	set(702, 45, sf(k.PowerSF))
	if k.Charge > 0 {
		for _, off := range []int{10, 34} {
			set(702, off, w(k.Charge), w(k.Discharge))
		}
	}
	add(703, 17, [2]int{2, 14})
	set(703, 2, 1)
	set(703, 9, 0, 0, 0, 0, 0, 0, 0, 0)
	add(704, 65, [2]int{2, 5}, [2]int{8, 11}, [2]int{14, 19}, [2]int{22, 32}, [2]int{35, 46}, [2]int{49, 52}, [2]int{59, 66})
	set(704, 14, 0, full, full, 0, 0, 0, 0, 0)
	set(704, 22, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	set(704, 54, sf(k.PctSF), sf(k.PowerSF), sf(k.PctSF))
	if k.Charge > 0 {
		add(713, 7)
		set(713, 2, s.whole(k.Energy, 1))
		set(713, 5, 1000, 0, 1, sf(-1))
	}
}

// layInverter lays the models of before the 700 series.
func (s *SunSpec) layInverter(add func(uint16, int, ...[2]int), set func(uint16, int, ...uint16)) {
	k := s.kind
	sf := func(e int) uint16 { return uint16(int16(e)) }
	if k.Float {
		add(113, 60)
		for off := 2; off < 46; off += 2 {
			set(113, off, pair(float(math.NaN()), false)...)
		}
		set(113, 24, pair(float(50), false)...)
	} else {
		add(103, 50)
		set(103, 15, sf(k.PowerSF), 5000, sf(-2))
		set(103, 24, 0, 1000, 0)
	}
	add(120, 26)
	kind := uint16(4)
	if k.Charge > 0 {
		kind = 82
	}
	set(120, 2, kind, s.whole(k.Rated, k.PowerSF), sf(k.PowerSF))
	if k.Charge > 0 {
		set(120, 19, s.whole(k.Energy, 1), sf(1))
		set(120, 23, s.whole(k.Charge, k.PowerSF), sf(k.PowerSF), s.whole(k.Discharge, k.PowerSF), sf(k.PowerSF))
	}
	add(121, 30, [2]int{2, 21})
	set(121, 2, s.whole(k.Rated, k.PowerSF))
	set(121, 22, sf(k.PowerSF))
	add(122, 44)
	set(122, 35, 0, 0)
	add(123, 24, [2]int{2, 22})
	set(123, 2, 0, 0, 1, s.whole(100, k.PctSF), 0, 0, 0, 0)
	set(123, 23, sf(k.PctSF))
}

// whole spells a value in steps of 10^sf.
func (s *SunSpec) whole(v float64, sf int) uint16 {
	return uint16(int64(math.Round(v / math.Pow10(sf))))
}

// show refreshes what is measured.
func (s *SunSpec) show() {
	k, w := s.kind, s.state.Watts
	set := func(model uint16, off int, words ...uint16) { s.put(1, s.at[model]+uint16(off), words...) }
	has := func(model uint16) bool { _, ok := s.at[model]; return ok }
	soc := 0.0
	if k.Energy > 0 {
		soc = s.state.level / k.Energy * 100
	}
	running := uint16(4)
	switch {
	case s.fault:
		running = 7
	case s.state.throttle:
		running = 5
	}
	if has(103) {
		set(103, 14, s.whole(w.AC, k.PowerSF))
		set(103, 38, running)
	}
	if has(113) {
		set(113, 22, pair(float(w.AC), false)...)
		set(113, 48, running)
	}
	if has(122) {
		active := uint16(0)
		if !math.IsNaN(s.state.inForce.cap) || s.state.inForce.mode != 0 {
			active = 1
		}
		set(122, 36, active)
	}
	if has(701) {
		set(701, 4, running-1)
		set(701, 6, 0, 0)
		if s.fault {
			set(701, 7, 1<<15)
		}
		set(701, 10, s.whole(w.AC, k.PowerSF))
	}
	if has(713) {
		set(713, 4, s.whole(soc, -1))
	}
	if has(714) {
		set(714, 6, s.whole(w.PV+w.Battery, k.PowerSF))
		set(714, 32, s.whole(w.PV, k.PowerSF))
		set(714, 57, s.whole(w.Battery, k.PowerSF))
	}
	doing := s.doing(soc)
	if has(160) {
		s.showModules(set)
	}
	if has(124) {
		set(124, 8, s.whole(soc, -1))
		if !k.MuteState {
			set(124, 11, doing)
		}
	}
	if has(802) {
		set(802, 11, s.whole(soc, -1))
		set(802, 16, doing)
		set(802, 47, s.whole(w.Battery, k.PowerSF))
	}
}

// doing is the battery's state: 2 empty, 3 discharging, 4 charging, 5 full, 6
// holding.
func (s *SunSpec) doing(soc float64) uint16 {
	switch b := s.state.Battery; {
	case b > 10:
		return 3
	case b < -10:
		return 4
	case soc >= 99.9:
		return 5
	case soc <= 0.1:
		return 2
	}
	return 6
}

// showModules shares the sun among the inputs and tells the battery's power
// where a module is named for it, always as a magnitude: DCW is unsigned.
func (s *SunSpec) showModules(set func(uint16, int, ...uint16)) {
	k, inputs := s.kind, 0
	for _, name := range k.Modules {
		if !strings.HasPrefix(name, "St") {
			inputs++
		}
	}
	for i, name := range k.Modules {
		v := s.state.PV / float64(inputs)
		switch {
		case strings.HasPrefix(name, "StCha"):
			v = max(0, -s.state.Battery)
		case strings.HasPrefix(name, "StDisCha"):
			v = max(0, s.state.Battery)
		}
		set(160, 21+20*i, s.whole(v, k.PowerSF))
	}
}
