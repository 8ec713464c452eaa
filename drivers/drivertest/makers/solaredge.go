package makers

import (
	"context"
	"math"
	"time"

	"flexd/drivers/modbus"
)

// Registers of a SolarEdge beside its SunSpec chain. 32-bit values come low
// word first.
const (
	edgeUnit      = 1
	edgeStatic    = 0xF001 // u16 %, stored
	edgeCommit    = 0xF100 // reads 0 again
	edgeAdvanced  = 0xF142 // s32
	edgeEnable    = 0xF300 // u16
	edgeRating    = 0xF304 // f32 W
	edgeTimeout   = 0xF310 // u32 s
	edgeFallback  = 0xF312 // f32 %
	edgeRampUp    = 0xF318 // f32 %/min, -1: none
	edgeRampDown  = 0xF31A // f32 %/min, -1: none
	edgeLimit     = 0xF322 // f32 %
	edgeInverter  = 40069  // model 103
	edgeMeter     = 40188  // model 203, of the meter that has its own model 1
	edgeNoFloat   = 0xFF7FFFFF
	edgeFullLimit = 100
)

// SolarEdgeOptions describe a plant; zero means the usual.
type SolarEdgeOptions struct {
	Rating     float64 // W of AC; 10000
	Sun, House float64 // W

	// Dynamic power control as the owner left it.
	Enabled          bool
	Timeout          uint32  // s; 60
	Fallback         float64 // %; 100
	RampUp, RampDown float64 // %/min; 5
	Limit            float64 // %; 100
	Static           uint16  // 0xF001 in %; 100

	NeedsAdvanced bool // nothing is followed unless 0xF142 is 1
	OldFirmware   bool // ramps can't be switched off: -1 is passed over

	// A StorEdge.
	Batteries         int     // 0 to 3
	Charge, Discharge float64 // W of all batteries; 5000 each
	Capacity          float64 // Wh of all; 9700
	SoC               float64 // %; 50
	Ramp              float64 // W/s of the batteries; 0: at once
	Blank             bool    // absent batteries read as blank, not as exception 2

	// Storage control as the owner left it.
	Mode         uint16  // 0xE004; 1 self-consumption
	Policy       uint16  // 0xE005
	PolicyLimit  float64 // 0xE006, kWh or %
	Reserve      float64 // 0xE008 in %
	DefaultMode  uint16  // 0xE00A; 0, as one owner found it
	CommandTime  uint32  // 0xE00B in s; 3600
	CommandMode  uint16  // 0xE00D; 0
	ChargeCap    float64 // 0xE00E in W; the inverter's rating
	DischargeCap float64 // 0xE010 in W; the inverter's rating
	Program      float64 // W of battery power in the owner's time-of-use program
}

// SolarEdge is a PV inverter with dynamic power control, and a StorEdge where
// it has batteries.
//
// Sources: victronenergy/dbus-fronius "solaredge_limiter.cpp" (the block at
// 0xF300, defaults and word order) and its issue 6 (33 kW and 10 kW, ramps of
// old firmware, -1); victronenergy/venus issue 1643 (what fall-back is for);
// binsentsu/home-assistant-solaredge-modbus issue 232 (0xF322 is not saved and
// has to be written again); evcc PR 31982 (0xF142) and template
// solaredge-hybrid (signs, the mirror at 0xF500, the bit field 0xE000);
// WillCodeForCats/solaredge-modbus-multi "hub.py" and "const.py" (layouts of
// the blocks, third battery at 0xE400, policies, modes).
type SolarEdge struct {
	rig
	o       SolarEdgeOptions
	ruling  float64   // % that the inverter keeps to now
	ends    time.Time // of the dynamic command
	command time.Time // end of the storage command; zero: none
	taken   float64   // Wh that the batteries took from the grid
	made    float64   // Wh harvested
	before  map[uint16]uint16
}

// NewSolarEdge is an inverter as its owner left it.
func NewSolarEdge(now func() time.Time, o SolarEdgeOptions) *SolarEdge {
	e := &SolarEdge{o: o, ruling: edgeFullLimit, before: map[uint16]uint16{}}
	e.rig = rig{bank: newBank(now), plant: plant{rating: or(o.Rating, 10000), ceil: 100,
		soc: or(o.SoC, 50), ramp: o.Ramp, sun: o.Sun, house: o.House}}
	if o.Batteries > 0 {
		e.plant.charge, e.plant.discharge = or(o.Charge, 5000), or(o.Discharge, 5000)
		e.capacity = or(o.Capacity, 9700)
	}
	e.sunspec()
	e.dynamic()
	e.storage()
	e.write, e.wrote = e.judge, e.act
	e.step = func(now time.Time, dt time.Duration) {
		sliced(now, dt, e.move)
		e.show()
	}
	if e.o.Enabled {
		e.ruling = or(o.Limit, edgeFullLimit)
		e.ends = e.deadline(edgeTimeout)
	}
	e.advance()
	return e
}

