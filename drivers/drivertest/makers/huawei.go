package makers

import (
	"context"
	"fmt"
	"math"
	"time"

	"flexd/drivers/modbus"
)

// Registers of a SUN2000 with LUNA2000; 32-bit values come high word first.
const (
	sunRated     = 30073 // u32 W
	sunMost      = 30075 // u32 W
	sunDC        = 32064 // s32 W
	sunStrings   = 32016 // 0.1 V and 0.01 A of each
	sunAC        = 32080 // s32 W
	sunStatus    = 32089
	lunaState    = 37000
	lunaUnit1    = 37001 // s32 W, + charging
	lunaSoC1     = 37004 // 0.1 %
	lunaCharge   = 37046 // u32 W
	lunaGive     = 37048 // u32 W
	lunaMeter    = 37113 // s32 W, + export
	lunaCapacity = 37758 // u32 Wh
	lunaSoC      = 37760 // 0.1 %
	lunaPower    = 37765 // s32 W, + charging

	lunaMaxCharge = 47075 // u32 W
	lunaMaxGive   = 47077 // u32 W
	lunaCeil      = 47081 // 0.1 %
	lunaFloor     = 47082 // 0.1 %
	lunaPeriod    = 47083 // min
	lunaWorking   = 47086 // 2 self-consumption, 4 all to the grid, 5 time of use
	lunaFromGrid  = 47087
	lunaForced    = 47100 // 0 stop, 1 charge, 2 discharge
	lunaTarget    = 47101 // 0.1 %
	lunaBy        = 47246 // 0 time, 1 state of charge
	lunaForcedIn  = 47247 // u32 W
	lunaForcedOut = 47249 // u32 W
	sunFeedMode   = 47415 // 0 unlimited, 5 none, 6 W, 7 %
	sunFeedW      = 47416 // s32 W
	sunFeedPct    = 47418 // 0.1 %

	sunNoValue = 0x7FFFFFFF
)

// HuaweiOptions describe a plant; zero means the usual.
type HuaweiOptions struct {
	WLAN              bool    // the inverter's own WLAN: unit 0, not 1
	Rating            float64 // W of AC; 10000
	Charge, Discharge float64 // W, 37046 and 37048; 5000 each
	Capacity          float64 // Wh; 10000
	SoC               float64 // %; 50
	Sun, House        float64 // W

	// RampIn and RampOut are W/s of a forced command, towards charging and
	// towards discharging; 50 and 180, as measured.
	RampIn, RampOut float64
	// Settling is how long an inverter is deaf after a connection; 1.5 s. It
	// counts from Connect.
	Settling time.Duration

	// As the owner left it.
	FromGrid      bool    // 47087
	Ceil, Floor   float64 // 47081 and 47082 in %; 100 and 5
	MaxCharge     float64 // 47075 in W; Charge
	MaxDischarge  float64 // 47077 in W; Discharge
	Working       uint16  // 47086; 2
	Program       float64 // W of battery power under time of use
	Forced        uint16  // 47100: the owner's own forced charge or discharge
	ForcedPower   float64 // W of it
	ForcedMinutes uint16  // 47083; 0 where nothing is forced
	FeedLimit     float64 // W at the connection; 0: none

	Harvests bool // a forced command leaves the harvest alone, as owners had it until 2024
	Multiple bool // function 6 is refused with exception 1, as one owner met
}

// Huawei is a SUN2000 hybrid inverter with a LUNA2000 battery and a meter.
//
// Sources: ffunes/Omnibattery "huawei.py" and PR 381 (measured on a
// SUN2000-8K: a forced charge is a ceiling on the harvest, a forced discharge
// takes the tracker down, recovery in 6 s, ramps, 1.5 s of silence after a
// handshake, registers and their widths, ranges of 47081 and 47082); evcc
// template huawei-sun2000-hybrid (signs, 47075 and 47077 above 37046 and 37048
// are refused, writing 47100 renews a command) and its issues 15647 (PV all
// exported under a forced discharge of 0 W), 14377 (exception
// 1 to function 6), 17692 (a forced charge ends by itself at 100 %), 30620
// (exception 4), PR 32235; wlcrs/huawei_solar issue 974 (0 W as "idle" curtails
// PV); home-assistant/core issue 134665 (unit 0 over WLAN);
// springfall2008/batpred issue 1962 (47075 binds a forced charge).
type Huawei struct {
	rig
	o     HuaweiOptions
	unit  byte
	most  float64   // W that the tracker is able to harvest now
	ends  time.Time // of the forced command
	ready time.Time
	lost  bool // the battery does not answer the inverter
}

