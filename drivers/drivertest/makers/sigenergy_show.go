package makers

func (g *Sigenergy) plate() {
	u := func(addr uint16, v float64) { g.put(sigenPlant, addr, pair(uint32(v), false)...) }
	g.put(sigenPlant, 30004, 1)
	u(30010, g.rating)
	u(30012, g.rating)
	u(30068, g.charge)
	u(30070, g.discharge)
	u(30083, g.capacity/10)
	g.put(sigenPlant, 30087, 1000)

	g.put(sigenInverter, 30500, make([]uint16, 124)...)
	g.put(sigenInverter, 31000, make([]uint16, 107)...)
	g.put(sigenInverter, 30500, text("SigenStor EC 11.0 TP", 15)...)
	g.put(sigenInverter, 30515, text(g.o.Serial, 10)...)
	g.put(sigenInverter, 30525, text("V100R001C22SPC112", 15)...)
	for addr, v := range map[uint16]float64{
		30540: g.rating, 30542: g.rating, 30544: g.rating, 30546: g.rating,
		30548: g.capacity / 10, 30550: g.charge, 30552: g.discharge,
	} {
		g.put(sigenInverter, addr, pair(uint32(v), false)...)
	}
}

// show refreshes what is read: powers in W (the paper's kW by 1000), charging
// positive at 30037, drawing positive at 30005, giving out positive at 30031.
func (g *Sigenergy) show() {
	s := func(unit byte, addr uint16, v float64) { g.put(unit, addr, pair(s32(v), false)...) }
	w := g.watts()
	mode := g.o.WorkMode
	switch {
	case g.remote():
		mode = 7
	case g.forgot:
		mode = 0
	}
	g.put(sigenPlant, 30003, mode)
	s(sigenPlant, 30005, -w.Grid)
	g.put(sigenPlant, 30014, uint16(g.soc*10))
	for i := range uint16(3) {
		s(sigenPlant, 30015+2*i, g.ac/3)
		s(sigenPlant, 30052+2*i, -w.Grid/3)
	}
	s(sigenPlant, 30031, g.ac)
	s(sigenPlant, 30035, g.pv)
	s(sigenPlant, 30037, -g.battery)
	s(sigenPlant, 30039, g.rating)
	s(sigenPlant, 30047, -g.able(-g.charge, g.open()))
	s(sigenPlant, 30049, g.able(g.discharge, g.open()))
	g.put(sigenPlant, 30051, 1)
	g.put(sigenPlant, 30085, g.get(sigenPlant, 40047), g.get(sigenPlant, 40048))
	s(sigenPlant, 30282, g.house)
	s(sigenPlant, 30284, g.house)

	g.put(sigenInverter, 30578, 1)
	s(sigenInverter, 30587, g.ac)
	s(sigenInverter, 30591, g.charge)
	s(sigenInverter, 30593, g.discharge)
	s(sigenInverter, 30599, -g.battery)
	g.put(sigenInverter, 30601, uint16(g.soc*10), 1000)
	s(sigenInverter, 31035, g.pv)
}
