package makers

import "math"

// lay puts the registers of the list in place.
func (v *Victron) lay() {
	zero := func(unit byte, from, to uint16) { v.put(unit, from, make([]uint16, int(to-from)+1)...) }
	zero(victronSystem, 800, 898)
	zero(victronSystem, 2700, 2724)
	zero(victronSystem, 2900, 2903)
	zero(victronSystem, 5400, 5400)
	zero(victronVebus, 3, 69)
	zero(victronVebus, 74, 102)
	zero(victronGrid, 2600, 2648)
	v.put(victronSystem, 800, text(v.o.Serial, 6)...)
	for _, run := range [][2]uint16{{827, 829}, {836, 839}, {847, 849}, {852, 854}, {856, 859}, {861, 864}, {867, 867}, {2719, 2719}} {
		for a := run[0]; a <= run[1]; a++ {
			v.put(victronSystem, a, 0xFFFF)
		}
	}
	v.put(victronSystem, 826, 1)
	v.put(victronSystem, 834, 3, 0x50)
	v.put(victronSystem, 2700, s16(v.o.Setpoint), 100, 100, s16(v.o.Setpoint/100), 0xFFFF, 0xFFFF, 0xFFFF)
	v.put(victronSystem, 2720, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)
	v.put(victronSystem, 2900, 10, uint16(v.floor*10), or(v.o.Mode, 1), uint16(v.floor*10))
	if v.o.NoOverride {
		delete(v.regs, Register{victronSystem, victronTarget})
		delete(v.regs, Register{victronSystem, victronTarget + 1})
	}
	if v.o.DynamicESS {
		v.put(victronSystem, 5400, 1)
	}
	v.put(victronVebus, 28, uint16(v.phases()))
	v.put(victronVebus, 33, 3)
	v.put(victronVebus, 57, 1, 1)
}

// show refreshes what is read. What is not there reads 0, as an invalid value
// does: the phases of a system with one, the battery without its monitor.
func (v *Victron) show() {
	w, n := v.watts(), v.phases()
	for phase := range n {
		p := uint16(phase)
		share := func(x float64) float64 { return x / float64(n) }
		v.put(victronSystem, 811+p, uint16(share(v.pv)))
		v.put(victronSystem, 817+p, uint16(share(w.House)))
		v.put(victronSystem, 820+p, s16(-share(w.Grid)))
		v.put(victronSystem, 872+2*p, pair(s32(share(v.house)), false)...)
		v.put(victronSystem, 878+2*p, pair(s32(share(v.critical)), false)...)
		v.put(victronSystem, 890+2*p, pair(s32(share(v.pv)), false)...)
		v.put(victronVebus, 3+p, 2300)
		v.put(victronVebus, 6+p, s16(-share(v.ac)/230*10))
		v.put(victronVebus, 9+p, 5000)
		v.put(victronVebus, 12+p, s16(-share(v.ac)/10))
		v.put(victronVebus, 15+p, 2300)
		v.put(victronVebus, 23+p, s16(share(v.critical)/10))
		v.put(victronGrid, 2600+p, s16(-share(w.Grid)))
		v.put(victronGrid, 2616+2*p, 2300, s16(-share(w.Grid)/230*10))
		v.put(victronGrid, 2638+2*p, pair(s32(-share(w.Grid)), false)...)
	}
	battery := []uint16{520, s16(-v.battery / 52 * 10), s16(-v.battery), uint16(math.Floor(v.soc)), 0}
	switch {
	case v.battery < 0:
		battery[4] = 1
	case v.battery > 0:
		battery[4] = 2
	}
	if v.blind {
		clear(battery)
	}
	v.put(victronSystem, 840, battery...)
	v.put(victronVebus, 26, 5200, s16(-v.battery/52*10))
	v.put(victronVebus, 30, uint16(v.soc*10))
	state := uint16(8) // passing through
	switch {
	case v.get(victronSystem, victronHub4) == 3 && v.battery != 0:
		state = 252
	case v.battery < 0:
		state = 3
	case v.battery > 0:
		state = 9
	}
	v.put(victronVebus, 31, state)
}
