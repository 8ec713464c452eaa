package makers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"flexd/drivers/modbus"
)

// Sources for the SigenStor: the maker's Modbus protocol V2.9 as kept in
// TypQxQ/Sigenergy-Local-Modbus (registers, modes, pacing, exceptions), that
// project's issues 80 and 191 (exception 2 on the limits outside their modes),
// 85 (40036 rules in modes 3 to 6), 214 (the owner's own mode forgotten) and
// TypQxQ/Sigenergy-Home-Assistant-Integration issue 35 (which limit rules in
// which mode before V2.9); seud0nym/sigenergy2mqtt issue 12 (an old limit
// rules until the new one is written); field notes on an EC 10.0 of October
// 2026 (no return by itself in 85 s, signs, the app's switch, a foreign
// enable runs the last mode and limits).
const (
	sigenPlant    = 247
	sigenInverter = 1
	sigenRemote   = 40029 // u16, 1 hands the plant to the controller
	sigenMode     = 40031 // u16, see sigen…Mode
	sigenCharge   = 40032 // u32 W
	sigenDraw     = 40034 // u32 W, limit of discharging
	sigenRoof     = 40036 // u32 W, limit of PV
	sigenNone     = 0xFFFFFFFF
)

// The modes of remote control.
const (
	sigenFixed     = 0 // 40001 W at the inverter
	sigenStandby   = 1
	sigenSelf      = 2
	sigenGridFirst = 3 // charging
	sigenPVFirst   = 4 // charging
	sigenRoofFirst = 5 // discharging
	sigenESSFirst  = 6 // discharging
)

// SigenergyOptions describe a plant; zero means the usual.
type SigenergyOptions struct {
	Rating            float64 // W of AC; 11000
	Charge, Discharge float64 // W; 5800 and 6400
	Capacity          float64 // Wh; 10000
	SoC               float64 // %; 50
	Ramp              float64 // W/s; 0: at once
	Sun, House        float64 // W
	Protocol          int     // 25: limits are refused outside their modes; 29: they rule everywhere; 25
	AppOff            bool    // the app's switch for remote scheduling is off: 40029 reads 0 for ever
	Strict            bool    // a request within a second of the last one is not answered

	// What the owner runs: a work mode of the app (30003) and, where it is a
	// schedule, the battery power it holds in W, - charges.
	WorkMode uint16
	Schedule float64
	// ForgetsWorkMode: after remote control the plant is on self-consumption.
	ForgetsWorkMode bool
	// What the owner's own controller had set.
	Remote                 bool
	Mode                   uint16
	ChargeLimit, DrawLimit uint32 // 0: none
	RoofLimit              uint32 // 0: none
	ExportLimit            uint32 // 40038; 0: none
	VolatileRemote         bool   // a restart ends remote control; no source tells
	Serial                 string
}

// Sigenergy is a SigenStor: the plant on unit 247 and its inverter on unit 1.
type Sigenergy struct {
	rig
	o       SigenergyOptions
	forgot  bool
	asked   time.Time
	hurried int
}

// NewSigenergy is a plant as it stands before anybody else controls it.
func NewSigenergy(now func() time.Time, o SigenergyOptions) *Sigenergy {
	o.Protocol, o.Serial = or(o.Protocol, 25), or(o.Serial, "CMU120E139S0084")
	g := &Sigenergy{o: o}
	g.rig = rig{bank: newBank(now), plant: plant{
		rating: or(o.Rating, 11000), charge: or(o.Charge, 5800), discharge: or(o.Discharge, 6400),
		capacity: or(o.Capacity, 10000), floor: 5, ceil: 100,
		ramp: o.Ramp, soc: or(o.SoC, 50), sun: o.Sun, house: o.House,
	}}
	g.put(sigenPlant, 30000, make([]uint16, 287)...)
	g.put(sigenPlant, 40000, make([]uint16, 26)...)
	g.put(sigenPlant, sigenRemote, make([]uint16, 40)...)
	g.hidden[Register{sigenPlant, 40000}] = true // start and stop: only written
	for addr, v := range map[uint16]uint32{
		sigenCharge: o.ChargeLimit, sigenDraw: o.DrawLimit, sigenRoof: o.RoofLimit,
		40038: o.ExportLimit, 40040: 0, 40042: 0, 40044: 0,
	} {
		g.put(sigenPlant, addr, pair(or(v, sigenNone), false)...)
	}
	g.put(sigenPlant, 40047, 1000, 50)
	if o.Remote && !o.AppOff {
		g.put(sigenPlant, sigenRemote, 1)
	}
	g.put(sigenPlant, sigenMode, o.Mode)
	g.plate()
	g.write, g.wrote = g.judge, g.taken
	g.step = func(now time.Time, dt time.Duration) {
		sliced(now, dt, func(_ time.Time, dt time.Duration) { g.move(dt) })
		g.show()
	}
	g.advance()
	return g
}

// Do answers as the device would, and counts who does not keep its pace.
func (g *Sigenergy) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if g.early() && g.o.Strict {
		return g.mute(r)
	}
	if r.Unit == 0 { // to all: done, and not answered
		r.Unit = sigenPlant
		if _, err := g.rig.Do(ctx, r); errors.Is(err, modbus.ErrNotSent) {
			return modbus.Response{}, err
		}
		return g.mute(r)
	}
	return g.rig.Do(ctx, r)
}