// sunspec lays out the chain with the meter's own model 1 in the middle.
func (e *SolarEdge) sunspec() {
	inverter := common("SolarEdge", "SE10K-RWS48BNN4", "0004.0020.0036", "7E1A2B3C", edgeUnit)
	meter := common("SolarEdge", "SE-MTR-3Y-400V-A", "75", "606A7B8C", 2)
	inverter.length, meter.length = 65, 65
	delete(inverter.points, 67)
	delete(meter.points, 67)
	e.chain(edgeUnit, 40000, inverter,
		model{id: 103, length: 50, points: map[uint16][]uint16{16: {5000}, 17: {sf(-2)}}},
		meter, model{id: 203, length: 105})
}

func (e *SolarEdge) dynamic() {
	e.put(edgeUnit, 0xF000, 0, or(e.o.Static, edgeFullLimit), 0, 0x3F80)
	e.put(edgeUnit, edgeCommit, make([]uint16, 170)...)
	e.put(edgeUnit, edgeEnable, make([]uint16, 0x26)...)
	if e.o.Enabled {
		e.put(edgeUnit, edgeEnable, 1)
	}
	e.float(edgeRating, e.rating)
	e.put(edgeUnit, edgeTimeout, pair(or(e.o.Timeout, 60), true)...)
	e.float(edgeFallback, or(e.o.Fallback, edgeFullLimit))
	e.float(edgeRampUp, or(e.o.RampUp, 5))
	e.float(edgeRampDown, or(e.o.RampDown, 5))
	e.float(edgeLimit, or(e.o.Limit, edgeFullLimit))
}

func (e *SolarEdge) float(addr uint16, v float64) { e.put(edgeUnit, addr, pair(float(v), true)...) }
func (e *SolarEdge) f(addr uint16) float64        { return e.f32(edgeUnit, addr, true) }
func (e *SolarEdge) reg(addr uint16) uint16       { return e.get(edgeUnit, addr) }

// deadline is when a time that is a register ends, from now; 0 never ends.
func (e *SolarEdge) deadline(addr uint16) time.Time {
	seconds := e.u32(edgeUnit, addr, true)
	if seconds == 0 {
		return time.Time{}
	}
	return e.last.Add(time.Duration(seconds) * time.Second)
}

// Do answers for unit 1 alone.
func (e *SolarEdge) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if ctx.Err() == nil && r.Unit != edgeUnit {
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.GatewayTargetSilent}
	}
	return e.rig.Do(ctx, r)
}

// edgePoints are the points that can be written, with their lengths.
var edgePoints = map[uint16]int{
	edgeStatic: 1, edgeCommit: 1, edgeAdvanced: 2, edgeEnable: 1, edgeTimeout: 2, edgeFallback: 2,
	edgeRampUp: 2, edgeRampDown: 2, edgeLimit: 2,
	siteMode: 1, siteKind: 1, siteLimit: 2, storeMode: 1, storePolicy: 1, storePolicyLimit: 2, storeReserve: 2,
	storeDefault: 1, storeTimeout: 2, storeCommand: 1, storeCharge: 2, storeDischarge: 2,
}

func (e *SolarEdge) judge(r modbus.Request) byte {
	if !whole(r, edgePoints) {
		return modbus.IllegalAddress
	}
	clear(e.before)
	for at := 0; at < len(r.Values); {
		addr := r.Addr + uint16(at)
		n := edgePoints[addr]
		if !edgeAllows(addr, r.Values[at:at+n]) {
			return modbus.IllegalValue
		}
		if e.o.OldFirmware && (addr == edgeRampUp || addr == edgeRampDown) && edgeFloat(r.Values[at:]) < 0 {
			e.before[addr], e.before[addr+1] = e.reg(addr), e.reg(addr+1)
		}
		at += n
	}
	return 0
}

func edgeFloat(w []uint16) float64 {
	return float64(math.Float32frombits(uint32(w[1])<<16 | uint32(w[0])))
}

// edgeAllows tells whether a value is in its point's range.
func edgeAllows(addr uint16, w []uint16) bool {
	switch addr {
	case edgeStatic:
		return w[0] <= 100
	case edgeEnable, edgeCommit:
		return w[0] <= 1
	case edgeFallback, edgeLimit, storeReserve:
		v := edgeFloat(w)
		return v >= 0 && v <= 100
	case edgeRampUp, edgeRampDown:
		v := edgeFloat(w)
		return v == -1 || v >= 0 && v <= 100
	case siteLimit, storePolicyLimit, storeCharge, storeDischarge:
		return edgeFloat(w) >= 0
	case storeMode:
		return w[0] <= 5
	case storePolicy:
		return w[0] <= 3
	case storeDefault, storeCommand:
		return w[0] <= 5 || w[0] == 7
	}
	return true
}

