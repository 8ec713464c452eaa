package regmap

import (
	"math"
	"time"
)

// ramping is how long after a changed order a battery may be on its way: AC
// and battery power are read one after the other, so that their difference is
// off by what it moves in between.
const ramping = 15 * time.Second

// moving is a change of the battery's power between two samples that counts.
const moving = 30

// sample is the battery's power as read last, and what lay between it and the
// AC power when the battery stood.
type sample struct {
	battery, apart float64
	known          bool
	changed        time.Time // of the order
}

// noteSample keeps what lies between AC power and the battery's, the sun, from
// a fresh reading of both. While the battery follows a changed order it is
// taken to be what it was before.
func (d *Device) noteSample(fresh image) {
	ac, ok := d.sum(fresh, d.m.Measure.Power)
	battery, ok2 := d.sum(fresh, d.m.Measure.Battery)
	if !ok || !ok2 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.sample
	follows := s.known && math.Abs(battery-s.battery) > moving && fresh.at.Sub(s.changed) < ramping
	s.battery = battery
	if !follows {
		s.apart, s.known = math.Max(0, ac-battery), true
	}
}

// apart is what lies between AC power and the battery's, which are both known.
func (d *Device) apart(ac, battery float64) float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.sample.known {
		return math.Max(0, ac-battery)
	}
	return d.sample.apart
}