// NewHuawei is an inverter as its owner left it.
func NewHuawei(now func() time.Time, o HuaweiOptions) *Huawei {
	h := &Huawei{o: o, unit: 1, most: math.Inf(1)}
	if o.WLAN {
		h.unit = 0
	}
	h.rig = rig{bank: newBank(now), plant: plant{
		rating: or(o.Rating, 10000), charge: or(o.Charge, 5000), discharge: or(o.Discharge, 5000),
		capacity: or(o.Capacity, 10000), soc: or(o.SoC, 50), sun: o.Sun, house: o.House,
	}}
	h.input = map[Register]uint16{} // function 4 is not served
	h.plate()
	h.settings()
	h.write, h.wrote = h.judge, h.act
	h.step = func(now time.Time, dt time.Duration) {
		sliced(now, dt, h.move)
		h.show()
	}
	if o.Forced != 0 {
		h.ends = h.end()
	}
	h.advance()
	return h
}

func (h *Huawei) long(addr uint16, v float64) {
	h.put(h.unit, addr, pair(uint32(int32(math.Round(v))), false)...)
}
func (h *Huawei) reg(addr uint16) uint16   { return h.get(h.unit, addr) }
func (h *Huawei) u(addr uint16) float64    { return float64(h.u32(h.unit, addr, false)) }
func (h *Huawei) to(addr uint16, v uint16) { h.put(h.unit, addr, v) }

func (h *Huawei) plate() {
	for _, run := range [][2]uint16{{30000, 30084}, {32000, 32116}, {37000, 37069}, {37100, 37138},
		{37758, 37790}, {37814, 37828}, {47000, 47004}, {47075, 47110}, {47246, 47250}, {47415, 47419}} {
		for a := run[0]; a <= run[1]; a++ {
			h.to(a, 0)
		}
	}
	h.put(h.unit, 30000, text("SUN2000-10KTL-M1", 15)...)
	h.put(h.unit, 30015, text("HV2250600001", 10)...)
	h.put(h.unit, 30050, text("V100R001C00SPC172", 15)...)
	h.to(30071, 2)
	h.long(sunRated, h.rating)
	h.long(sunMost, h.rating)
	h.to(sunStatus, 0x0200)
	h.long(lunaCharge, h.charge)
	h.long(lunaGive, h.discharge)
	h.long(lunaCapacity, h.capacity)
	h.to(37003, 4000)
	h.to(37100, 1)
	h.to(47000, 2)
}

func (h *Huawei) settings() {
	o := h.o
	h.long(lunaMaxCharge, or(o.MaxCharge, h.charge))
	h.long(lunaMaxGive, or(o.MaxDischarge, h.discharge))
	h.to(lunaCeil, s16(or(o.Ceil, 100)*10))
	h.to(lunaFloor, s16(or(o.Floor, 5)*10))
	h.to(lunaPeriod, o.ForcedMinutes)
	h.to(lunaWorking, or(o.Working, 2))
	if o.FromGrid {
		h.to(lunaFromGrid, 1)
	}
	h.to(lunaForced, o.Forced)
	h.to(lunaTarget, 1000)
	if o.Forced == 2 {
		h.long(lunaForcedOut, o.ForcedPower)
	} else {
		h.long(lunaForcedIn, o.ForcedPower)
	}
	if o.FeedLimit > 0 {
		h.to(sunFeedMode, 6)
		h.long(sunFeedW, o.FeedLimit)
	}
	h.to(sunFeedPct, 1000)
}

