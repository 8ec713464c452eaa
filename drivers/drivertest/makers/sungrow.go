package makers

import (
	"math"
	"time"

	"flexd/drivers/modbus"
)

// Addresses of the Sungrow SH on the wire; the maker counts one higher.
const (
	shTypeCode   = 4999
	shRated      = 5000 // 0.1 kW
	shDCPower    = 5016 // u32
	shBattery    = 5213 // s32, + discharging
	shMeter      = 5600 // s32, + import
	shConverter  = 5627 // 100 W
	shCurrentNew = 5630 // 0.1 A
	shCapacity   = 5638 // 10 Wh
	shState      = 13000
	shLoad       = 13007 // s32
	shExport     = 13009 // s32
	shVoltage    = 13019
	shCurrentOld = 13020
	shPower      = 13021
	shSoC        = 13022 // 0.1 %
	shHealth     = 13023
	shActive     = 13033 // s32

	shMode      = 13049 // 0 self-consumption, 2 forced, 3 external EMS
	shCommand   = 13050
	shForced    = 13051 // W
	shMaxSoC    = 13057 // 0.1 %
	shMinSoC    = 13058 // 0.1 %
	shLimit     = 13073 // W of export
	shHeartbeat = 13079 // s left
	shLimitOn   = 13086 // 0xAA on, 0x55 off
	shReserve   = 13099 // %
	shMaxCharge = 33046 // 10 W
	shMaxGive   = 33047 // 10 W

	shCharge, shGive, shStop = 0xAA, 0xBB, 0xCC
)

// shGrace is how long external EMS lasts when no heartbeat was ever written.
const shGrace = 20

// SungrowOptions describe a plant; zero means the usual.
type SungrowOptions struct {
	OldFirmware       bool    // as before autumn 2024
	Unit              byte    // 1
	Rating            float64 // W of AC; 10000
	Charge, Discharge float64 // W of the battery's converter; 10600 each
	Capacity          float64 // Wh; 12800
	SoC               float64 // %; 50
	Ramp              float64 // W/s; 0: at once
	Sun, House        float64 // W

	// As the owner left it.
	MinSoC, MaxSoC float64 // %; 5 and 100
	ExportLimit    float64 // W; 0: none
	Mode           uint16  // 13049
	Command        uint16  // 13050; 0xCC
	Forced         uint16  // 13051
	MaxCharge      uint16  // 33046 in 10 W; the converter's
	MaxDischarge   uint16  // 33047 in 10 W; the converter's

	// NeedsStop makes it pass over a change between charging and discharging
	// without 0xCC in between, as one owner suspects.
	NeedsStop bool
	// Pulses makes charging under external EMS run one second of four, as one
	// owner's SH10RT did.
	Pulses bool
}

// Sungrow is a hybrid inverter of the SH series with its battery.
//
// Sources: mkaiser/Sungrow-SHx-Inverter-Modbus-Home-Assistant modbus_sungrow.yaml
// (addresses, word order, signs, the bits of 13000) and its issues 377 (13079
// counts down to 0, then the mode is 0), 406, 474, 721; evcc template
// sungrow-hybrid and its issues 16704, 18270 (13000 stays 0 on new firmware),
// 26337 (exception 4 to a power above the device's), PR 19623 (33047 is at
// least 1); openWB sungrow_sh/bat.py (5213 and 5630 are refused by old
// firmware; 0xCC in mode 2 holds the battery still); mvandersteen/SungrowInverter
// issue 22 (13021 signed, + discharging); bohdan-s/SunGather issue 153
// (external EMS, W in 13051, pulsing); biemond/solaredge.modbus issue 129 (stop
// between directions); evcc PR 33575 (command 0xCC after the
// heartbeat has run out).
type Sungrow struct {
	rig
	o      SungrowOptions
	left   float64       // s of heartbeat
	acting uint16        // the command that is followed
	pulsed time.Duration // since the last command
}

