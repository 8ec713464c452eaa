package sunspec

import (
	"errors"
	"math"
	"time"
)

// A hybrid's target is its AC power, and model 124 sets its battery: what the
// battery does now, and what the AC power lacks. So all turns on what the
// battery does now. That is, in this order, what the device measures of it,
// what its panels leave of the AC power, what our own rates hold it at, what
// the sun gave a moment ago, and nothing where it says that it rests. Where
// none of these tells, it is only known to lie between bounds, and is bound
// more closely from the side on which the AC power is off, by as much as it is
// off: so the power never passes the target and never goes away from it,
// wherever the battery was. The bounds meet when the AC power answers to one.

const (
	// settle is how long after a change a power reading tells nothing of it yet;
	// an estimate from one would chase the battery's own ramp. It is a little
	// less than the time to the second sample after.
	settle = 1900 * time.Millisecond
	// settleMost is how long a power may be on its way.
	settleMost = time.Minute
	// sunAge is how long what the sun gave under our control tells what it gives.
	sunAge = 15 * time.Second
	// feltOut is how long a battery takes at most, as a rule, whose own flow has
	// to be felt out.
	feltOut = 30 * time.Second
	// apart is how far apart two samples must be to tell a movement.
	apart = 500 * time.Millisecond
)

// errNoAC: without the AC power nothing can be told of the battery's part.
var errNoAC = errors.New("the AC power is not implemented at the moment: the battery's part of the target cannot be told")

// bounds are what a battery is to be held between, W; both are one where it is
// told a power. ac is what the AC power is then to be.
type bounds struct{ low, high, ac float64 }

// sample is what one image tells of a hybrid's flows, in W.
type sample struct {
	at       time.Time
	ac, want float64 // the AC power now, and its target
	step     float64 // the smallest that the device can be told or tells
	noise    float64 // differences that mean nothing
	most     float64 // that the battery can be told, either way
	battery  float64 // where measured
	measured bool
	panels   float64 // where measured
	seen     bool
	rests    bool    // the battery says that it does nothing
	may      bounds  // where the battery can be at all
	stands   *bounds // what rates in force hold it between; nil: nothing
}

// flow is what a driver knows of the power flows of a hybrid.
type flow struct {
	low, high float64 // bounds as last told
	sun       float64
	sunAt     time.Time // zero: not known
	moved     float64   // by how much a bound was moved last: the lower one up, or the upper one down
	from      float64   // the AC power when it was
	ac        float64   // of the last sample
	acAt      time.Time
	moving    bool // the AC power came nearer to the target from one sample to the next
}

// next works out what the battery is to be told. told is when this process last
// told it something else; zero: nothing of this process's stands there.
// resumed: an order of a process before it may.
func (fl *flow) next(s sample, told time.Time, resumed bool) bounds {
	fl.look(s)
	ours, held := !told.IsZero(), !told.IsZero() && fl.low == fl.high
	settled := ours && fl.settled(s.at, told)
	if ours && !held && settled {
		held = fl.answer(s)
	}
	switch {
	case s.measured && (!held || settled || math.Abs(s.battery-fl.high) <= s.noise):
		fl.know(s, s.ac-s.battery)
	case held && settled && s.rests && math.Abs(fl.high) > s.noise: // empty or full: it cannot follow
		fl.know(s, s.ac)
	case held && settled && fl.plausible(s):
		fl.know(s, s.ac-fl.high)
	case s.seen && held && settled: // it cannot be where it was told to be
		fl.know(s, s.panels)
	case ours, resumed && s.stands != nil, s.at.Sub(fl.sunAt) <= sunAge:
	case s.rests:
		fl.know(s, s.ac)
	default:
		fl.sunAt = time.Time{}
	}
	switch known := !fl.sunAt.IsZero() && (held || !ours || s.measured); {
	case known && !(resumed && s.stands != nil && !ours && !s.measured):
		b := max(-s.most, min(s.most, s.want-fl.sun))
		fl.low, fl.high, fl.moved = b, b, 0
		return bounds{b, b, b + fl.sun}
	case !ours && resumed && s.stands != nil: // as it stands, until it shows what it does
		fl.low, fl.high, fl.moved = s.stands.low, s.stands.high, 0
	case !ours:
		fl.low, fl.high = s.may.low, s.may.high
		fl.bind(s)
	case settled:
		fl.bind(s)
	}
	return bounds{fl.low, fl.high, s.want}
}

// standing is what a target stands for, by what this process told or by what
// stands in the device.
func (fl *flow) standing(want float64, found *bounds) *bounds {
	b := bounds{fl.low, fl.high, want}
	switch {
	case !fl.sunAt.IsZero() && fl.low == fl.high:
		b.ac = fl.high + fl.sun
	case fl.acAt.IsZero() && found != nil:
		b.low, b.high = found.low, found.high
	}
	return &b
}

// look takes a sample.
func (fl *flow) look(s sample) {
	if s.at.Sub(fl.acAt) < apart {
		return
	}
	fl.moving = !fl.acAt.IsZero() && math.Abs(s.want-fl.ac)-math.Abs(s.want-s.ac) > s.step
	fl.ac, fl.acAt = s.ac, s.at
}

// settled tells whether a sample taken at an instant shows what was told before.
func (fl *flow) settled(at, told time.Time) bool {
	age := at.Sub(told)
	return age >= settle && !fl.moving || age >= settleMost
}

// know takes what the panels give. What the inverter itself takes may bring it
// a little below zero.
func (fl *flow) know(s sample, sun float64) {
	fl.sun, fl.sunAt = max(-0.1*s.most, sun), s.at
}

// plausible tells whether the battery can be where our rates hold it: panels
// that would take power speak against it, and what they give, where measured.
func (fl *flow) plausible(s sample) bool {
	if s.ac-fl.high < -s.noise-math.Abs(fl.high)/10 {
		return false
	}
	return !s.seen || math.Abs(s.ac-fl.high-s.panels) <= s.noise+(math.Abs(s.panels)+math.Abs(fl.high))/10
}

// bind narrows the bounds from the side on which the AC power is off.
func (fl *flow) bind(s sample) {
	off := s.want - s.ac
	fl.moved, fl.from = 0, s.ac
	switch {
	case off >= s.step:
		fl.moved, fl.low = off, min(fl.low+off, s.most)
		fl.high = max(fl.high, fl.low)
	case off <= -s.step:
		fl.moved, fl.high = off, max(fl.high+off, -s.most)
		fl.low = min(fl.low, fl.high)
	}
}

// answer tells whether the AC power followed the bound that was moved last, so
// that the battery is there.
func (fl *flow) answer(s sample) bool {
	if math.Abs(fl.moved) <= 3*s.noise || math.Abs(s.ac-fl.from-fl.moved) > s.noise {
		return false
	}
	if fl.moved > 0 {
		fl.high = fl.low
	} else {
		fl.low = fl.high
	}
	return true
}
