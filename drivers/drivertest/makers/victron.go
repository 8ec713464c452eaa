package makers

import (
	"context"
	"math"
	"time"

	"flexd/drivers/modbus"
)

// Sources for a Victron GX device: the register list "attributes.csv" of
// victronenergy/dbus_modbustcp with its "mappings.cpp" and "backend.cpp" (an
// invalid value reads 0, a service that is not at the unit answers exception
// 10, an address without a mapping 2, a part of a 32-bit value may be written
// alone); the maker's page on ESS modes 2 and 3 as quoted in
// remcom/hass-victron issues 41 and 56 (2716 is volatile since Venus 3.50, the
// settings wear the flash); evcc PR 31299 (0 at 2716 hands back to 2700);
// openWB/core issue 3355 and PR 3831 (mode 3 ends after 10 to 14 s, not 60);
// openWB victron "bat.py" (dynamic ESS, signs).
const (
	victronSystem = 100
	victronVebus  = 227
	victronGrid   = 30
	victronHub4   = 2902 // 1 or 2: ESS, 3: external control
	victronTarget = 2716 // s32 W at the connection, + draws
)

// VictronOptions describe a system; zero means the usual.
type VictronOptions struct {
	Rating            float64       // W of the inverter; 8000
	Charge, Discharge float64       // W; 5000 and 7000
	Capacity          float64       // Wh; 10000
	SoC               float64       // %; 50
	Ramp              float64       // W/s; 0: at once
	Sun, House        float64       // W, both on the grid's side of the inverter
	Critical          float64       // W on the inverter's output
	OnePhase          bool          // phases 2 and 3 do not exist
	Mode              uint16        // the owner's 2902; 1
	Setpoint          float64       // the owner's 2700 in W, + draws
	MinSoC            float64       // the owner's 2901; 10
	Fallback          time.Duration // of external control; 10 s
	NoOverride        bool          // Venus before 3.50: there is no 2716
	DVCC              bool          // 2701 and 2702 do nothing
	DynamicESS        bool          // somebody else's schedule rules: 5400 reads 1
	Schedule          float64       // W of that schedule, - charges
	Serial            string
}

// Victron is a GX device: system and settings on unit 100, the VE.Bus inverter
// on unit 227, the grid meter on unit 30.
type Victron struct {
	rig
	o        VictronOptions
	critical float64
	set3     [3]time.Time // when each phase's setpoint was last written
	blind    bool         // the battery monitor is gone
	noVebus  bool
	flash    int
}

// NewVictron is a system as it stands before anybody controls it.
func NewVictron(now func() time.Time, o VictronOptions) *Victron {
	o.Fallback, o.Serial = or(o.Fallback, 10*time.Second), or(o.Serial, "d41243b4f71d")
	v := &Victron{o: o, critical: o.Critical}
	v.rig = rig{bank: newBank(now), plant: plant{
		rating: or(o.Rating, 8000), charge: or(o.Charge, 5000), discharge: or(o.Discharge, 7000),
		capacity: or(o.Capacity, 10000), floor: or(o.MinSoC, 10), ceil: 100,
		ramp: o.Ramp, soc: or(o.SoC, 50), sun: o.Sun, house: o.House,
	}}
	v.lay()
	v.write, v.wrote = v.judge, v.taken
	v.step = func(now time.Time, dt time.Duration) {
		sliced(now, dt, v.move)
		v.show()
	}
	v.advance()
	return v
}

// Do answers exception 10 where the service is not at the unit.
func (v *Victron) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if r.Unit == 0 { // the same services
		r.Unit = victronSystem
	}
	if v.elsewhere(r) {
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.GatewayNoPath}
	}
	return v.rig.Do(ctx, r)
}

