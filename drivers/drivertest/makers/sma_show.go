package makers

import "math"

func (s *SMA) plate() {
	for _, run := range [][2]uint16{
		{30051, 30060}, {30201, 30202}, {30231, 30232}, {30513, 30516}, {30529, 30530}, {30773, 30812}, {30843, 30868},
		{30869, 30962}, {31391, 31404}, {33003, 33004}, {40187, 40192},
	} {
		for a := run[0]; a < run[1]; a += 2 {
			s.put(smaUnit, a, pair(smaNaN32, false)...)
		}
	}
	class, kind := uint32(8009), uint32(19051)
	if s.storage {
		class, kind = 8007, 9358
	}
	for addr, v := range map[uint16]uint32{
		30051: class, 30053: kind, 30057: s.o.Serial, 30059: 0x03100304, 30201: 307, 30231: uint32(s.rating),
		30513: 0, 30515: 0, 30529: 0, 31391: smaNaN32, 31397: 0, 31399: 0, 31401: 0, 31403: 0, 33003: 235,
		40187: uint32(s.capacity), 40189: uint32(s.charge), 40191: uint32(s.discharge),
	} {
		s.put(smaUnit, addr, pair(v, false)...)
	}
	s.blank()
}

// blank hides what is only written.
func (s *SMA) blank() {
	for _, addr := range smaWritten {
		v := uint32(smaNaNs32)
		if addr == smaSwitch || addr == smaMode || addr == smaMode2 {
			v = smaNoEnum
		}
		s.put(smaUnit, addr, pair(v, false)...)
		for i := range uint16(2) {
			if !s.o.ReadsNaN {
				s.hidden[Register{smaUnit, addr + i}] = true
			}
		}
	}
}

// show refreshes what is read. A device asleep gives no numbers, an empty
// battery at rest no state of charge.
func (s *SMA) show() {
	u := func(addr uint16, v uint32) { s.put(smaUnit, addr, pair(v, false)...) }
	w := s.watts()
	u(30775, s32(w.AC))
	for i := range uint16(3) {
		u(30777+2*i, s32(w.AC/3))
		u(30783+2*i, 23000)
	}
	u(30803, 5000)
	u(30843, s32(-s.battery/400*1000))
	u(30845, uint32(math.Floor(s.soc)))
	u(30849, 250)
	u(30851, 40000)
	u(30865, s32(max(-w.Grid, 0)))
	u(30867, s32(max(w.Grid, 0)))
	u(30955, 2292)
	u(31393, s32(max(-s.battery, 0)))
	u(31395, s32(max(s.battery, 0)))
	if !s.storage {
		u(30773, s32(s.pv))
		u(30961, 0)
	}
	empty := s.soc <= s.floor && s.battery == 0 && s.pv == 0
	if empty || s.asleep {
		u(30845, smaNaN32)
	}
	if s.asleep {
		u(30775, smaNaNs32)
		u(31393, smaNaN32)
		u(31395, smaNaN32)
		u(30773, smaNaNs32)
		u(30961, smaNaNs32)
	}
}

// Watts are the plant's true powers now. What stands on the roof beside an SBS
// is neither its AC power nor its PV, but the connection sees it.
func (s *SMA) Watts() Watts {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.watts()
}

func (s *SMA) watts() Watts {
	w := s.rig.watts()
	if s.storage {
		w.PV = s.sun
		w.Grid += s.sun
	}
	return w
}
