package makers

import (
	"math"
	"time"
)

// asked reads the controls as a device does: a rate or a limit counts while
// its mode enables it.
func (s *SunSpec) asked(at time.Time) command {
	c := command{at: at, cap: math.NaN(), set: math.NaN(), service: true, grid: true}
	get := func(model uint16, off int) uint16 { return s.get(1, s.at[model]+uint16(off)) }
	signed := func(model uint16, off int) float64 { return float64(int16(get(model, off))) }
	scale := func(model uint16, off int) float64 { return math.Pow10(int(int16(get(model, off)))) }
	if _, ok := s.at[124]; ok {
		full := float64(get(124, 2)) * scale(124, 18) / 100
		c.mode = get(124, 5)
		c.out, c.in = signed(124, 12)*scale(124, 25)*full, signed(124, 13)*scale(124, 25)*full
		c.grid = get(124, 17) == 1
	}
	if _, ok := s.at[123]; ok && get(123, 9) == 1 {
		c.cap = float64(get(123, 5)) * scale(123, 23) / 100 * float64(get(121, 2)) * scale(121, 22)
	}
	if _, ok := s.at[704]; ok {
		rated := float64(get(702, 26)) * scale(702, 45)
		if get(704, 14) == 1 {
			c.cap = float64(get(704, 15)) * scale(704, 54) / 100 * rated
		}
		if get(704, 22) == 1 {
			if get(704, 23) == 1 {
				c.set = float64(int32(s.u32(1, s.at[704]+24, false))) * scale(704, 55)
			} else {
				c.set = signed(704, 28) * scale(704, 56) / 100 * rated
			}
		}
		c.service = get(703, 2) == 1
	}
	return c
}

// lapse lets the timers run out and shows what is left of them.
func (s *SunSpec) lapse(now time.Time) {
	run := func(name string, model uint16, off, size int, on bool, done func(at uint16)) time.Duration {
		at, ok := s.at[model]
		if !ok {
			return 0
		}
		secs := uint32(s.get(1, at+uint16(off)))
		if size == 2 {
			secs = s.u32(1, at+uint16(off), false)
		}
		since, running := s.state.since[name]
		if secs == 0 || !on || !running {
			return 0
		}
		left := since.Add(time.Duration(secs) * time.Second).Sub(now)
		if left <= 0 {
			delete(s.state.since, name)
			done(at)
			s.state.command = append(s.state.command, s.asked(now))
			return 0
		}
		return left
	}
	on := func(model uint16, off int) bool {
		at, ok := s.at[model]
		return ok && s.get(1, at+uint16(off)) != 0
	}
	run("cap", 123, 7, 1, on(123, 9), func(at uint16) { s.put(1, at+9, 0) })
	run("rates", 124, 15, 1, on(124, 5), func(at uint16) { s.put(1, at+5, 0) })
	left := run("max", 704, 18, 2, on(704, 14), func(at uint16) {
		s.put(1, at+15, s.get(1, at+16))
		s.put(1, at+14, s.get(1, at+17))
	})
	s.remaining(20, left)
	left = run("set", 704, 31, 2, on(704, 22), func(at uint16) {
		s.put(1, at+24, s.get(1, at+26), s.get(1, at+27))
		s.put(1, at+28, s.get(1, at+29))
		s.put(1, at+22, s.get(1, at+30))
	})
	s.remaining(33, left)
}

func (s *SunSpec) remaining(off uint16, left time.Duration) {
	if at, ok := s.at[704]; ok {
		s.put(1, at+off, pair(uint32((left+time.Second-1)/time.Second), false)...)
	}
}

// move steps the plant through the time that has passed, finely enough for
// its ramps and delays.
func (s *SunSpec) move(now time.Time, dt time.Duration) {
	const fine = 50 * time.Millisecond
	for t := now.Add(-dt); t.Before(now); {
		d := min(fine, now.Sub(t))
		if now.Sub(t) > time.Minute { // nobody has looked for long: coarsely up to the last minute
			d = min(time.Second, now.Sub(t))
		}
		t = t.Add(d)
		s.tick(t, d)
	}
	if dt == 0 {
		s.tick(now, 0)
	}
}

func (s *SunSpec) tick(t time.Time, d time.Duration) {
	s.lapse(t)
	for len(s.state.command) > 0 && !s.state.command[0].at.After(t) {
		s.state.inForce = s.state.command[0]
		s.state.command = s.state.command[1:]
	}
	s.flow(t, d)
	if k := s.kind; k.Renew == 0 || t.Sub(s.state.renewed) >= k.Renew {
		s.state.renewed = t
		s.show()
	}
}

// flow works out the powers. The panels give what they can; the battery does
// as it is told, else as it likes, within what it can and what the inverter
// carries; what nobody takes is not harvested.
func (s *SunSpec) flow(t time.Time, d time.Duration) {
	k, c := s.kind, s.state.inForce
	sun, house := 0.0, 0.0
	if k.Sun != nil {
		sun = k.Sun(t)
	}
	if k.House != nil {
		house = k.House(t)
	}
	w := &s.state.Watts
	w.House = house
	if s.fault || !c.service {
		w.AC, w.PV, w.Battery, w.Grid = 0, 0, 0, -house
		return
	}
	low, high := -k.Charge, k.Discharge
	if k.Charge > 0 && s.state.level >= k.Energy {
		low = 0
	}
	if s.state.level <= 0 {
		high = 0
	}
	most := k.Rated
	if !math.IsNaN(c.cap) {
		most = min(most, c.cap)
	}
	goal := house - sun // serve the house
	if k.Own != nil {
		goal = k.Own(t, Watts{PV: sun, House: house})
	}
	if !math.IsNaN(c.set) {
		goal = s.dc(c.set) - sun
		most = min(most, max(c.set, -k.Charge))
	}
	floor, ceiling := low, high
	if c.mode&1 != 0 { // in: at most so much charging, and if negative at least so much discharging
		floor = min(max(-c.in, low), high)
	}
	if c.mode&2 != 0 {
		ceiling = min(max(c.out, low), high)
	}
	goal = min(max(goal, floor), ceiling)
	if room := s.dc(most) - sun; goal > room { // the battery takes what the inverter must not carry, if it may
		goal = min(max(room, floor), s.dc(max(most, 0)))
	}
	if !c.grid && k.Rates {
		goal = max(goal, min(-sun, high))
	}
	if math.IsNaN(w.Battery) {
		w.Battery = goal
	}
	w.Battery = towards(w.Battery, goal, k.Ramp, d)
	w.Battery = min(max(w.Battery, low), high)
	w.PV = max(0, min(sun, s.dc(most)-w.Battery))
	s.state.throttle = w.PV < sun-1
	w.AC = s.ac(w.PV + w.Battery)
	w.Grid = w.AC - house
	s.state.level = min(max(s.state.level-w.Battery*d.Hours(), 0), k.Energy)
}

// ac is what DC power gives on the other side, dc the way back.
func (s *SunSpec) ac(dc float64) float64 {
	if dc < 0 {
		return dc / (1 - s.kind.Loss)
	}
	return dc * (1 - s.kind.Loss)
}

func (s *SunSpec) dc(ac float64) float64 {
	if ac < 0 {
		return ac * (1 - s.kind.Loss)
	}
	return ac / (1 - s.kind.Loss)
}
