package makers

import (
	"context"
	"math"
	"time"

	"flexd/drivers/modbus"
)

// Offsets in the models that a Fronius controls by, from the model's id.
const (
	froConn   = 4 // model 123
	froLimit  = 5
	froRevert = 7
	froEnable = 9

	froWChaMax = 2 // model 124
	froMod     = 5
	froReserve = 7
	froState   = 8
	froStatus  = 11
	froOut     = 12
	froIn      = 13
	froTimer   = 15
	froGrid    = 17

	froUnit, froMeter = 1, 200
	froAbsent         = 0xFFFF
)

// FroniusOptions describe a plant; zero means the usual.
type FroniusOptions struct {
	VertoPlus         bool    // three trackers, model 160 with five modules
	Floats            bool    // the float map: 113 for 103, 213 for 203 at the meter
	Rating            float64 // W of AC; 10000, Verto Plus 25000
	Charge, Discharge float64 // W of the battery; WChaMax is the larger; 10000 each
	Capacity          float64 // Wh; 11000
	SoC               float64 // %; 50
	Ramp              float64 // W/s; 0: at once
	Sun, House        float64 // W

	// As the owner left it.
	Reserve     float64 // MinRsvPct in %; 5
	NoReserve   bool    // MinRsvPct reads 0xFFFF and can't be set
	Revert      uint16  // InOutWRte_RvrtTms in s; 0: never
	GridCharge  bool    // ChaGriSet
	ExportLimit float64 // W, dynamic power reduction at the meter; 0: none

	NoControl bool    // "Inverter control via Modbus" is off: every write is refused
	Toggle    bool    // a new limit needs Ena to go 1, 0, 1
	Trickle   float64 // W taken from the grid without ChaGriSet; 0
	Strict    bool    // a point that is not writable is refused, not passed over
}

// Fronius is a GEN24 or Verto Plus with a battery and its meter at unit 200.
//
// Sources: the SunSpec definitions of the models; Fronius operating
// instructions 42,0410,2649 (functions 3, 6 and 16 only, exceptions 1-4 and
// 11, a limit is changed or its time renewed by writing Ena once more, a write to
// what is not writable is passed over in silence, as star.ke.st's library quotes);
// callifo/fronius_modbus "froniusmodbusclient" (addresses, scale factors of
// 124, points of 124 that are not supported) and its PR 58 (Ena 1, 0, 1);
// ffunes/Omnibattery "fronius_gen24" (model 160 and 124 keep integers in the
// float map, both rates together are a window of battery power);
// longzheng/open-dynamic-export issue 68 (model 1 of length 65); evcc
// templates fronius-gen24 and fronius-vertoplus (charge and discharge modules,
// signs, ChaGriSet) and issue 33037 (a time of 3600 s found on a device ends a
// hold); home-assistant.io PR 47619 (control must be on, Ena 0 hands over to
// the next limit of a list); redpomodoro/fronius_modbus issue 2 (500 W).
type Fronius struct {
	rig
	o     FroniusOptions
	at    map[uint16]uint16 // model to address
	meter map[uint16]uint16
	kept  map[uint16]uint16 // not writable, put back after a write
	limit float64           // % of WMax that rules; 100: none
	ends  time.Time         // of the limit
	hold  time.Time         // end of the battery's window
	off   time.Time         // end of a disconnection
	ena   uint16            // as before the write
}

// NewFronius is an inverter as its owner left it.
func NewFronius(now func() time.Time, o FroniusOptions) *Fronius {
	rating := 10000.0
	if o.VertoPlus {
		rating = 25000
	}
	f := &Fronius{o: o, limit: 100, kept: map[uint16]uint16{}}
	f.rig = rig{bank: newBank(now), plant: plant{
		rating: or(o.Rating, rating), charge: or(o.Charge, 10000), discharge: or(o.Discharge, 10000),
		capacity: or(o.Capacity, 11000), ceil: 100, soc: or(o.SoC, 50), ramp: o.Ramp, sun: o.Sun, house: o.House,
	}}
	f.input = map[Register]uint16{} // function 4 is not served
	f.at = f.chain(froUnit, 40000, f.models()...)
	meter := model{id: 203, length: 105, points: map[uint16][]uint16{22: {sf(f.scale())}}}
	if o.Floats {
		meter = model{id: 213, length: 124}
	}
	f.meter = f.chain(froMeter, 40000, f.nameplate("Smart Meter TS 65A-3", froMeter), meter)
	f.write, f.wrote = f.judge, f.act
	f.step = func(now time.Time, dt time.Duration) {
		sliced(now, dt, f.move)
		f.show()
	}
	f.advance()
	return f
}