// act starts the times that a write starts.
func (e *SolarEdge) act(r modbus.Request) {
	for addr, v := range e.before {
		e.put(edgeUnit, addr, v)
	}
	for i := range r.Values {
		switch r.Addr + uint16(i) {
		case edgeCommit:
			e.put(edgeUnit, edgeCommit, 0)
		case edgeEnable, edgeLimit:
			e.ends = e.deadline(edgeTimeout)
		case storeCommand:
			e.commanded()
		}
	}
}

// goalLimit is the % that dynamic control is heading for.
func (e *SolarEdge) goalLimit(now time.Time) float64 {
	if due(e.ends, now) {
		return e.f(edgeFallback)
	}
	return e.f(edgeLimit)
}

// move runs the device for at most a second.
func (e *SolarEdge) move(now time.Time, dt time.Duration) {
	follows := !e.o.NeedsAdvanced || e.reg(edgeAdvanced) == 1
	if e.reg(edgeEnable) == 1 && follows {
		goal := e.goalLimit(now)
		up, down := e.f(edgeRampUp), e.f(edgeRampDown)
		switch rate := up; {
		case goal > e.ruling && up >= 0:
			e.ruling = min(e.ruling+rate*dt.Minutes(), goal)
		case goal < e.ruling && down >= 0:
			e.ruling = max(e.ruling-down*dt.Minutes(), goal)
		default:
			e.ruling = goal
		}
	} else {
		e.ruling = edgeFullLimit
	}
	percent := e.ruling
	if e.reg(edgeAdvanced) == 1 {
		percent = min(percent, float64(e.reg(edgeStatic)))
	}
	b := e.open()
	b.out = e.rating * percent / 100
	if e.o.Batteries > 0 && e.reg(siteMode)&1 != 0 {
		b.out = min(b.out, e.house+e.f(siteLimit))
	}
	e.run(e.store(now, &b), b, dt)
	e.made += e.pv * dt.Hours()
	e.taken += max(-e.battery-e.pv, 0) * dt.Hours()
}

// scaled tells a power with the scale factor that suits it, as this maker's
// inverters change theirs with the power.
func (e *SolarEdge) scaled(addr, factor uint16, w float64) {
	exponent := int16(-1)
	for math.Abs(w)/math.Pow10(int(exponent)) > 32767 {
		exponent++
	}
	e.put(edgeUnit, addr, uint16(int16(math.Round(w/math.Pow10(int(exponent))))))
	e.put(edgeUnit, factor, sf(exponent))
}

// show refreshes what is read.
func (e *SolarEdge) show() {
	state := uint16(4)
	if e.ruling < edgeFullLimit {
		state = 5
	}
	e.scaled(edgeInverter+14, edgeInverter+15, e.ac)
	e.scaled(edgeInverter+18, edgeInverter+19, math.Abs(e.ac))
	e.scaled(edgeInverter+31, edgeInverter+32, e.ac)
	e.put(edgeUnit, edgeInverter+38, state)
	e.scaled(edgeMeter+18, edgeMeter+22, e.ac-e.house)
	e.showStorage()
}

// Limit is the % of its rating that the inverter keeps to now.
func (e *SolarEdge) Limit() (pct float64) {
	e.set(func() { pct = e.ruling })
	return pct
}

// Owner is every setting of power and storage control.
func (e *SolarEdge) Owner() map[Register]uint16 {
	return e.copied(edgeUnit, [2]uint16{siteMode, storeDischarge + 1}, [2]uint16{edgeStatic, edgeStatic},
		[2]uint16{edgeAdvanced, edgeAdvanced + 1}, [2]uint16{edgeEnable, edgeEnable},
		[2]uint16{edgeTimeout, edgeFallback + 1}, [2]uint16{edgeRampUp, edgeRampDown + 1}, [2]uint16{edgeLimit, edgeLimit + 1})
}

// Restart is a loss of power: dynamic values and the remote command with its
// limits and time are gone, settings stay.
func (e *SolarEdge) Restart() {
	e.set(func() {
		e.float(edgeLimit, edgeFullLimit)
		e.ruling, e.ends, e.command, e.battery = edgeFullLimit, e.deadline(edgeTimeout), time.Time{}, 0
		if e.o.Batteries > 0 {
			e.remote(3600, e.reg(storeDefault), e.rating, e.rating)
		}
	})
}
