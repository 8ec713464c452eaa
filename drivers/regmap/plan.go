package regmap

import (
	"fmt"
	"math"
	"slices"
	"time"

	"flexd/agent/flex"
)

// request is one write on the wire.
type request struct {
	names []string
	words [][]uint16 // by name
	echo  bool       // it can be read back
	wait  time.Duration
	// lasting: the registers are spared, or part of arming, and are not written
	// while they hold the value already.
	lasting bool
	// optional: a refusal by the device does not end the sequence, and what
	// does not stand afterwards is no failure.
	optional bool
}

// plan is what an order comes to.
type plan struct {
	method    string
	requests  []request
	effective flex.Watts
}

// method picks the way of control for an order.
func (d *Device) method(o flex.Order) (string, *Method, error) {
	name := string(o)
	me := d.m.Control[name]
	if me == nil || o != flex.OrderSet && o != flex.OrderCap {
		return "", nil, fmt.Errorf("device %s: map %s has no sequence for %q: %w", d.cfg.ID, d.m.Name, o, flex.ErrUnsupported)
	}
	return name, me, nil
}

// plan works out the requests for a target, from an image that is fresh.
func (d *Device) plan(t flex.Target, im image) (plan, error) {
	name, me, err := d.method(t.Order)
	if err != nil {
		return plan{}, err
	}
	if t.Order == flex.OrderCap && t.Power < 0 {
		return plan{}, fmt.Errorf("device %s: a cap of %v: %w", d.cfg.ID, t.Power, flex.ErrUnsupported)
	}
	w, err := d.wish(me, t, im)
	if err != nil {
		return plan{}, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	if why := d.against(me, w, im); why != nil {
		return plan{}, fmt.Errorf("device %s: %w", d.cfg.ID, why)
	}
	p := plan{method: name, effective: t.Power}
	told := math.NaN()
	for _, seq := range []struct {
		steps []Step
		once  bool
	}{{me.Arm, true}, {me.Write, false}, {me.Engage, true}} {
		for _, s := range seq.steps {
			if !w.calls(s.When) || len(s.If) > 0 && !d.all(im, s.If) || !d.permits(s) || d.forgot(s) {
				continue
			}
			r, stands, err := d.request(s, w, im)
			if err != nil {
				return plan{}, fmt.Errorf("device %s: %w", d.cfg.ID, err)
			}
			r.optional = s.Optional
			r.lasting = (seq.once || restoring(s)) && r.echo || d.spares(me, s)
			p.requests = append(p.requests, r)
			if !math.IsNaN(stands) {
				told = stands
			}
		}
	}
	if !math.IsNaN(told) && me.Of != ofGrid {
		p.effective = flex.Watts(math.Round(told + w.apart))
	}
	return p, nil
}

// against tells what bars an order of this power: the owner's consent that is
// missing, or what the map says, in its words.
func (d *Device) against(me *Method, w wish, im image) *flex.Refusal {
	if w.calls(whenGrid) && d.m.asksConsent() && !d.cfg.GridCharge {
		return flex.Refuse(flex.ReasonUncontrollable, "%s may not charge from the grid (grid_charge is off)", d.cfg.ID)
	}
	for _, bar := range me.Unless {
		if w.calls(bar.When) && d.all(im, bar.If) {
			return flex.Refuse(flex.ReasonUncontrollable, "%s: %s", d.cfg.ID, bar.Hint)
		}
	}
	return nil
}

// restoring tells whether a step puts back nothing but what was found.
func restoring(s Step) bool {
	return !slices.ContainsFunc(s.Values, func(o operand) bool { return o.word != wordFound })
}

// forgot tells that a step restores what was found and nobody knows it: this
// process did not find it. It is restored by the release, from the journal.
func (d *Device) forgot(s Step) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, n := range s.Points {
		if s.Values[i].word == wordFound && d.base[n] == nil {
			return true
		}
	}
	return false
}

// wish is what a method is to bring about, in its own quantity.
type wish struct {
	power  float64 // W, + towards the grid or discharging
	ac     float64 // the target as it was given
	apart  float64 // what lies between it and the AC power, W
	sun    float64 // what the PV gives, W
	sunny  bool    // that is known
	rating float64 // of its direction, W; 0: not known
	lease  time.Duration
}

// calls tells whether a step is for this power.
func (w wish) calls(of when) bool {
	switch of {
	case whenCharge:
		return w.power < 0
	case whenDischarge:
		return w.power > 0
	case whenIdle:
		return w.power == 0
	case whenGrid:
		return w.power < 0 && -w.power > w.sun+1
	case whenSun:
		return w.power < 0 && -w.power <= w.sun+1
	case whenAlways:
	}
	return true
}

