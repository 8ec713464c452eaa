package sunspec

import (
	"math"

	"flexd/agent/flex"
)

// acting is the device's own word on whether a control is in effect. A device
// that gives nothing of what it was told is not acting, whatever it says.
func (f *found) acting(im image, last *told) *bool {
	yes, no := true, false
	c, ok := controlOf(f.method())
	if !ok {
		return nil
	}
	// A cap may be the one in force on a device that is otherwise set.
	on := inForce(im, c)
	if l, ok := controlOf(f.cap); ok && inForce(im, l) {
		c, on = l, true
	}
	if !on || c.setpoint && f.idle(im, last) {
		return &no
	}
	if st, ok := im.of(122).raw("StActCtl"); ok { // bit 0: FixedW
		if st&1 == 1 {
			return &yes
		}
		if c.method != rates { // model 124 is not among the bits
			return &no
		}
	}
	if c.method == rates {
		return f.storing(im, last)
	}
	if c.model != 704 {
		return nil
	}
	if st, ok := im.of(701).raw("InvSt"); ok {
		running := st == 3 || st == 4 // RUNNING, THROTTLED
		return &running
	}
	return nil
}

// idle tells that the AC power is nothing, or the opposite, of a setpoint that
// is not 0.
func (f *found) idle(im image, last *told) bool {
	ac, ok := acPower(im)
	aim, told := f.aim(im, last)
	return ok && told && aim != 0 && ac*math.Copysign(1, aim) <= math.Max(0, math.Min(acStep(im), math.Abs(aim)/2))
}

// aim is the AC power of the setpoint in force: as this process told it, else
// by the registers.
func (f *found) aim(im image, last *told) (float64, bool) {
	if last != nil && last.method == f.set && len(last.values) == 1 {
		return float64(last.aim), true
	}
	b := im.of(704)
	if f.set == wset {
		return b.num("WSet")
	}
	if f.set == wsetPct {
		return b.num("WSetPct")
	}
	at := f.standing(im)
	if f.set != rates || f.role == flex.RoleHybrid || at == nil {
		return 0, false
	}
	return at.high, true
}

// storing compares 124.ChaSt with the rates in force. Between rates that leave
// both ways open, the AC power says whether they do what they are for.
func (f *found) storing(im image, last *told) *bool {
	b := im.of(124)
	st, ok := b.raw("ChaSt")
	out, ok2 := b.raw("OutWRte")
	in, ok3 := b.raw("InWRte")
	if !ok || !ok2 || !ok3 {
		return nil
	}
	var as bool
	switch {
	case out > 0 && in < 0:
		as = st == stateDischarging
	case in > 0 && out < 0:
		as = st == stateCharging
	case out == 0 && in == 0:
		as = st != stateDischarging && st != stateCharging
	default:
		const near = 0.05
		ac, ok := acPower(im)
		aim, told := f.aim(im, last)
		if !ok || !told {
			return nil
		}
		as = math.Abs(ac-aim) <= math.Max(near*math.Abs(aim), 2*acStep(im))
	}
	return &as
}