// nameplate is model 1 with the 65 registers that Fronius gives it.
func (f *Fronius) nameplate(name string, unit byte) model {
	m := common("Fronius", name, "1.38.6-1", "34119102", unit)
	m.length = 65
	delete(m.points, 67)
	return m
}

// trackers are the modules of model 160 that are PV.
func (f *Fronius) trackers() int {
	if f.o.VertoPlus {
		return 3
	}
	return 2
}

// scale is the factor of 16-bit powers.
func (f *Fronius) scale() int16 {
	if f.rating > 30000 {
		return 1
	}
	return 0
}

func (f *Fronius) models() []model {
	name := "Symo GEN24 10.0 Plus"
	if f.o.VertoPlus {
		name = "Verto Plus 25.0"
	}
	inverter := model{id: 103, length: 50, points: map[uint16][]uint16{
		6: {sf(-2)}, 13: {sf(-1)}, 15: {sf(f.scale())}, 16: {5000}, 17: {sf(-2)},
		19: {sf(f.scale())}, 26: {0}, 32: {sf(f.scale())},
	}}
	if f.o.Floats {
		inverter = model{id: 113, length: 60, points: map[uint16][]uint16{24: pair(float(50), false)}}
	}
	return []model{
		f.nameplate(name, froUnit), inverter,
		{id: 120, length: 26, points: map[uint16][]uint16{
			2: {82}, 3: {uint16(f.rating)}, 5: {uint16(f.rating)}, 19: {uint16(f.capacity)},
			21: {froAbsent, 0x8000}, 23: {uint16(f.charge)}, 25: {uint16(f.discharge)},
		}},
		{id: 121, length: 30, points: map[uint16][]uint16{2: {uint16(f.rating)}, 3: {230}, 7: {uint16(f.rating)}}},
		{id: 122, length: 44, points: map[uint16][]uint16{2: {7, 7, 1}, 32: {0x8000}}},
		{id: 123, length: 24, points: map[uint16][]uint16{froConn: {1}, froLimit: {10000}, 10: {10000},
			23: {sf(-2), sf(-4), sf(-2)}}},
		f.modules(), f.storage(),
	}
}

// modules are the DC inputs, told apart by their text.
func (f *Fronius) modules() model {
	ids := []string{"MPPT 1", "MPPT 2", "StCha 3", "StDisCha 4"}
	if f.o.VertoPlus {
		ids = []string{"MPPT 1", "MPPT 2", "MPPT 3", "StCha 4", "StDisCha 5"}
	}
	m := model{id: 160, length: uint16(8 + 20*len(ids)), points: map[uint16][]uint16{
		2: {sf(-2), sf(-2), 0, 0}, 8: {uint16(len(ids))},
	}}
	for i, id := range ids {
		at := uint16(10 + 20*i)
		m.points[at] = []uint16{uint16(i + 1)}
		m.points[at+1] = text(id, 8)
		m.points[at+16] = []uint16{0x8000, 4}
	}
	return m
}

func (f *Fronius) storage() model {
	reserve := uint16(or(f.o.Reserve, 5) * 100)
	if f.o.NoReserve {
		reserve = froAbsent
	}
	grid := uint16(0)
	if f.o.GridCharge {
		grid = 1
	}
	most := uint16(max(f.charge, f.discharge))
	return model{id: 124, length: 24, points: map[uint16][]uint16{
		froWChaMax: {most, uint16(f.charge), uint16(f.discharge), 0, froAbsent, reserve},
		9:          {froAbsent, froAbsent},
		froOut:     {10000, 10000, froAbsent, f.o.Revert, froAbsent, grid},
		18:         {0, 0, 0x8000, sf(-2), sf(-2), 0x8000, 0x8000, sf(-2)},
	}}
}

