package makers

import (
	"time"

	"flexd/drivers/modbus"
)

// plant is PV, a battery and a house behind one connection, on one inverter.
type plant struct {
	rating            float64 // W of AC, both ways
	charge, discharge float64 // W the battery takes and gives at most
	capacity          float64 // Wh
	floor, ceil       float64 // % of charge where discharging and charging end
	ramp              float64 // W/s of the battery; 0: at once
	soc               float64 // %
	sun, house        float64 // W on offer, W taken

	battery, pv, ac float64
}

// bounds are what a moment allows, beside the nameplate.
type bounds struct {
	charge, discharge float64 // W of the battery
	pv                float64 // W harvested
	out, in           float64 // W of AC, each as a magnitude
	storageFirst      bool    // what does not go out is taken from the roof, not from the battery
}

func (p *plant) open() bounds {
	return bounds{charge: p.charge, discharge: p.discharge, pv: p.sun, out: p.rating, in: p.rating}
}

// surplus is the battery power that keeps the connection at zero.
func (p *plant) surplus() float64 { return p.house - p.sun }

// charged moves the state of charge by the time passed.
func (p *plant) charged(dt time.Duration) {
	if p.capacity > 0 {
		p.soc = min(max(p.soc-p.battery*dt.Hours()/p.capacity*100, 0), 100)
	}
}

// run moves the plant by dt towards a battery power.
func (p *plant) run(goal float64, b bounds, dt time.Duration) {
	p.charged(dt)
	goal = p.able(goal, b)
	p.battery = p.able(towards(p.battery, goal, p.ramp, dt), bounds{charge: p.charge, discharge: p.discharge})
	p.pv = max(min(p.sun, b.pv), 0)
	// What the inverter or a cap does not let out stays in the battery, then
	// on the roof; what it does not let in is not charged.
	if over := p.pv + p.battery - min(b.out, p.rating); over > 0 {
		less := min(over, max(p.battery, 0))
		if b.storageFirst {
			less = max(over-p.pv, 0)
		}
		p.battery -= less
		p.pv = max(p.pv-(over-less), 0)
	}
	if over := -(p.pv + p.battery) - min(b.in, p.rating); over > 0 {
		p.battery += over
	}
	p.ac = p.pv + p.battery
}

// able is the part of a battery power that the battery can do now.
func (p *plant) able(goal float64, b bounds) float64 {
	goal = min(max(goal, -min(b.charge, p.charge)), min(b.discharge, p.discharge))
	if p.capacity <= 0 || goal < 0 && p.soc >= p.ceil || goal > 0 && p.soc <= p.floor {
		return 0
	}
	return goal
}

func (p *plant) watts() Watts {
	return Watts{AC: p.ac, Battery: p.battery, PV: p.pv, House: p.house, Grid: p.ac - p.house}
}

// sliced calls move for each second of dt, so that what runs out between two
// requests runs out at its time.
func sliced(now time.Time, dt time.Duration, move func(now time.Time, dt time.Duration)) {
	at := now.Add(-dt)
	for dt > time.Second {
		at = at.Add(time.Second)
		dt -= time.Second
		move(at, time.Second)
	}
	move(now, dt)
}

// rig is a plant behind a bank, with what a test may do to it.
type rig struct {
	*bank
	plant
}

// Watts are the plant's true powers now.
func (r *rig) Watts() Watts {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	return r.watts()
}

// SoC is the true state of charge in %.
func (r *rig) SoC() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	return r.soc
}

// SetSun sets the PV power on offer in W.
func (r *rig) SetSun(w float64) { r.set(func() { r.sun = w }) }

// SetHouse sets what the loads take in W.
func (r *rig) SetHouse(w float64) { r.set(func() { r.house = w }) }

// SetSoC sets the state of charge in %.
func (r *rig) SetSoC(pct float64) { r.set(func() { r.soc = pct }) }

// set changes something at the present moment.
func (r *rig) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	change()
	r.advance()
}

// copied are the registers of a unit that belong to the owner, each run given
// as first and last address.
func (r *rig) copied(unit byte, runs ...[2]uint16) map[Register]uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	out := map[Register]uint16{}
	for _, run := range runs {
		for a := int(run[0]); a <= int(run[1]); a++ {
			at := Register{unit, uint16(a)}
			if v, ok := r.regs[at]; ok {
				out[at] = v
			}
		}
	}
	return out
}

// whole tells whether a write covers exactly the runs of its first register:
// starts as address to length.
func whole(r modbus.Request, starts map[uint16]int) bool {
	for at := 0; at < len(r.Values); {
		n, ok := starts[r.Addr+uint16(at)]
		if !ok || at+n > len(r.Values) {
			return false
		}
		at += n
	}
	return len(r.Values) > 0
}

// or is a value, or the usual one where none is given.
func or[T comparable](value, usual T) T {
	var none T
	if value == none {
		return usual
	}
	return value
}

func s32(v float64) uint32 { return uint32(int32(v)) }

func s16(v float64) uint16 { return uint16(int16(min(max(v, -32768), 32767))) }
