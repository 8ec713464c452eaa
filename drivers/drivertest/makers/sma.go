package makers

import (
	"time"

	"flexd/drivers/modbus"
)

// Sources for SMA: openWB sma_sunny_boy "bat.py" and "inverter.py" (registers,
// signs, not-a-number values), evcc "sma-sbs-modbus.yaml" and
// "sma-hybrid.yaml" (the battery window), evcc PR 11580 (on an STP SE 40149
// commands AC power, the window does nothing), evcc issue 15442 (it commands
// the battery), 15881 and 17201 (a sleeping SBS, charging by 40149 dead,
// waking a minute after 802), 17115 (window rules as a whole set only, as caps,
// for 300 s; a time-out of 10 to 30 min for 40149), 13924 (locked by the
// maker's energy manager); OpenEMS "SmaBatteryImpl" (which ranges are read in
// one go); the tests of Optic00's driver for the STP10.0-3SE-40 (device class
// and type, the modes 303, 1438, 2289, 2290); home-assistant community thread
// 325668 (function 6 on 40151 answers exception 2).
const (
	smaUnit   = 3
	smaPower  = 40149 // s32 W, - charges, only written
	smaSwitch = 40151 // u32, 802 on, 803 off, only written
	smaMode   = 40236 // u32, see sma…Mode, only written
	smaMode2  = 41259 // u32, the same on newer devices
	smaChaMin = 40793 // u32 W, the window: four points, then
	smaChaMax = 40795
	smaDisMin = 40797
	smaDisMax = 40799
	smaGrid   = 40801 // s32 W at the connection, + draws

	smaOn     = 802
	smaNaN32  = 0xFFFFFFFF
	smaNaNs32 = 0x80000000
	smaNoEnum = 0x00FFFFFD

	smaPause    = 303
	smaCharging = 2289
	smaDrawing  = 2290

	smaWindowLasts = 300 * time.Second
	smaWakes       = time.Minute
)

// SMAReading is what 40149 commands: the sources disagree for the STP SE.
type SMAReading int

// Either the AC power of the whole inverter, PV included, or the battery's.
const (
	SMAACPower SMAReading = iota
	SMABatteryPower
)

// SMAWindow is what the battery window does.
type SMAWindow int

// It commands, or it caps alone, or it does nothing.
const (
	SMAWindowCommands SMAWindow = iota
	SMAWindowCaps
	SMAWindowDead
)

// SMAOptions describe a device; zero means the usual.
type SMAOptions struct {
	Rating            float64 // W of AC; 10000 (STP SE), 5000 (SBS)
	Charge, Discharge float64 // W; the rating each
	Capacity          float64 // Wh; 10000
	SoC               float64 // %; 50
	Ramp              float64 // W/s; 0: at once
	Sun, House        float64 // W; the sun of an SBS is somebody else's
	Reading           SMAReading
	Window            SMAWindow
	Timeout           time.Duration // of 40149; 10 min
	Keeps             bool          // the fall-back is set to keep the last value
	Ignores           bool          // 40149 and 40151 are taken and not followed
	Sleeps            time.Duration // of idling until it sleeps; 0: never
	ReadsNaN          bool          // what is only written reads not-a-number instead of exception 2
	Serial            uint32        // 3012345678
}

// SMA is a Sunny Tripower Smart Energy or a Sunny Boy Storage on unit 3.
type SMA struct {
	rig
	o       SMAOptions
	storage bool // an SBS: no PV of its own
	written map[uint16]time.Time
	value   map[uint16]uint32
	idle    time.Duration
	asleep  bool
	wakes   time.Time
}

// NewSTPSE is a Sunny Tripower Smart Energy.
func NewSTPSE(now func() time.Time, o SMAOptions) *SMA { return newSMA(now, o, false) }

// NewSBS is a Sunny Boy Storage.
func NewSBS(now func() time.Time, o SMAOptions) *SMA { return newSMA(now, o, true) }

func newSMA(now func() time.Time, o SMAOptions, storage bool) *SMA {
	usual := 10000.0
	if storage {
		usual = 5000
	}
	o.Rating, o.Timeout, o.Serial = or(o.Rating, usual), or(o.Timeout, 10*time.Minute), or(o.Serial, 3012345678)
	s := &SMA{o: o, storage: storage, written: map[uint16]time.Time{}, value: map[uint16]uint32{}}
	s.rig = rig{bank: newBank(now), plant: plant{
		rating: o.Rating, charge: or(o.Charge, o.Rating), discharge: or(o.Discharge, o.Rating),
		capacity: or(o.Capacity, 10000), floor: 5, ceil: 100,
		ramp: o.Ramp, soc: or(o.SoC, 50), sun: o.Sun, house: o.House,
	}}
	s.wakes = now()
	s.plate()
	s.write, s.wrote = s.judge, s.taken
	s.step = func(now time.Time, dt time.Duration) {
		sliced(now, dt, s.move)
		s.show()
	}
	s.advance()
	return s
}