// mute is the end of a request that nobody answers.
func (g *Sigenergy) mute(r modbus.Request) (modbus.Response, error) {
	if r.Func == modbus.WriteSingle || r.Func == modbus.WriteMultiple {
		return modbus.Response{}, fmt.Errorf("%w: %w", modbus.ErrUncertain, modbus.ErrTimeout)
	}
	return modbus.Response{}, modbus.ErrTimeout
}

// early tells whether the request comes within a second of the last.
func (g *Sigenergy) early() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	soon := !g.asked.IsZero() && now.Sub(g.asked) < time.Second
	g.asked = now
	if soon {
		g.hurried++
	}
	return soon
}

// Hurried counts the requests that came within a second of the one before.
func (g *Sigenergy) Hurried() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hurried
}

// sigenPoints are the points that may be written, with their lengths.
var sigenPoints = func() map[uint16]int {
	points := map[uint16]int{40000: 1, 40005: 1, 40006: 1, 40007: 1, 40029: 1, 40030: 1, 40031: 1, 40051: 1}
	for a := uint16(40046); a <= 40048; a++ {
		points[a] = 1
	}
	for a := uint16(40052); a <= 40068; a++ {
		points[a] = 1
	}
	for a := uint16(40020); a <= 40025; a++ {
		points[a] = 1
	}
	for _, a := range []uint16{
		40001, 40003, 40008, 40010, 40012, 40014, 40016, 40018,
		sigenCharge, sigenDraw, sigenRoof, 40038, 40040, 40042, 40044, 40049,
	} {
		points[a] = 2
	}
	return points
}()

// judge refuses parts of a point, and before V2.9 a limit outside the modes
// that it rules, both with exception 2.
func (g *Sigenergy) judge(r modbus.Request) byte {
	if r.Unit != sigenPlant || !whole(r, sigenPoints) || r.Addr == 40000 && r.Func != modbus.WriteSingle {
		return modbus.IllegalAddress
	}
	if g.o.Protocol >= 29 {
		return 0
	}
	for i := range r.Values {
		switch r.Addr + uint16(i) {
		case sigenCharge, sigenDraw, sigenRoof:
			if !g.rules(r.Addr + uint16(i)) {
				return modbus.IllegalAddress
			}
		}
	}
	return 0
}

func (g *Sigenergy) taken(r modbus.Request) {
	if g.o.AppOff {
		g.put(sigenPlant, sigenRemote, 0)
	}
	if r.Addr == sigenRemote && r.Values[0] == 0 && g.o.ForgetsWorkMode {
		g.forgot = true
	}
	g.ceil = float64(g.get(sigenPlant, 40047)) / 10
	g.floor = float64(g.get(sigenPlant, 40048)) / 10
	g.move(0)
}

func (g *Sigenergy) remote() bool { return g.get(sigenPlant, sigenRemote) == 1 }

// rules tells whether a limit counts in the mode of now.
func (g *Sigenergy) rules(limit uint16) bool {
	if g.o.Protocol >= 29 {
		return true
	}
	if !g.remote() {
		return false
	}
	mode := g.get(sigenPlant, sigenMode)
	charging := mode == sigenGridFirst || mode == sigenPVFirst
	drawing := mode == sigenRoofFirst || mode == sigenESSFirst
	switch limit {
	case sigenCharge:
		return charging
	case sigenDraw:
		return drawing
	}
	return charging || drawing
}

// limit is the value of a limit in W, or what is without it.
func (g *Sigenergy) limit(addr uint16, without float64) float64 {
	if v := g.u32(sigenPlant, addr, false); v != sigenNone && g.rules(addr) {
		return min(float64(v), without)
	}
	return without
}

func (g *Sigenergy) move(dt time.Duration) {
	b := g.open()
	b.charge = g.limit(sigenCharge, b.charge)
	b.discharge = g.limit(sigenDraw, b.discharge)
	b.pv = g.limit(sigenRoof, b.pv)
	for addr, bound := range map[uint16]*float64{40042: &b.out, 40044: &b.in} {
		if v := g.u32(sigenPlant, addr, false); v != sigenNone {
			*bound = min(*bound, float64(v))
		}
	}
	if v := g.u32(sigenPlant, 40038, false); v != sigenNone {
		b.out = min(b.out, g.house+float64(v))
	}
	if v := g.u32(sigenPlant, 40040, false); v != sigenNone {
		b.in = min(b.in, max(float64(v)-g.house, 0))
	}
	goal := g.goal(&b)
	g.run(goal, b, dt)
}

// goal is the battery power that the plant is after.
func (g *Sigenergy) goal(b *bounds) float64 {
	if !g.remote() {
		if g.o.Schedule != 0 && !g.forgot {
			return g.o.Schedule
		}
		return g.surplus()
	}
	switch g.get(sigenPlant, sigenMode) {
	case sigenFixed:
		return float64(int32(g.u32(sigenPlant, 40001, false))) - min(g.sun, b.pv)
	case sigenGridFirst, sigenPVFirst:
		return -b.charge
	case sigenRoofFirst:
		return b.discharge
	case sigenESSFirst:
		b.storageFirst = true
		return b.discharge
	case sigenStandby:
		return 0
	}
	return g.surplus()
}

// Owner copies what a controller must give back: the switch, the mode, the
// target and the limits.
func (g *Sigenergy) Owner() map[Register]uint16 {
	return g.copied(sigenPlant, [2]uint16{40001, 40007}, [2]uint16{sigenRemote, 40048})
}

// Restart restarts the plant; its registers are kept unless the options say
// otherwise.
func (g *Sigenergy) Restart() {
	g.set(func() {
		if g.o.VolatileRemote {
			g.put(sigenPlant, sigenRemote, 0, 0, 0)
		}
	})
}