func (v *Victron) elsewhere(r modbus.Request) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Unit == victronVebus && v.noVebus {
		return true
	}
	if v.o.OnePhase && r.Unit == victronVebus && (r.Func == modbus.WriteSingle || r.Func == modbus.WriteMultiple) {
		switch r.Addr {
		case 40, 41, 98, 99, 100, 101:
			return true
		}
	}
	if _, ok := v.regs[Register{r.Unit, r.Addr}]; ok {
		return false
	}
	for _, unit := range []byte{victronSystem, victronVebus, victronGrid} {
		if _, ok := v.regs[Register{unit, r.Addr}]; ok && unit != r.Unit {
			return true
		}
	}
	return false
}

// victronSettings are written to the flash each time.
var victronSettings = map[uint16]bool{
	2700: true, 2701: true, 2702: true, 2703: true, 2704: true, 2705: true, 2706: true, 2707: true, 2708: true,
	2710: true, 2711: true, 2712: true, 2713: true, 2714: true, 2715: true, 2718: true,
	2720: true, 2721: true, 2722: true, 2723: true, 2900: true, 2901: true, victronHub4: true,
}

func (v *Victron) judge(r modbus.Request) byte {
	for i := range r.Values {
		a := r.Addr + uint16(i)
		system := r.Unit == victronSystem && (victronSettings[a] || a == victronTarget || a == victronTarget+1 || a == 806 || a == 807)
		vebus := r.Unit == victronVebus && (a == 22 || a == 33 || a >= 37 && a <= 41 || a >= 65 && a <= 68 || a >= 96 && a <= 101)
		if !system && !vebus {
			return modbus.IllegalAddress
		}
	}
	return 0
}

// taken keeps the spellings of one value together: 2700 and 2703, 2704 and
// 2720, 2706 and 2722, 37 and 96 and so on.
func (v *Victron) taken(r modbus.Request) {
	word := func(unit byte, a uint16) float64 { return float64(int16(v.get(unit, a))) }
	long := func(unit byte, a uint16) float64 { return float64(int32(v.u32(unit, a, false))) }
	for i := range r.Values {
		a := r.Addr + uint16(i)
		if r.Unit == victronSystem && victronSettings[a] {
			v.flash++
		}
		switch {
		case r.Unit == victronVebus:
			for phase, short := range []uint16{37, 40, 41} {
				wide := 96 + 2*uint16(phase)
				switch a {
				case short:
					v.put(victronVebus, wide, pair(s32(word(victronVebus, short)), false)...)
				case wide, wide + 1:
					v.put(victronVebus, short, s16(long(victronVebus, wide)))
				default:
					continue
				}
				v.set3[phase] = v.last
			}
		case a == 2700:
			v.put(victronSystem, 2703, s16(word(victronSystem, a)/100))
		case a == 2703:
			v.put(victronSystem, 2700, s16(word(victronSystem, a)*100))
		case a == 2704:
			v.put(victronSystem, 2720, pair(s32(word(victronSystem, a)*10), false)...)
		case a == 2706:
			v.put(victronSystem, 2722, pair(s32(word(victronSystem, a)*100), false)...)
		case a == 2901:
			v.floor = float64(v.get(victronSystem, 2901)) / 10
		}
	}
	v.move(v.last, 0)
}

func (v *Victron) move(now time.Time, dt time.Duration) {
	b := v.open()
	b.pv = v.sun
	b.out, b.in = math.Inf(1), math.Inf(1) // the sun does not pass the inverter
	if v.get(victronVebus, 38) == 1 {
		b.charge = 0
	}
	if v.get(victronVebus, 39) == 1 {
		b.discharge = min(b.discharge, v.critical)
	}
	v.run(v.goal(now, &b), b, dt)
}

// run moves the battery alone: the roof is beside the inverter.
func (v *Victron) run(goal float64, b bounds, dt time.Duration) {
	v.charged(dt)
	b.charge = min(b.charge, v.rating)
	b.discharge = min(b.discharge, v.rating)
	v.battery = v.able(towards(v.battery, v.able(goal, b), v.ramp, dt), bounds{charge: v.charge, discharge: v.discharge})
	v.pv = v.sun
	v.ac = v.battery - v.critical
}