var smaWritten = []uint16{smaPower, smaSwitch, smaMode, smaMode2, smaChaMin, smaChaMax, smaDisMin, smaDisMax, smaGrid}

// judge takes one whole point a request, with function 16.
func (s *SMA) judge(r modbus.Request) byte {
	if r.Func == modbus.WriteMultiple && len(r.Values) == 2 {
		for _, addr := range smaWritten {
			if r.Addr == addr {
				return 0
			}
		}
	}
	return modbus.IllegalAddress
}

// taken keeps what was written out of sight: these points can't be read back.
func (s *SMA) taken(r modbus.Request) {
	addr, v := r.Addr, uint32(r.Values[0])<<16|uint32(r.Values[1])
	s.value[addr], s.written[addr] = v, s.last
	if addr == smaMode2 {
		s.value[smaMode], s.written[smaMode] = v, s.last
	}
	if addr == smaSwitch && v == smaOn && s.asleep {
		s.asleep, s.wakes, s.idle = false, s.last.Add(smaWakes), 0
	}
	s.blank()
	s.move(s.last, 0)
}

// fresh tells whether a point was written less than a time ago.
func (s *SMA) fresh(addr uint16, now time.Time, lasts time.Duration) bool {
	at, ok := s.written[addr]
	return ok && now.Before(at.Add(lasts))
}

// commanded tells whether 40149 rules: switched on, written since, and
// renewed within the time-out by a write to either point.
func (s *SMA) commanded(now time.Time) bool {
	if s.o.Ignores || s.value[smaSwitch] != smaOn {
		return false
	}
	if _, ok := s.written[smaPower]; !ok {
		return false
	}
	return s.o.Keeps || s.fresh(smaPower, now, s.o.Timeout) || s.fresh(smaSwitch, now, s.o.Timeout)
}

// windowed tells whether the window rules: the mode and its four limits
// written as a set that is still fresh.
func (s *SMA) windowed(now time.Time) bool {
	for _, addr := range []uint16{smaMode, smaChaMin, smaChaMax, smaDisMin, smaDisMax} {
		if !s.fresh(addr, now, smaWindowLasts) {
			return false
		}
	}
	return s.o.Window != SMAWindowDead
}

func (s *SMA) move(now time.Time, dt time.Duration) {
	b, goal := s.open(), s.surplus()
	if s.storage {
		b.pv = 0
	}
	switch {
	case s.commanded(now):
		goal = float64(int32(s.value[smaPower]))
		if s.o.Reading == SMAACPower && !s.storage {
			b.out = goal
			goal -= s.sun
		}
	case s.windowed(now):
		goal = s.window(&b)
	}
	if s.asleep || now.Before(s.wakes) {
		goal = 0
	}
	s.run(goal, b, dt)
	s.doze(dt)
}

// window narrows the bounds to the battery window and gives the goal in it.
func (s *SMA) window(b *bounds) float64 {
	b.charge, b.discharge = float64(s.value[smaChaMax]), float64(s.value[smaDisMax])
	goal := s.surplus() - float64(int32(s.value[smaGrid]))
	commands := s.o.Window == SMAWindowCommands
	switch s.value[smaMode] {
	case smaPause:
		return 0
	case smaCharging:
		b.discharge = 0
		if !commands {
			return 0
		}
		return min(goal, -float64(s.value[smaChaMin]))
	case smaDrawing:
		b.charge = 0
		if !commands {
			return 0
		}
		return max(goal, float64(s.value[smaDisMin]))
	}
	return goal
}

// doze lets a device sleep that has nothing to do, and wakes it for the sun.
func (s *SMA) doze(dt time.Duration) {
	if s.battery != 0 || s.pv > 0 {
		s.idle, s.asleep = 0, false
		return
	}
	s.idle += dt
	if s.o.Sleeps > 0 && s.idle >= s.o.Sleeps && !s.asleep {
		s.asleep = true
	}
}

// Owner is empty: what a controller writes here can't be read, is volatile and
// lapses.
func (s *SMA) Owner() map[Register]uint16 { return map[Register]uint16{} }

// Restart loses all that was written.
func (s *SMA) Restart() {
	s.set(func() {
		clear(s.written)
		clear(s.value)
		s.asleep, s.idle, s.wakes = false, 0, s.last.Add(smaWakes)
	})
}

// Asleep tells whether the device sleeps.
func (s *SMA) Asleep() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.asleep
}