// wish turns an AC target into the method's quantity, within its limits.
func (d *Device) wish(me *Method, t flex.Target, im image) (wish, error) {
	w := wish{power: float64(t.Power), ac: float64(t.Power), lease: t.Revert}
	w.sun, w.sunny = d.sunshine(im)
	ms := d.m.Measure
	switch {
	case me.Of == ofBattery && d.role() == flex.RoleHybrid, me.Of == ofInverter && d.role() == flex.RoleStorage:
		ac, ok := d.sum(im, ms.Power)
		bat, ok2 := d.sum(im, ms.Battery)
		if !ok || !ok2 {
			return w, fmt.Errorf("AC power and battery power are not both known at the moment: the battery's part cannot be told")
		}
		w.apart = d.apart(ac, bat)
		w.sun = w.apart
		if me.Of == ofInverter {
			w.apart = -w.apart
		}
		w.power -= w.apart
	case me.Of == ofGrid:
		grid, ok := d.sum(im, ms.Grid)
		own, ok2 := d.sum(im, ms.Power)
		if !ok || !ok2 {
			return w, fmt.Errorf("the exchange with the grid and the own power are not both known at the moment: the setpoint cannot be told")
		}
		w.power = grid + w.power - own
	}
	if me.Harvest != nil {
		d.noteHarvest(im)
		var err error
		if w, err = d.beside(me.Harvest, w); err != nil {
			return w, err
		}
	}
	return d.bounded(me, t, w, im), nil
}

// sunshine is what the PV gives now, on the AC side where both sides are told.
func (d *Device) sunshine(im image) (float64, bool) {
	ms := d.m.Measure
	ac, ok := d.sum(im, ms.Power)
	bat, ok2 := d.sum(im, ms.Battery)
	pv, ok3 := d.sum(im, ms.PV)
	switch {
	case ok && ok2:
		return math.Max(0, ac-bat), true
	case ok3:
		return math.Max(0, pv), true
	}
	return 0, false
}

// bounded keeps a wish within what its direction allows.
func (d *Device) bounded(me *Method, t flex.Target, w wish, im image) wish {
	max, rating := me.Max.Discharge, d.m.Rating.Discharge
	if w.power < 0 {
		max, rating = me.Max.Charge, d.m.Rating.Charge
	}
	if t.Order == flex.OrderCap || (me.Of == ofAC || me.Of == ofInverter) && len(rating) == 0 {
		max, rating = me.Max.Power, d.m.Rating.Power
	}
	w.rating, _ = d.total(im, rating)
	if most, ok := d.least(im, max); ok {
		w.power = math.Copysign(math.Min(math.Abs(w.power), most), w.power)
	}
	return w
}

// request encodes one step; stands is the power it stands for, NaN when none.
func (d *Device) request(s Step, w wish, im image) (r request, stands float64, err error) {
	r = request{names: s.Points, echo: s.Echo == echoEqual, wait: time.Duration(s.Wait)}
	stands = math.NaN()
	for i, name := range s.Points {
		if s.Values[i].word == wordFound {
			d.mu.Lock()
			r.words = append(r.words, d.base[name])
			d.mu.Unlock()
			continue
		}
		v, err := d.operand(s.Values[i], w, im)
		if err != nil {
			return r, stands, fmt.Errorf("%s: %w", name, err)
		}
		words, got, err := d.encode(im, name, v)
		if p := d.m.Points[name]; err == nil && p.Avoid != nil && s.Values[i].moves() && got == float64(*p.Avoid) {
			lsb, _ := d.lsb(im, p) // known, or nothing was encoded
			words, got, err = d.encode(im, name, got-math.Copysign(lsb, w.ac))
		}
		if err != nil {
			return r, stands, err
		}
		r.words = append(r.words, words)
		if power, ok := s.Values[i].means(got, w); ok {
			stands = power
		}
	}
	return r, stands, nil
}

// operand is the value to write.
func (d *Device) operand(o operand, w wish, im image) (float64, error) {
	switch o.word {
	case wordPower:
		return w.power, nil
	case wordInverse:
		return -w.power, nil
	case wordCharge:
		return math.Max(0, -w.power), nil
	case wordDischarge:
		return math.Max(0, w.power), nil
	case wordMagnitude:
		return math.Abs(w.power), nil
	case wordSeconds:
		return math.Ceil(w.lease.Seconds()), nil
	case wordMinutes:
		return math.Ceil(w.lease.Minutes()), nil
	case wordPercent, wordMinus:
		if w.rating <= 0 {
			return 0, fmt.Errorf("the rating that per cent refer to is not known: %w", flex.ErrUnsupported)
		}
		pct := math.Min(100, math.Abs(w.power)/w.rating*100)
		if o.word == wordMinus {
			pct = -pct
		}
		return pct, nil
	}
	v, ok := d.resolve(im, o)
	if !ok {
		return 0, fmt.Errorf("the value of %s is not known at the moment", o.point)
	}
	return v, nil
}

// means turns a value that was written back into the power it stands for.
func (o operand) means(v float64, w wish) (float64, bool) {
	sign := 1.0
	if w.power < 0 {
		sign = -1
	}
	switch o.word {
	case wordPower:
		return v, true
	case wordInverse:
		return -v, true
	case wordCharge:
		return -v, w.power < 0
	case wordDischarge:
		return v, w.power >= 0
	case wordMagnitude:
		return v * sign, true
	case wordPercent:
		return v / 100 * w.rating * sign, true
	}
	return 0, false
}