// NewSungrow is an inverter as its owner left it.
func NewSungrow(now func() time.Time, o SungrowOptions) *Sungrow {
	o.Unit, o.Command = or(o.Unit, 1), or(o.Command, shStop)
	s := &Sungrow{o: o, acting: o.Command}
	s.rig = rig{bank: newBank(now), plant: plant{
		rating: or(o.Rating, 10000), charge: or(o.Charge, 10600), discharge: or(o.Discharge, 10600),
		capacity: or(o.Capacity, 12800), soc: or(o.SoC, 50), ramp: o.Ramp, sun: o.Sun, house: o.House,
	}}
	s.input = map[Register]uint16{}
	s.fill()
	s.settings()
	s.write, s.wrote = s.judge, s.act
	s.step = func(now time.Time, dt time.Duration) {
		sliced(now, dt, s.move)
		s.show()
	}
	s.advance()
	return s
}

func (s *Sungrow) fill() {
	blocks := [][2]uint16{{4949, 5040}, {5600, 5626}, {5627, 5639}, {12999, 13046}, {13106, 13130}}
	if !s.o.OldFirmware {
		blocks = append(blocks, [2]uint16{5213, 5221})
	}
	for _, b := range blocks {
		for a := b[0]; a <= b[1]; a++ {
			s.tell(a, 0)
		}
	}
	if s.o.OldFirmware {
		delete(s.input, Register{s.o.Unit, shCurrentNew})
	}
	s.tell(shTypeCode, 0x0E03) // SH10RT
	for i, w := range text("A2250600001", 10) {
		s.tell(4989+uint16(i), w)
	}
	s.tell(shRated, s16(s.rating/100))
	s.tell(shConverter, s16(s.converter()/100))
	s.tell(shCapacity, s16(s.capacity/10))
	s.tell(shHealth, 1000)
	s.tell(shVoltage, 4000)
}

// converter is the most the battery's converter takes or gives.
func (s *Sungrow) converter() float64 { return max(s.charge, s.discharge) }

func (s *Sungrow) settings() {
	for a := uint16(shMode); a <= shReserve; a++ {
		s.put(s.o.Unit, a, 0)
	}
	limit, on := s.rating, uint16(0x55)
	if s.o.ExportLimit > 0 {
		limit, on = s.o.ExportLimit, 0xAA
	}
	for a, v := range map[uint16]uint16{
		shMode: s.o.Mode, shCommand: s.o.Command, shForced: s.o.Forced,
		shMaxSoC: s16(or(s.o.MaxSoC, 100) * 10), shMinSoC: s16(or(s.o.MinSoC, 5) * 10),
		shLimit: uint16(limit), shLimitOn: on,
		shMaxCharge: or(s.o.MaxCharge, uint16(s.charge/10)), shMaxGive: or(s.o.MaxDischarge, uint16(s.discharge/10)),
		33148: 2, 33149: 5,
	} {
		s.put(s.o.Unit, a, v)
	}
}

func (s *Sungrow) tell(addr, v uint16) { s.input[Register{s.o.Unit, addr}] = v }

func (s *Sungrow) tell32(addr uint16, v float64) {
	w := pair(uint32(int32(math.Round(v))), true)
	s.tell(addr, w[0])
	s.tell(addr+1, w[1])
}

func (s *Sungrow) reg(addr uint16) uint16 { return s.get(s.o.Unit, addr) }

// judge refuses what the device refuses.
func (s *Sungrow) judge(r modbus.Request) byte {
	for i, v := range r.Values {
		switch a := r.Addr + uint16(i); a {
		case shMode:
			if v > 4 || v == 1 {
				return modbus.IllegalValue
			}
		case shCommand:
			if v != shCharge && v != shGive && v != shStop {
				return modbus.IllegalValue
			}
		case shForced:
			if float64(v) > s.converter() {
				return modbus.DeviceFailure
			}
		case shMaxCharge, shMaxGive:
			if v == 0 || 10*float64(v) > s.converter() {
				return modbus.DeviceFailure
			}
		case shLimitOn:
			if v != 0xAA && v != 0x55 {
				return modbus.IllegalValue
			}
		case shMaxSoC, shMinSoC:
			if v > 1000 {
				return modbus.IllegalValue
			}
		case shReserve:
			if v > 100 {
				return modbus.IllegalValue
			}
		}
	}
	return 0
}