func (v *Victron) goal(now time.Time, b *bounds) float64 {
	if v.get(victronSystem, victronHub4) == 3 {
		return v.external(now)
	}
	if !v.o.DVCC {
		b.charge *= float64(min(v.get(victronSystem, 2701), 100)) / 100
		b.discharge *= float64(min(v.get(victronSystem, 2702), 100)) / 100
	}
	if most := int32(v.u32(victronSystem, 2720, false)); most >= 0 {
		b.discharge = min(b.discharge, float64(most))
	}
	if v.o.DynamicESS {
		return v.o.Schedule
	}
	draws := float64(int16(v.get(victronSystem, 2700)))
	if !v.o.NoOverride {
		if over := int32(v.u32(victronSystem, victronTarget, false)); over != 0 {
			draws = float64(over)
		}
	}
	if most := int32(v.u32(victronSystem, 2722, false)); most >= 0 {
		draws = max(draws, -float64(most))
	}
	return v.house + v.critical - v.sun - draws
}

// external is mode 3: each phase's AC input holds its setpoint while it is
// fresh, and passes through after. The output's loads are behind the input.
func (v *Victron) external(now time.Time) float64 {
	phases := v.phases()
	goal := 0.0
	for phase := range phases {
		if at := v.set3[phase]; at.IsZero() || !now.Before(at.Add(v.o.Fallback)) {
			if !at.IsZero() {
				v.lapse(phase)
			}
			continue
		}
		wanted := float64(int32(v.u32(victronVebus, 96+2*uint16(phase), false)))
		goal += v.critical/float64(phases) - wanted
	}
	return goal
}

func (v *Victron) phases() int {
	if v.o.OnePhase {
		return 1
	}
	return 3
}

// lapse forgets a phase's setpoint: the device resets the register.
func (v *Victron) lapse(phase int) {
	v.set3[phase] = time.Time{}
	v.put(victronVebus, []uint16{37, 40, 41}[phase], 0)
	v.put(victronVebus, 96+2*uint16(phase), 0, 0)
}

// Watts are the true powers: AC is the inverter's AC input, + towards the
// grid; House holds the loads on both sides.
func (v *Victron) Watts() Watts {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.advance()
	return v.watts()
}

func (v *Victron) watts() Watts {
	house := v.house + v.critical
	return Watts{AC: v.ac, Battery: v.battery, PV: v.pv, House: house, Grid: v.battery + v.pv - house}
}

// Owner copies the settings, the volatile target and the inverter's switches.
// The setpoints of mode 3 lapse by themselves.
func (v *Victron) Owner() map[Register]uint16 {
	own := v.copied(victronSystem, [2]uint16{2700, 2708}, [2]uint16{2710, 2723}, [2]uint16{2900, 2902})
	for at, word := range v.copied(victronVebus, [2]uint16{33, 33}, [2]uint16{38, 39}) {
		own[at] = word
	}
	return own
}

// FlashWrites counts the writes that wore the flash.
func (v *Victron) FlashWrites() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.flash
}

// SetCritical sets the loads on the inverter's output in W.
func (v *Victron) SetCritical(w float64) { v.set(func() { v.critical = w }) }

// SetBlind takes the battery monitor away: its values read 0.
func (v *Victron) SetBlind(on bool) { v.set(func() { v.blind = on }) }

// SetVebusGone takes the inverter's service away: exception 10.
func (v *Victron) SetVebusGone(on bool) { v.set(func() { v.noVebus = on }) }

// Restart loses what is volatile: the target and the setpoints of mode 3.
func (v *Victron) Restart() {
	v.set(func() {
		if !v.o.NoOverride {
			v.put(victronSystem, victronTarget, 0, 0)
		}
		for phase := range 3 {
			v.lapse(phase)
		}
		v.put(victronVebus, 38, 0, 0)
	})
}