// Do answers for the inverter and its meter, and knows nobody else.
func (f *Fronius) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if ctx.Err() == nil && r.Unit != froUnit && r.Unit != froMeter {
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.GatewayTargetSilent}
	}
	return f.rig.Do(ctx, r)
}

func (f *Fronius) of(id, off uint16) uint16       { return f.get(froUnit, f.at[id]+off) }
func (f *Fronius) set16(id, off uint16, v uint16) { f.put(froUnit, f.at[id]+off, v) }

// offset tells the model and the offset of an address.
func (f *Fronius) offset(addr uint16) (id, off uint16) {
	for m, at := range f.at {
		if addr >= at && addr < at+2+f.get(froUnit, at+1) {
			return m, addr - at
		}
	}
	return 0, 0
}

// takes tells whether a point can be written, and whether the value is in its range.
func (f *Fronius) takes(id, off, v uint16) (writable, allowed bool) {
	percent := int16(v) >= -10000 && int16(v) <= 10000
	switch {
	case id == 123 && (off == 3 || off == froRevert):
		return true, true
	case id == 123 && (off == froConn || off == froEnable):
		return true, v <= 1
	case id == 123 && off == froLimit:
		return true, v <= 10000
	case id == 124 && off == froMod:
		return true, v <= 3
	case id == 124 && off == froReserve:
		return !f.o.NoReserve, v <= 10000
	case id == 124 && (off == froOut || off == froIn):
		return true, percent
	case id == 124 && off == froTimer:
		return true, true
	case id == 124 && off == froGrid:
		return true, v <= 1
	}
	return false, true
}

func (f *Fronius) judge(r modbus.Request) byte {
	if f.o.NoControl {
		return modbus.IllegalFunction
	}
	clear(f.kept)
	for i, v := range r.Values {
		addr := r.Addr + uint16(i)
		id, off := f.offset(addr)
		writable, allowed := f.takes(id, off, v)
		if !writable || r.Unit != froUnit {
			if f.o.Strict {
				return modbus.IllegalAddress
			}
			f.kept[addr] = f.get(r.Unit, addr)
		} else if !allowed {
			return modbus.IllegalValue
		}
	}
	f.ena = f.of(123, froEnable)
	return 0
}

// act arms what was written.
func (f *Fronius) act(r modbus.Request) {
	for addr, v := range f.kept {
		f.put(r.Unit, addr, v)
	}
	for i := range r.Values {
		id, off := f.offset(r.Addr + uint16(i))
		switch {
		case id == 123 && off == froEnable:
			f.enable()
		case id == 123 && off == froConn:
			f.off = after(f.last, f.of(123, 3))
		case id == 124 && (off == froMod || off == froOut || off == froIn || off == froTimer):
			f.hold = after(f.last, f.of(124, froTimer))
		}
	}
}

// enable makes the stored limit rule, or lets go of it.
func (f *Fronius) enable() {
	if f.of(123, froEnable) == 0 {
		f.limit, f.ends = 100, time.Time{}
		return
	}
	if !f.o.Toggle || f.ena == 0 {
		f.limit = float64(f.of(123, froLimit)) / 100
	}
	f.ends = after(f.last, f.of(123, froRevert))
}

// after is an instant some seconds on; none for 0, which means never.
func after(now time.Time, seconds uint16) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// move runs the device for at most a second.
func (f *Fronius) move(now time.Time, dt time.Duration) {
	if due(f.ends, now) {
		f.set16(123, froEnable, 0)
		f.limit, f.ends = 100, time.Time{}
	}
	if due(f.hold, now) {
		f.set16(124, froMod, 0)
		f.set16(124, froOut, 10000)
		f.set16(124, froIn, 10000)
		f.hold = time.Time{}
	}
	if due(f.off, now) {
		f.set16(123, froConn, 1)
		f.off = time.Time{}
	}
	f.floor = 0
	if v := f.of(124, froReserve); v != froAbsent {
		f.floor = float64(v) / 100
	}
	b := f.open()
	b.out = f.rating * f.limit / 100
	if f.o.ExportLimit > 0 {
		b.out = min(b.out, f.house+f.o.ExportLimit)
	}
	if f.of(124, froGrid) == 0 {
		b.charge = min(b.charge, f.sun+f.o.Trickle)
	}
	goal := f.window(f.surplus())
	if f.of(123, froConn) == 0 {
		goal, b.pv = 0, 0
	}
	f.run(goal, b, dt)
}