// Connect is a new connection: what is asked too early is not answered.
func (h *Huawei) Connect() {
	h.set(func() { h.ready = h.last.Add(or(h.o.Settling, 1500*time.Millisecond)) })
}

// SetLost is a battery that does not answer its inverter: its readings are not
// available.
func (h *Huawei) SetLost(lost bool) { h.set(func() { h.lost = lost }) }

// Do answers for one unit, and not just after a connection.
func (h *Huawei) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if ctx.Err() == nil {
		h.mu.Lock()
		deaf := h.now().Before(h.ready)
		h.mu.Unlock()
		switch {
		case r.Unit != h.unit:
			return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.GatewayTargetSilent}
		case deaf && r.Values != nil:
			return modbus.Response{}, fmt.Errorf("%w: %w", modbus.ErrUncertain, modbus.ErrTimeout)
		case deaf:
			return modbus.Response{}, modbus.ErrTimeout
		}
	}
	return h.rig.Do(ctx, r)
}

// sunPoints are the points that can be written, with their lengths.
var sunPoints = map[uint16]int{
	lunaMaxCharge: 2, lunaMaxGive: 2, lunaCeil: 1, lunaFloor: 1, lunaPeriod: 1, lunaWorking: 1, lunaFromGrid: 1,
	lunaForced: 1, lunaTarget: 1, lunaBy: 1, lunaForcedIn: 2, lunaForcedOut: 2,
	sunFeedMode: 1, sunFeedW: 2, sunFeedPct: 1,
}

func (h *Huawei) judge(r modbus.Request) byte {
	if h.o.Multiple && r.Func == modbus.WriteSingle {
		return modbus.IllegalFunction
	}
	if !whole(r, sunPoints) {
		return modbus.IllegalAddress
	}
	for at := 0; at < len(r.Values); {
		addr := r.Addr + uint16(at)
		n := sunPoints[addr]
		v := float64(r.Values[at])
		if n == 2 {
			v = v*65536 + float64(r.Values[at+1])
		}
		if code := h.allows(addr, v); code != 0 {
			return code
		}
		at += n
	}
	return 0
}

// allows judges one value.
func (h *Huawei) allows(addr uint16, v float64) byte {
	ok := true
	switch addr {
	case lunaMaxCharge, lunaForcedIn:
		if v > h.charge {
			return modbus.DeviceFailure
		}
	case lunaMaxGive, lunaForcedOut:
		if v > h.discharge {
			return modbus.DeviceFailure
		}
	case lunaCeil:
		ok = v >= 900 && v <= 1000
	case lunaFloor:
		ok = v <= 200
	case lunaPeriod:
		ok = v <= 1440
	case lunaWorking:
		ok = v <= 5
	case lunaFromGrid, lunaBy:
		ok = v <= 1
	case lunaForced:
		ok = v <= 2
	case lunaTarget, sunFeedPct:
		ok = v <= 1000
	case sunFeedMode:
		ok = v <= 7
	}
	if !ok {
		return modbus.IllegalValue
	}
	return 0
}

// act starts the period of a forced command; writing it again renews it.
func (h *Huawei) act(r modbus.Request) {
	for i := range r.Values {
		if r.Addr+uint16(i) == lunaForced {
			h.ends = h.end()
		}
	}
}

func (h *Huawei) end() time.Time {
	return h.last.Add(time.Duration(h.reg(lunaPeriod)) * time.Minute)
}

// over ends a forced command by its time, its target or the battery's end.
func (h *Huawei) over(now time.Time) bool {
	mode, target := h.reg(lunaForced), float64(h.reg(lunaTarget))/10
	switch {
	case mode == 0:
		return false
	case mode == 1 && h.soc >= h.ceil, mode == 2 && h.soc <= h.floor:
		return true
	case h.reg(lunaBy) == 1:
		return mode == 1 && h.soc >= target || mode == 2 && h.soc <= target
	}
	return !now.Before(h.ends)
}