// act starts the clock of external EMS.
func (s *Sungrow) act(r modbus.Request) {
	for i, v := range r.Values {
		switch r.Addr + uint16(i) {
		case shHeartbeat:
			s.left = float64(v)
		case shMode:
			if v == 3 && s.left <= 0 {
				s.left = shGrace
			}
		case shCommand:
			s.pulsed = 0
			s.follow()
		}
	}
	s.show()
}

// move runs the device for at most a second.
func (s *Sungrow) move(_ time.Time, dt time.Duration) {
	s.left = max(s.left-dt.Seconds(), 0)
	if s.reg(shMode) == 3 && s.left <= 0 {
		s.put(s.o.Unit, shMode, 0)
		s.put(s.o.Unit, shCommand, shStop)
	}
	s.follow()
	s.floor, s.ceil = float64(s.reg(shMinSoC))/10, float64(s.reg(shMaxSoC))/10
	b := s.open()
	b.charge, b.discharge = 10*float64(s.reg(shMaxCharge)), 10*float64(s.reg(shMaxGive))
	if s.reg(shLimitOn) == 0xAA {
		b.out = s.house + float64(s.reg(shLimit))
	}
	s.run(s.goal(dt), b, dt)
}

// follow takes up the command that is written.
func (s *Sungrow) follow() {
	command := s.reg(shCommand)
	if !s.o.NeedsStop || command == shStop || s.acting == shStop {
		s.acting = command
	}
}

// goal is the battery's power as the mode wants it.
func (s *Sungrow) goal(dt time.Duration) float64 {
	mode, w := s.reg(shMode), float64(s.reg(shForced))
	if mode != 2 && mode != 3 {
		return s.surplus()
	}
	switch s.acting {
	case shCharge:
		s.pulsed += dt
		if s.o.Pulses && mode == 3 && s.pulsed%(4*time.Second) >= time.Second {
			return 0
		}
		return -w
	case shGive:
		return w
	}
	return 0
}

// show refreshes what is read.
func (s *Sungrow) show() {
	grid := s.ac - s.house
	s.put(s.o.Unit, shHeartbeat, uint16(math.Ceil(s.left)))
	s.tell32(shDCPower, s.pv)
	s.tell32(shMeter, -grid)
	s.tell32(shLoad, s.house)
	s.tell32(shExport, grid)
	s.tell32(shActive, s.ac)
	s.tell(shSoC, s16(s.soc*10))
	current := s.battery / 400 * 10 // 0.1 A at 400 V
	if s.o.OldFirmware {
		s.tell(shPower, s16(math.Abs(s.battery)))
		s.tell(shCurrentOld, s16(math.Abs(current)))
		s.tell(shState, s.bits())
		return
	}
	s.tell(shPower, s16(s.battery))
	s.tell(shCurrentOld, s16(current))
	s.tell(shCurrentNew, s16(current))
	s.tell32(shBattery, s.battery)
}

// bits are the power flow of 13000.
func (s *Sungrow) bits() uint16 {
	var bits uint16
	set := func(is bool, bit uint16) {
		if is {
			bits |= bit
		}
	}
	set(s.pv >= 1, 1)
	set(s.battery <= -1, 2)
	set(s.battery >= 1, 4)
	set(s.house >= 1, 8)
	set((s.ac-s.house) >= 1, 16)
	set((s.ac-s.house) <= -1, 32)
	return bits
}

// Owner is every setting, but for the heartbeat, which is the device's own count.
func (s *Sungrow) Owner() map[Register]uint16 {
	runs := [][2]uint16{{shMode, shForced}, {shMaxSoC, shMinSoC}, {shLimit, shLimit},
		{shLimitOn, shLimitOn}, {shReserve, shReserve}, {shMaxCharge, shMaxGive}}
	return s.copied(s.o.Unit, runs...)
}

// Restart is a loss of power: settings stay, the heartbeat does not, and so
// external EMS is over.
func (s *Sungrow) Restart() { s.set(func() { s.left, s.battery = 0, 0 }) }
