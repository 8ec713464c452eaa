package makers

import (
	"math"
	"time"

	"flexd/drivers/modbus"
)

// SunSpecKind says which models a SunSpec device has and what is behind it.
// Sources: the models' own JSON (github.com/sunspec/models); module names and
// the use of model 160 for storage as a Fronius GEN24 has them
// (callifo/fronius_modbus, evcc templates); forced rates and their signs as
// evcc and batcontrol use them on the same.
type SunSpecKind struct {
	Base      uint16
	Float     bool     // 113 in place of 103
	DER       bool     // 701, 702, 703, 704 in place of 103, 120 to 123
	Modes     uint32   // 702.CtrlModes: bit 0 a limit, bit 1 a setpoint
	Rates     bool     // 124
	Bank      bool     // 802
	Ports     bool     // 714, a PV port and a storage port
	Modules   []string // names in 160; those with "StCha", "StDisCha" are the battery's
	MuteState bool     // 124.ChaSt is not implemented
	PowerSF   int      // scale of powers
	PctSF     int      // scale of percentages

	Rated, Charge, Discharge float64 // W; a device without a battery charges 0
	Energy                   float64 // Wh
	Level                    float64 // of charge at first, %
	Ramp                     float64 // of the battery, W/s; 0: at once
	Delay                    time.Duration
	Renew                    time.Duration // how often what is measured is refreshed; 0: always
	Loss                     float64       // share lost between DC and AC

	Sun   func(time.Time) float64            // what the panels could give, W
	House func(time.Time) float64            // loads, W
	Own   func(t time.Time, w Watts) float64 // what the battery does when free; nil: it serves the house
	Found map[uint16]map[int]uint16          // registers at first, by model and offset
}

// SunSpec is a plant behind a SunSpec device at unit 1.
type SunSpec struct {
	*bank
	kind  SunSpecKind
	at    map[uint16]uint16
	rw    map[uint16]bool
	state plantState
	fault bool
}

// plantState is what has happened inside, apart from the registers.
type plantState struct {
	Watts
	level    float64              // Wh
	since    map[string]time.Time // timers running, by name
	renewed  time.Time
	command  []command // written and not yet acted on
	inForce  command
	throttle bool
}

// command is what the controls ask for.
type command struct {
	at      time.Time
	mode    uint16  // 124.StorCtl_Mod
	out, in float64 // rates, W
	grid    bool
	cap     float64 // on AC; NaN: none
	set     float64 // of AC; NaN: none
	service bool
}

// NewSunSpec starts the plant, at rest in its own state.
func NewSunSpec(now func() time.Time, k SunSpecKind) *SunSpec {
	s := &SunSpec{bank: newBank(now), kind: k, at: map[uint16]uint16{}, rw: map[uint16]bool{}}
	s.lay()
	for model, points := range k.Found {
		for off, v := range points {
			s.put(1, s.at[model]+uint16(off), v)
		}
	}
	s.state.since = map[string]time.Time{}
	s.state.level = k.Energy * k.Level / 100
	s.state.inForce = s.asked(now())
	s.state.Battery = math.NaN() // the first step begins where the plant would be
	s.bank.write, s.bank.wrote, s.bank.step = s.judge, s.took, s.move
	s.mu.Lock()
	defer s.mu.Unlock()
	s.move(now(), 0)
	return s
}

// Watts are the plant's true powers now.
func (s *SunSpec) Watts() Watts {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.state.Watts
}

// Level is the state of charge, %.
func (s *SunSpec) Level() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.state.level / s.kind.Energy * 100
}

// Owner copies every register that may be written, but for the controller's
// heartbeat, which counts.
func (s *SunSpec) Owner() map[Register]uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	out := map[Register]uint16{}
	for a := range s.rw {
		if at, ok := s.at[802]; !ok || a != at+19 {
			out[Register{1, a}] = s.get(1, a)
		}
	}
	return out
}

// Break puts the device in fault, or mends it.
func (s *SunSpec) Break(fault bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	s.fault = fault
}

// Order writes a point as its owner or another controller would.
func (s *SunSpec) Order(model uint16, off int, words ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	s.put(1, s.at[model]+uint16(off), words...)
	s.touched(model, off, len(words))
}

// At is the register of a point.
func (s *SunSpec) At(model uint16, off int) Register { return Register{1, s.at[model] + uint16(off)} }

// Point reads a register of a model.
func (s *SunSpec) Point(model uint16, off int) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.get(1, s.at[model]+uint16(off))
}

// judge refuses what strict devices refuse: a write that touches a register
// that is not to be written.
func (s *SunSpec) judge(r modbus.Request) byte {
	for i := range r.Values {
		if !s.rw[r.Addr+uint16(i)] {
			return modbus.IllegalAddress
		}
	}
	return 0
}

// took finds the model a write belongs to.
func (s *SunSpec) took(r modbus.Request) {
	for model, at := range s.at {
		if n := s.get(1, at+1); r.Addr >= at && r.Addr < at+2+n {
			s.touched(model, int(r.Addr-at), len(r.Values))
		}
	}
}

// touched starts the timers of the controls that were written, and lets the
// device act on them after its delay.
func (s *SunSpec) touched(model uint16, off, n int) {
	has := func(from, to int) bool { return off <= to && off+n > from }
	now := s.now()
	switch {
	case model == 123 && has(5, 9):
		s.state.since["cap"] = now
	case model == 124 && (has(5, 5) || has(12, 17)):
		s.state.since["rates"] = now
	case model == 704:
		if has(14, 19) {
			s.state.since["max"] = now
		}
		if has(22, 32) {
			s.state.since["set"] = now
		}
	}
	s.state.command = append(s.state.command, s.asked(now.Add(s.kind.Delay)))
}