// move runs the device for at most a second.
func (h *Huawei) move(now time.Time, dt time.Duration) {
	h.ceil, h.floor = float64(h.reg(lunaCeil))/10, float64(h.reg(lunaFloor))/10
	if h.over(now) {
		h.to(lunaForced, 0)
	}
	b := h.open()
	b.charge, b.discharge = h.u(lunaMaxCharge), h.u(lunaMaxGive)
	b.out = min(b.out, h.house+h.feed())
	goal := h.goal(dt)
	b.pv = h.most
	if h.reg(lunaFromGrid) == 0 {
		b.charge = min(b.charge, h.sun, h.most)
	}
	h.run(goal, b, dt)
	if h.lost {
		h.battery, h.ac = 0, h.pv
	}
}

// feed is what may pass the connection.
func (h *Huawei) feed() float64 {
	switch h.reg(sunFeedMode) {
	case 5:
		return 0
	case 6:
		return float64(int32(h.u32(h.unit, sunFeedW, false)))
	case 7:
		return h.rating * float64(h.reg(sunFeedPct)) / 1000
	}
	return math.Inf(1)
}

// goal is the battery's power, and what it leaves of the harvest.
func (h *Huawei) goal(dt time.Duration) float64 {
	switch h.reg(lunaForced) {
	case 1:
		h.curtail(h.u(lunaForcedIn))
		return h.paced(-h.u(lunaForcedIn), or(h.o.RampIn, 50))
	case 2:
		h.curtail(0)
		return h.paced(h.u(lunaForcedOut), or(h.o.RampOut, 180))
	}
	h.ramp = 0
	h.most += h.rating / 6 * dt.Seconds() // the tracker is back after 6 s
	switch h.reg(lunaWorking) {
	case 4:
		return 0
	case 1, 3, 5:
		if h.o.Program != 0 {
			return h.o.Program
		}
	}
	return h.house - min(h.sun, h.most)
}

// curtail is what a forced command leaves of the harvest.
func (h *Huawei) curtail(w float64) {
	if !h.o.Harvests {
		h.most = w
	}
}

// paced lets a battery take on power slowly and give it up at once.
func (h *Huawei) paced(goal, ramp float64) float64 {
	h.ramp = ramp
	if goal*h.battery >= 0 && math.Abs(goal) <= math.Abs(h.battery) {
		h.ramp = 0
	}
	return goal
}

// show refreshes what is read.
func (h *Huawei) show() {
	h.long(sunDC, h.pv)
	for i := range uint16(2) { // the strings keep their voltage while there is light
		var volts, amps uint16
		if h.sun > 0 {
			volts, amps = 3740, s16(h.pv/2/374*100)
		}
		h.put(h.unit, sunStrings+2*i, volts, amps)
	}
	h.long(sunAC, h.ac)
	h.long(lunaMeter, h.ac-h.house)
	if h.lost {
		for _, a := range []uint16{lunaUnit1, lunaPower} {
			h.long(a, sunNoValue)
		}
		h.to(lunaSoC1, 0xFFFF)
		h.to(lunaSoC, 0xFFFF)
		h.to(lunaState, 0)
		return
	}
	h.long(lunaUnit1, -h.battery)
	h.long(lunaPower, -h.battery)
	h.to(lunaSoC1, s16(h.soc*10))
	h.to(lunaSoC, s16(h.soc*10))
	h.to(lunaState, 2)
}

// Owner is every setting; what was forced is one as well.
func (h *Huawei) Owner() map[Register]uint16 {
	return h.copied(h.unit, [2]uint16{lunaMaxCharge, lunaMaxGive + 1}, [2]uint16{lunaCeil, lunaFromGrid},
		[2]uint16{lunaForced, lunaTarget}, [2]uint16{lunaBy, lunaForcedOut + 1}, [2]uint16{sunFeedMode, sunFeedPct})
}

// Restart is a loss of power: settings stay, a forced command does not.
func (h *Huawei) Restart() {
	h.set(func() {
		h.to(lunaForced, 0)
		h.battery, h.most = 0, 0
	})
}