// window keeps a battery power between the two rates that are in force.
func (f *Fronius) window(goal float64) float64 {
	mod, full := f.of(124, froMod), float64(f.of(124, froWChaMax))
	rate := func(off uint16) float64 { return full * float64(int16(f.of(124, off))) / 10000 }
	if mod&1 != 0 {
		goal = max(goal, -rate(froIn))
	}
	if mod&2 != 0 {
		goal = min(goal, rate(froOut))
	}
	return goal
}

// show refreshes what is read.
func (f *Fronius) show() {
	state := uint16(4)
	if f.limit < 100 {
		state = 5
	}
	scale := math.Pow10(int(f.scale()))
	if at := f.at[103]; at != 0 {
		f.put(froUnit, at+14, s16(math.Round(f.ac/scale)))
		f.put(froUnit, at+18, s16(math.Round(math.Abs(f.ac)/scale)))
		f.put(froUnit, at+31, s16(math.Round((f.pv+f.battery)/scale)))
		f.put(froUnit, at+38, state)
	} else {
		at = f.at[113]
		f.put(froUnit, at+22, pair(float(f.ac), false)...)
		f.put(froUnit, at+26, pair(float(math.Abs(f.ac)), false)...)
		f.put(froUnit, at+38, pair(float(f.pv+f.battery), false)...)
		f.put(froUnit, at+48, state)
	}
	var active uint16
	if f.limit < 100 {
		active = 1
	}
	f.set16(122, 36, active)
	f.inputs()
	f.set16(124, froState, uint16(math.Round(f.soc*100)))
	f.set16(124, froStatus, f.status())
	if at := f.meter[203]; at != 0 {
		f.put(froMeter, at+18, s16(math.Round((f.house-f.ac)/scale)))
	} else {
		f.put(froMeter, f.meter[213]+28, pair(float(f.house-f.ac), false)...)
	}
}

// inputs tells the power of each module; none is ever negative.
func (f *Fronius) inputs() {
	n := f.trackers()
	for i := range n + 2 {
		w := f.pv / float64(n)
		switch i {
		case n:
			w = max(-f.battery, 0)
		case n + 1:
			w = max(f.battery, 0)
		}
		f.set16(160, uint16(10+20*i+11), uint16(math.Round(w)))
	}
}

func (f *Fronius) status() uint16 {
	switch {
	case f.battery >= 1:
		return 3
	case f.battery <= -1:
		return 4
	case f.soc <= f.floor:
		return 2
	case f.soc >= f.ceil:
		return 5
	}
	return 6
}

// Owner is the writable part of models 123 and 124.
func (f *Fronius) Owner() map[Register]uint16 {
	c, s := f.at[123], f.at[124]
	return f.copied(froUnit, [2]uint16{c + 3, c + froEnable}, [2]uint16{s + froMod, s + froMod},
		[2]uint16{s + froReserve, s + froReserve}, [2]uint16{s + froOut, s + froGrid})
}

// Restart is a loss of power: what was commanded is gone, times stay.
func (f *Fronius) Restart() {
	f.set(func() {
		f.set16(123, froEnable, 0)
		f.set16(123, froLimit, 10000)
		f.set16(123, froConn, 1)
		f.set16(124, froMod, 0)
		f.set16(124, froOut, 10000)
		f.set16(124, froIn, 10000)
		f.limit, f.ends, f.hold, f.off = 100, time.Time{}, time.Time{}, time.Time{}
		f.battery = 0
	})
}
