package makers

import (
	"math"
	"time"
)

// show refreshes what is read. After a time-out 1034 reads 0 and the limits
// read what the battery allows.
func (k *Kostal) show(now time.Time) {
	f := func(addr uint16, v float64) { k.setpoint(addr, v) }
	w := k.watts()
	k.put(kostalUnit, 56, pair(k.state(), k.lowFirst())...)
	f(100, k.pv+k.battery)
	house := map[uint16]float64{106: max(min(k.battery, k.house), 0), 108: max(-w.Grid, 0)}
	house[116] = max(k.house-house[106]-house[108], 0)
	for addr, v := range house {
		f(addr, v)
	}
	limit := 100.0
	if at := k.at[123]; k.get(kostalUnit, at+9) == 1 {
		limit = float64(k.get(kostalUnit, at+5))
	}
	f(122, limit)
	f(150, 1)
	f(152, 50)
	for i := range uint16(3) {
		at := 154 + 6*i
		f(at, math.Abs(k.ac)/3/230)
		f(at+2, k.ac/3)
		f(at+4, 230)
		meter := 222 + 10*i
		f(meter, math.Abs(w.Grid)/3/230)
		f(meter+2, -w.Grid/3)
		f(meter+8, 230)
	}
	f(172, k.ac)
	f(178, math.Abs(k.ac))
	f(190, max(-k.battery, 0)/400)
	f(200, k.battery/400)
	f(208, 1)
	f(210, k.soc)
	f(214, 25)
	f(216, 400)
	f(218, 1)
	f(220, 50)
	f(252, -w.Grid) // at the connection: + drawn
	f(256, math.Abs(w.Grid))
	f(260, k.pv)
	k.put(kostalUnit, 512, pair(uint32(k.capacity/400), k.lowFirst())...)
	k.put(kostalUnit, 514, uint16(k.soc))
	k.put(kostalUnit, 529, pair(uint32(k.capacity), k.lowFirst())...)
	k.put(kostalUnit, 575, s16(k.ac))
	k.put(kostalUnit, 582, s16(k.battery)) // + discharges
	if !k.o.Stuck && !k.o.Ignores {
		if at, ok := k.written[kostalPower]; !ok || !now.Before(at.Add(k.o.Timeout)) {
			f(kostalPower, 0)
		}
	}
	if !k.ruling(kostalMaxIn, now) {
		f(kostalMaxIn, k.charge)
	}
	if !k.ruling(kostalMaxEx, now) {
		f(kostalMaxEx, k.discharge)
	}
	f(1066, k.pv)
	f(1068, k.capacity)
	f(1076, max(-k.able(-k.charge, k.open()), 0))
	f(1078, k.able(k.discharge, k.open()))
	k.showSunSpec()
}

// state is 6 while feeding in or charging, 7 while throttled, 10 in standby.
func (k *Kostal) state() uint32 {
	switch {
	case k.pv < k.sun-1:
		return 7
	case k.ac != 0 || k.pv != 0:
		return 6
	}
	return 10
}

// sunspec lays out the chain that was seen on the wire: 1, 103, 113, 120, 123,
// 160 with three strings, 802, at 40002, 40070, 40122, 40184, 40212, 40238,
// 40308. Its byte order is SunSpec's whatever register 5 says.
func (k *Kostal) sunspec() {
	k.at = k.chain(kostalUnit, kostalBase,
		common("KOSTAL", "PLENTICORE plus10", k.o.Firmware, k.o.Serial, kostalUnit),
		model{id: 103, length: 50, points: map[uint16][]uint16{
			6: {sf(-2)}, 7: {0xFFFF, 0xFFFF, 0xFFFF}, 10: {2300, 2300, 2300, sf(-1)}, 14: {0, 0, 5000, sf(-2)},
			22: {1000, sf(-3)}, 27: {0xFFFF, 0, 0xFFFF, 0}, 33: {250, 0x8000, 0x8000, 0x8000, sf(-1)},
		}},
		model{id: 113, length: 60, points: map[uint16][]uint16{24: pair(float(50), false)}},
		model{id: 120, length: 26, points: map[uint16][]uint16{
			2: {82, uint16(k.rating), 0, uint16(k.rating), 0}, 19: {uint16(k.capacity), 0}, 23: {uint16(k.charge), 0, uint16(k.discharge), 0},
		}},
		model{id: 123, length: 24, points: map[uint16][]uint16{
			4: {1, or(k.o.Limit, 100)}, 9: {1}, 23: {0, sf(-3), 0},
		}},
		model{id: 160, length: 68, points: map[uint16][]uint16{
			2: {sf(-2), sf(-1), 0, 0}, 8: {3}, 10: append([]uint16{1}, text("DC_STRING_1", 8)...),
			30: append([]uint16{2}, text("DC_STRING_2", 8)...), 50: append([]uint16{3}, text("DC_STRING_3", 8)...),
		}},
		model{id: 802, length: 62, points: map[uint16][]uint16{
			2: {uint16(k.capacity / 400), uint16(k.capacity), uint16(k.charge), uint16(k.discharge)}, 22: {1},
		}},
	)
}

func (k *Kostal) showSunSpec() {
	at := k.at[103]
	k.put(kostalUnit, at+14, s16(k.ac))
	k.put(kostalUnit, at+18, s16(math.Abs(k.ac)))
	k.put(kostalUnit, at+31, s16(k.pv+k.battery))
	st := map[uint32]uint16{6: 4, 7: 5, 10: 8}[k.state()]
	k.put(kostalUnit, at+38, st)
	k.put(kostalUnit, k.at[113]+22, pair(float(k.ac), false)...)
	k.put(kostalUnit, k.at[113]+48, st)
	k.put(kostalUnit, k.at[160]+10+11, s16(k.pv))
	at = k.at[802]
	k.put(kostalUnit, at+11, uint16(k.soc))
	k.put(kostalUnit, at+47, s16(k.battery)) // evcc takes + for discharging
}
