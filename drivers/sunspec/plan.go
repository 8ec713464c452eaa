package sunspec

import (
	"fmt"
	"math"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Writing times and percentages.
const (
	defaultRevert = 60 * time.Second // DEVICES: in use for dynamic export limits
	maxTimer16    = 65534            // seconds in a uint16; 65535 means not implemented
	full          = 100.0            // per cent
	both          = 3                // 124.StorCtl_Mod: limit charge and limit discharge
)

// expect is a value that must stand in the device afterwards.
type expect struct {
	model uint16
	name  string
	value int64
	vital bool // the order itself, not what goes with it
}

// plan is what to write, in order, and what must then be read back.
type plan struct {
	method    method
	writes    []flex.Register
	expects   []expect
	value     setting
	effective flex.Watts
}

// memory is what a plan needs beyond the image.
type memory struct {
	battery    *bounds // of a hybrid by rates
	before     *image  // found before our first write
	gridCharge bool
	adopt      bool
}

// plan works out how the target is to stand in the registers.
func (f *found) plan(t flex.Target, im image, mem memory) (plan, error) {
	switch {
	case t.Order == flex.OrderSet && (f.set == wset || f.set == wsetPct):
		return f.planWSet(t, im, mem)
	case t.Order == flex.OrderSet && f.set == rates:
		return f.planRates(t, im, mem)
	case t.Order == flex.OrderCap && f.cap != none:
		if t.Power < 0 {
			return plan{}, fmt.Errorf("cap of %v: a cap is not negative: %w", t.Power, flex.ErrUnsupported)
		}
		return f.planLimit(t, im, mem)
	}
	return plan{}, fmt.Errorf("order %q (role %s, method %q): %w", t.Order, f.role, f.method(), flex.ErrUnsupported)
}

// seconds spells a lease for a timer, rounded up, never 0: 0 means for ever.
func seconds(lease time.Duration, most int64) int64 {
	if lease <= 0 {
		lease = defaultRevert
	}
	return min(most, max(1, int64(math.Ceil(lease.Seconds()))))
}

// steps is how many whole steps of lsb fit into v, towards zero. The small
// allowance takes back what binary fractions lose (0.3/0.1).
func steps(v, lsb float64) int64 {
	n := v / lsb
	return int64(math.Trunc(n + math.Copysign(1e-6, n)))
}

// stepsBelow and stepsAbove round to a whole step below and above.
func stepsBelow(v, lsb float64) int64 { return int64(math.Floor(v/lsb + 1e-6)) }
func stepsAbove(v, lsb float64) int64 { return int64(math.Ceil(v/lsb - 1e-6)) }

// planWSet sets the AC power by model 704: mode, value, what to revert to and
// when, then the enabling register.
func (f *found) planWSet(t flex.Target, im image, mem memory) (plan, error) {
	b := im.of(704)
	base, _ := maxPower(im)
	p, mode, value, revert := float64(t.Power), int64(1), "WSet", "WSetRvrt"
	if base > 0 {
		p = min(p, base)
	}
	if lo := least(f.chargeMax(im), base); lo > 0 {
		p = max(p, -lo)
	}
	lsb, ok := b.lsb(value)
	limit := int64(math.MaxInt32)
	if f.set == wsetPct {
		mode, value, revert, limit = 0, "WSetPct", "WSetPctRvrt", math.MaxInt16
		lsb, ok = b.lsb(value)
		lsb *= base / full
	}
	if !ok || lsb <= 0 {
		return plan{}, fmt.Errorf("704.%s or its scale factor is no longer implemented: %w", value, flex.ErrUnsupported)
	}
	raw := steps(p, lsb)
	if raw > limit || raw < -limit {
		return plan{}, fmt.Errorf("%v does not fit 704.%s: %w", t.Power, value, flex.ErrUnsupported)
	}
	back, again := reversion(b, value, revert, lsb, base, mem)
	secs := seconds(t.Revert, math.MaxUint32-1)
	set := []assign{{"WSetMod", mode}, {value, raw}, {revert, back}, {"WSetEnaRvrt", again}, {"WSetRvrtTms", secs}}
	run, err := b.write("WSetMod", "WSetRvrtTms", set...)
	if err != nil {
		return plan{}, err
	}
	on, err := b.write("WSetEna", "WSetEna", assign{"WSetEna", 1})
	if err != nil {
		return plan{}, err
	}
	return plan{method: f.set, writes: []flex.Register{run, on}, value: setting{raw, raw}, effective: watts(float64(raw) * lsb),
		expects: append(expectAll(b, set, "WSetMod", value), expect{704, "WSetEna", 1, true})}, nil
}

// reversion is what a setpoint is to revert to: what was found, and in force if
// it was. As long as the control is not in force, that is what stands there;
// later it is what we put into the revert fields at first.
func reversion(b block, value, revert string, lsb, base float64, mem memory) (back, on int64) {
	if mem.before != nil {
		found := mem.before.of(704)
		if ena, _ := found.raw("WSetEna"); ena != 0 {
			w, ok := found.num("WSet")
			if mod, _ := found.raw("WSetMod"); mod == 0 {
				w, ok = found.num("WSetPct")
				w *= base / full
			}
			if ok {
				return steps(w, lsb), 1
			}
		}
	}
	back, has := b.raw(value)
	if ena, _ := b.raw("WSetEna"); ena != 0 || !has {
		if v, ok := b.raw(revert); ok {
			back = v
		}
		if ena != 0 && mem.before == nil { // as the process before us had it
			on, _ = b.raw("WSetEnaRvrt")
		}
	}
	return back, on
}

// expectAll expects the values of all points that are implemented.
func expectAll(b block, set []assign, vital ...string) []expect {
	var out []expect
	for _, s := range set {
		if _, ok := b.raw(s.name); !ok {
			continue
		}
		e := expect{b.model, s.name, s.value, false}
		for _, v := range vital {
			e.vital = e.vital || v == s.name
		}
		out = append(out, e)
	}
	return out
}

// planRates holds the battery by model 124: both rates, so that the device's
// own self-consumption cannot push further, then the mode.
func (f *found) planRates(t flex.Target, im image, mem memory) (plan, error) {
	b := im.of(124)
	base, ok := f.rateBase(im)
	pct, ok2 := b.lsb("OutWRte")
	if !ok || !ok2 {
		return plan{}, fmt.Errorf("124.WChaMax or InOutWRte_SF is no longer implemented: %w", flex.ErrUnsupported)
	}
	lsb := base * pct / full
	ac := float64(t.Power)
	if top, ok := maxPower(im); ok {
		ac = max(-top, min(top, ac))
	}
	to := bounds{ac, ac, 0}
	toStep := steps // a battery alone: towards less
	if f.role == flex.RoleHybrid {
		if mem.battery == nil {
			return plan{}, errNoAC
		}
		to = *mem.battery
		toStep = stepsBelow // beside the sun, it is the AC power that must not exceed
		if ac < 0 {
			toStep = stepsAbove
		}
	}
	within := func(v float64) int64 { return toStep(max(-base, min(base, v)), lsb) }
	told := setting{within(to.low), within(to.high)}
	if most := steps(base, lsb); most > math.MaxInt16 {
		return plan{}, fmt.Errorf("%v does not fit 124.OutWRte: %w", t.Power, flex.ErrUnsupported)
	}
	ramp, _ := b.raw("InOutWRte_RmpTms")
	set := []assign{{"OutWRte", told.high}, {"InWRte", -told.low}, {"InOutWRte_WinTms", 0},
		{"InOutWRte_RvrtTms", seconds(t.Revert, maxTimer16)}, {"InOutWRte_RmpTms", ramp}}
	last := "InOutWRte_RmpTms"
	if grid, ok := b.raw("ChaGriSet"); ok && mem.gridCharge && told.low < 0 && t.Power < 0 && grid == 0 {
		last = "ChaGriSet"
		set = append(set, assign{"ChaGriSet", 1})
	}
	run, err := b.write("OutWRte", last, set...)
	if err != nil {
		return plan{}, err
	}
	on, err := b.write("StorCtl_Mod", "StorCtl_Mod", assign{"StorCtl_Mod", both})
	if err != nil {
		return plan{}, err
	}
	power := float64(told.high) * lsb
	switch {
	case told.low != told.high:
		power = to.ac
	case f.role == flex.RoleHybrid:
		power += to.ac - to.high
	}
	return plan{method: rates, writes: []flex.Register{run, on}, value: told, effective: watts(power),
		expects: append(expectAll(b, set, "OutWRte", "InWRte", "ChaGriSet"), expect{124, "StorCtl_Mod", both, true})}, nil
}

// planLimit caps AC power, by model 704 or 123. Rounded towards less; exactly
// 0 % only for a cap of 0, since inverters then go to standby for minutes.
func (f *found) planLimit(t flex.Target, im image, mem memory) (plan, error) {
	c, _ := controlOf(f.cap)
	b := im.of(c.model)
	base, ok := maxPower(im)
	pct, ok2 := b.lsb("WMaxLimPct")
	if !ok || !ok2 {
		return plan{}, fmt.Errorf("%d.WMaxLimPct, its scale factor or the maximum it refers to is no longer implemented: %w", c.model, flex.ErrUnsupported)
	}
	lsb := base * pct / full
	raw := min(steps(float64(t.Power), lsb), steps(full, pct), absent16-1)
	if raw == 0 && t.Power > 0 {
		raw = 1
	}
	top, adopted := ceiling(c, b, mem)
	if adopted {
		raw = min(raw, top)
	}
	p, err := limitWrites(c, b, t.Revert, raw, top, adopted)
	p.effective = watts(math.Floor(float64(raw) * lsb))
	if err == nil && !adopted && f.latches(c, b, raw) {
		var off flex.Register
		off, err = b.write(c.enable, c.enable, assign{c.enable, 0})
		p.writes = append([]flex.Register{off}, p.writes...)
	}
	return p, err
}

// latches tells whether a changed cap has to be switched off and on again: a
// Fronius takes a new WMaxLimPct, reads it back, and goes on obeying the one
// that stood there when the cap was enabled. Between the two writes the next
// rule in its list of priorities holds, which is why others' caps are not
// switched.
func (f *found) latches(c control, b block, raw int64) bool {
	was, _ := b.raw("WMaxLimPct")
	on, _ := b.raw(c.enable)
	return c.method == limit123 && f.maker("fronius") && on != 0 && was != raw
}

// maker compares who made the device.
func (f *found) maker(name string) bool {
	return strings.Contains(strings.ToLower(f.plate.Manufacturer), name)
}

// ceiling is the raw limit of others beneath which we control.
func ceiling(c control, b block, mem memory) (int64, bool) {
	if !mem.adopt {
		return 0, false
	}
	if mem.before != nil {
		b = mem.before.of(c.model)
	}
	return limited(c, b)
}

// limited tells whether a cap below 100 % is in force, and its raw value.
func limited(c control, b block) (int64, bool) {
	ena, _ := b.raw(c.enable)
	raw, ok := b.raw("WMaxLimPct")
	pct, ok2 := b.num("WMaxLimPct")
	return raw, ena != 0 && ok && !(ok2 && pct >= full)
}

// limitWrites spells a cap. Where it lies beneath the limit of others it must
// not lapse into none: model 704 reverts to theirs, model 123 never reverts.
func limitWrites(c control, b block, lease time.Duration, raw, top int64, adopted bool) (plan, error) {
	p := plan{method: c.method, value: setting{raw, raw}}
	if c.method == limit123 {
		secs := seconds(lease, maxTimer16)
		if adopted {
			secs = 0
		}
		ramp, _ := b.raw("WMaxLimPct_RmpTms")
		set := []assign{{"WMaxLimPct", raw}, {"WMaxLimPct_WinTms", 0}, {"WMaxLimPct_RvrtTms", secs}, {"WMaxLimPct_RmpTms", ramp}, {"WMaxLim_Ena", 1}}
		run, err := b.write("WMaxLimPct", "WMaxLim_Ena", set...)
		p.writes, p.expects = []flex.Register{run}, expectAll(b, set, "WMaxLimPct", "WMaxLim_Ena")
		return p, err
	}
	back, on := top, int64(1)
	if !adopted {
		on = 0
		back, _ = b.raw("WMaxLimPct")
		if ena, _ := b.raw(c.enable); ena != 0 {
			if v, ok := b.raw("WMaxLimPctRvrt"); ok {
				back = v
			}
		}
	}
	set := []assign{{"WMaxLimPct", raw}, {"WMaxLimPctRvrt", back}, {"WMaxLimPctEnaRvrt", on}, {"WMaxLimPctRvrtTms", seconds(lease, math.MaxUint32-1)}}
	run, err := b.write("WMaxLimPct", "WMaxLimPctRvrtTms", set...)
	if err != nil {
		return p, err
	}
	ena, err := b.write(c.enable, c.enable, assign{c.enable, 1})
	p.writes = []flex.Register{run, ena}
	p.expects = append(expectAll(b, set, "WMaxLimPct"), expect{c.model, c.enable, 1, true})
	return p, err
}
