package allocate

import "flexd/agent/flex"

// Owner is what the owner of a battery allows, within what the device itself
// and the site allow: little for everyday, more for a paid event, most in an
// emergency of the grid.
type Owner struct {
	Normal, Event, Emergency Bounds
	// Left is what may still be discharged today outside emergencies, Wh; nil:
	// no bound.
	Left *flex.WattHours
}

// Bounds are the owner's for one use. Powers are magnitudes of the battery's
// own power; nil: no bound.
type Bounds struct {
	MaxCharge, MaxDischarge *flex.Watts
	Reserve                 flex.Percent // not discharged below
}

// For gives the bounds of a use.
func (o Owner) For(use flex.Use) Bounds {
	switch use {
	case flex.UseNormal:
		return o.Normal
	case flex.UseEmergency:
		return o.Emergency
	case flex.UseEvent:
	}
	return o.Event
}

// Reserve is the charge that is kept in a use: the device's or the owner's.
func (d Device) Reserve(use flex.Use) flex.Percent {
	return max(d.ReserveSoC, d.Owner.For(use).Reserve)
}

// Full is the charge above which the device is not charged.
func (d Device) Full() flex.Percent {
	if d.MaxSoC > 0 {
		return d.MaxSoC
	}
	return flex.Full
}

// uses finds what every device is used for now: the widest use of those that
// want it.
func (w *work) uses() {
	for i := range w.in.Assets {
		a := &w.in.Assets[i]
		widest := flex.UseNormal
		ds, _ := w.of(a)
		for _, d := range ds {
			widest = max(widest, d.Use)
		}
		for _, id := range a.Devices {
			if s := w.byID[id]; s != nil {
				s.use = widest
			}
		}
	}
}

// roomByOwner keeps the powers and the day's energy that the owner allows.
func (s *slot) roomByOwner() {
	d := s.dev
	b := d.Owner.For(s.use)
	if p := b.MaxDischarge; p != nil && *p+s.production() < s.hi {
		s.hi = *p + s.production()
		s.limits = append(s.limits, limit{flex.ReasonOwnerLimit, "owner", +1,
			say("the owner of %s allows %v of discharging %v", word(d.ID), watts(*p), use(s.use))})
	}
	if p := b.MaxCharge; p != nil && *p < -s.lo {
		s.lo = -*p
		s.limits = append(s.limits, limit{flex.ReasonOwnerLimit, "owner", -1,
			say("the owner of %s allows %v of charging %v", word(d.ID), watts(*p), use(s.use))})
	}
	if left := d.Owner.Left; left != nil && *left <= 0 && s.use != flex.UseEmergency {
		s.hi = min(s.hi, s.production())
		s.limits = append(s.limits, limit{flex.ReasonOwnerLimit, "owner", +1,
			say("%s has been discharged as often today as its owner allows", word(d.ID))})
	}
}
