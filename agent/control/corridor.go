package control

import (
	"time"

	"flexd/agent/flex"
)

// How a device that does the contrary of what it was told is known from one
// that is on its way: so many readings in a row over so long. Where what is
// measured follows something else as well (the sun, the house) it takes longer.
const (
	contraryReadings = 3
	contraryFor      = 1500 * time.Millisecond
	contraryAtMost   = 3 * time.Second // two readings suffice where they lie so far apart
	contraryLoosely  = 3500 * time.Millisecond
)

// corridor is where the power of a device may be: between what it did before
// it was told, what it is told, and 0. What lies outside is no ramp, but the
// opposite, or more than was told.
type corridor struct {
	told   span // more than a point where the device follows something else
	seen   span // as far out as it may still be on its way
	nearer time.Time
	since  time.Time // outside since
	n      int       // so many readings in a row
	below  bool      // on that side; what swings follows something else
}

// span is a range of power.
type span struct{ lo, hi flex.Watts }

func (a span) with(b span) span { return span{min(a.lo, b.lo), max(a.hi, b.hi)} }

// margins are how far outside counts, by side.
type margins struct{ opposite, over flex.Watts }

// marginsOf never condemn what may be the noise, the losses or the own needs of
// a device: rating is its largest, tolerance as for delivery.
func marginsOf(told, rating, tolerance, grain flex.Watts) margins {
	size := rating / 50
	if told == 0 {
		return margins{max(2*grain, 2*meterNoise, size), max(2*grain, 2*meterNoise, size)}
	}
	return margins{
		opposite: max(2*grain, 2*meterNoise, min(size, told.Abs()/2)),
		over:     max(2*tolerance, told.Abs()/4, min(size, told.Abs())),
	}
}

// aim gives the corridor of a new setpoint: from anywhere between what was
// measured before and what was told before.
func (c *corridor) aim(told, before span, at time.Time) {
	c.seen = c.seen.with(c.told).with(before).with(told).with(span{})
	c.told, c.nearer = told, at
	c.since, c.n = time.Time{}, 0
}

// follow moves what is told with what the device follows by itself.
func (c *corridor) follow(told span) {
	c.told, c.seen = told, c.seen.with(told)
}

// excuse takes a reading that is not the device's to answer for: it is on its
// way from there.
func (c *corridor) excuse(p flex.Watts, at time.Time) {
	c.seen, c.nearer = c.seen.with(span{p, p}), at
	c.since, c.n = time.Time{}, 0
}

// sees takes a reading and tells whether the device is outside, and whether
// that has lasted. settle is how long it may make no progress.
func (c *corridor) sees(p flex.Watts, at time.Time, m margins, settle, lasting time.Duration) (outside, proven bool) {
	c.narrow(p, at, settle)
	lo, hi := m.opposite, m.opposite
	if c.told.hi > 0 {
		hi = m.over
	}
	if c.told.lo < 0 {
		lo = m.over
	}
	if p >= c.seen.lo-lo && p <= c.seen.hi+hi {
		c.since, c.n = time.Time{}, 0
		return false, false
	}
	below := p < c.seen.lo
	if c.n == 0 || below != c.below {
		c.since, c.n, c.below = at, 0, below
	}
	c.n++
	long := at.Sub(c.since)
	return true, c.n >= contraryReadings && long >= lasting || c.n >= contraryReadings-1 && long >= max(lasting, contraryAtMost)
}

// narrow takes away what the device has left behind, and all of it once it has
// made no progress for the time to settle.
func (c *corridor) narrow(p flex.Watts, at time.Time, settle time.Duration) {
	end := c.told.with(span{})
	now := span{min(end.lo, max(c.seen.lo, p)), max(end.hi, min(c.seen.hi, p))}
	if now.lo-c.seen.lo >= meterNoise || c.seen.hi-now.hi >= meterNoise {
		c.seen, c.nearer = now, at
	}
	if at.Sub(c.nearer) > settle {
		c.seen = end
	}
}
