package control

import "flexd/agent/flex"

// meterNoise is what the power of a site that is at rest wanders by.
const meterNoise flex.Watts = 50

// tolerance is how far measured power may be from what was asked and still
// count as given. It is the only one: a device is judged by it against what it
// was told, an asset against what it was asked, and `delivered`,
// `not_delivering` and `not_delivered` all follow from it.
//
// It is relative to what is asked (the asset's `tolerance`), and no finer than
// what can be told apart: grain is one step of the devices' setpoints. Half of
// what is asked is never tolerated: nothing given is not delivery, however
// small the request.
func (d Delivery) tolerance(asked, grain flex.Watts) flex.Watts {
	off := d.Power
	if off <= 0 {
		off = max(asked.Abs()*flex.Watts(d.Part)/flex.Watts(flex.Full), meterNoise, grain)
	}
	if asked != 0 {
		off = min(off, asked.Abs()/2)
	}
	return off
}

// acts tells whether a device that says it acts on a setpoint can be believed:
// none does at 0 W, unless it was told 0 W. A cap may well be met at 0 W.
func acts(order flex.Order, told flex.Watts, measured *flex.Watts) bool {
	if order != flex.OrderSet || told == 0 || measured == nil {
		return true
	}
	noise := min(meterNoise, told.Abs()/2)
	return *measured > noise && told > 0 || *measured < -noise && told < 0
}

// rule is the delivery rule of the assets that the device belongs to, the
// strictest where there are several.
func (s *slot) rule(asked flex.Watts) Delivery {
	var out Delivery
	for i := range s.c.cfg.Assets {
		a := &s.c.cfg.Assets[i]
		for _, id := range a.Devices {
			r := s.c.cfg.Delivery[a.ID].withDefaults()
			if id == s.id() && (out.Part == 0 || r.tolerance(asked, 0) < out.tolerance(asked, 0)) {
				out = r
			}
		}
	}
	return out.withDefaults()
}

// tolerance is that of the device for a power that it is told; mu is held.
func (s *slot) tolerance(told flex.Watts) flex.Watts {
	return s.rule(told).tolerance(told, s.plate.Step)
}
