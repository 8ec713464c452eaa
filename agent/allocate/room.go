package allocate

import (
	"slices"
	"time"

	"flexd/agent/flex"
)

// The ages beyond which a reading is not trusted: for a new or larger target
// of a device, and for giving credit by the site meter.
const (
	staleAfter = 30 * time.Second
	meterAfter = 5 * time.Second
)

// slack keeps a battery that has reached its bound from starting again at
// once: 1 % of charge above the reserve, or below full.
const slack flex.Percent = 100

// limit is one reason why a device gives less than it might.
type limit struct {
	reason flex.Reason
	who    string
	sign   int // it bounds export (+1), import (-1) or both (0)
	text   note
}

// claim is one dispatch's share of the asset that a device serves.
type claim struct {
	id    flex.InstructionID
	share flex.Watts
	early bool // its window has not begun: nothing can be missing yet
}

// slot is one device while the plan is made.
type slot struct {
	dev      *Device
	observe  bool
	blocked  *limit // held or foreign: no control at all
	offline  bool
	use      flex.Use
	before   map[flex.InstructionID]flex.Watts // of a generator that is turned down
	wanted   bool                              // an asset of it is dispatched
	set      bool                              // want counts
	want     flex.Watts                        // AC target so far
	capped   bool
	cap      flex.Watts
	claims   []claim
	until    time.Time
	whys     []why
	lo, hi   flex.Watts // room, both may be 0
	limits   []limit
	measured *flex.Watts // fresh power
}

func (s *slot) why(who string, power flex.Watts, format string, args ...arg) {
	s.whys = append(s.whys, why{who: who, text: say(format, args...), power: power})
}

// storage tells whether the device takes an absolute power.
func (s *slot) storage() bool {
	return (s.dev.Role == flex.RoleStorage || s.dev.Role == flex.RoleHybrid) && s.can(flex.CanSet)
}

// pv tells whether the device takes a cap.
func (s *slot) pv() bool { return s.dev.Role == flex.RolePV && s.can(flex.CanCap) }

// can trusts the nameplate's list when it has one.
func (s *slot) can(c flex.Capability) bool {
	return len(s.dev.Plate.Can) == 0 || slices.Contains(s.dev.Plate.Can, c)
}

// running is the target that the device is proven to hold now, or 0.
func (s *slot) running() flex.Watts {
	if s.dev.Target.Order == flex.OrderSet {
		return s.dev.Target.Power
	}
	return 0
}

// room finds how far a storage or hybrid may be driven, and why no further.
func (s *slot) room(now time.Time) {
	d := s.dev
	s.lo, s.hi = -rating(d.Plate.MaxCharge, d), rating(d.Plate.MaxDischarge, d)
	if d.Role == flex.RoleHybrid {
		s.hi = rating(d.Plate.MaxPower, d) // the AC side carries PV and battery together
	}
	if s.lo == 0 && s.hi == 0 {
		s.limits = append(s.limits, limit{flex.ReasonUnsupported, "rating", 0, say("the rating of %s is not known", word(d.ID))})
		return
	}
	s.limits = append(s.limits, limit{flex.ReasonRating, "rating", 0, say("%s is rated %v to %v", word(d.ID), watts(s.lo), watts(s.hi))})
	if d.Role == flex.RoleHybrid && !d.GridCharge {
		s.lo = 0
		s.limits = append(s.limits, limit{flex.ReasonUncontrollable, "rating", -1, say("%s may not charge from the grid (grid_charge is off)", word(d.ID))})
	}
	s.roomByCap()
	s.roomByCharge()
	s.roomByOwner()
	s.roomByAge(now)
}

// rating is the smallest of what is known of a device's power, 0 when nothing is.
func rating(own flex.Watts, d *Device) flex.Watts {
	best := own
	if d.Plate.MaxPower > 0 && (best == 0 || d.Plate.MaxPower < best) {
		best = d.Plate.MaxPower
	}
	if d.Reading != nil && d.Reading.MaxPower != nil {
		if now := *d.Reading.MaxPower; now > 0 && (best == 0 || now < best) {
			best = now
		}
	}
	return best
}

// roomByCap keeps a setpoint within a cap on AC power that was found in force:
// a setpoint leaves the cap alone, so what is beyond it would never flow.
func (s *slot) roomByCap() {
	r := s.dev.Reading
	if r == nil || r.Limit == nil || *r.Limit >= s.hi {
		return
	}
	s.hi = max(0, *r.Limit)
	s.limits = append(s.limits, limit{flex.ReasonLimitSetByOthers, "cap_found", +1,
		say("%s is capped at %v by others", word(s.dev.ID), watts(s.hi))})
}

// roomByCharge keeps the reserve and does not charge what is full.
func (s *slot) roomByCharge() {
	d := s.dev
	if d.Reading == nil || d.Reading.SoC == nil {
		return
	}
	soc, reserve, full := *d.Reading.SoC, d.Reserve(s.use), d.Full()
	floor := reserve
	if s.running() <= 0 {
		floor = min(flex.Full, floor+slack)
	}
	if s.running() >= 0 {
		full -= slack
	}
	if soc <= reserve || soc < floor {
		s.hi = min(s.hi, s.production())
		s.limits = append(s.limits, limit{flex.ReasonEnergyInsufficient, "reserve", +1,
			say("%s is at %v, its reserve is %v", word(d.ID), percent(soc), percent(reserve))})
	}
	if soc >= d.Full() || soc > full {
		s.lo = 0
		s.limits = append(s.limits, limit{flex.ReasonEnergyInsufficient, "energy", -1,
			say("%s is full at %v", word(d.ID), percent(soc))})
	}
}

// production is what a hybrid gives by itself, without its battery.
func (s *slot) production() flex.Watts {
	r := s.dev.Reading
	if s.dev.Role != flex.RoleHybrid || r.Power == nil || r.Battery == nil {
		return 0
	}
	return max(0, *r.Power-*r.Battery)
}

// roomByAge allows nothing new or larger on old or missing measurements.
func (s *slot) roomByAge(now time.Time) {
	r := s.dev.Reading
	var text note
	switch needSoC := s.dev.Reserve(s.use) > 0 || s.dev.MaxSoC > 0 || slices.Contains(s.dev.Plate.Can, flex.CanSoC); {
	case r == nil || !r.Fresh(now, staleAfter):
		text = say("%s was last read more than %v ago: no new or larger target", word(s.dev.ID), span(staleAfter))
	case r.Power == nil:
		text = say("%s does not tell its power: no new or larger target", word(s.dev.ID))
	case needSoC && r.SoC == nil:
		text = say("%s does not tell its state of charge: no new or larger target", word(s.dev.ID))
	default:
		return
	}
	s.lo, s.hi = max(s.lo, min(0, s.running())), min(s.hi, max(0, s.running()))
	s.limits = append(s.limits, limit{flex.ReasonDeviceUnavailable, "stale", 0, text})
}

// weight says how much of a split the device should take: the energy that it
// can still give or take. Shared so, batteries run dry together, and together
// they hold the power for as long as their energy lasts; by headroom alone one
// would drop out early and leave the others short. It goes in steps, so that
// the split does not wander with every reading.
func (s *slot) weight(export bool) uint64 {
	left := flex.Full / 2 // when not known
	if r := s.dev.Reading; r != nil && r.SoC != nil {
		left = s.dev.Full() - *r.SoC
		if export {
			left = *r.SoC - s.dev.Reserve(s.use)
		}
	}
	if day := s.dev.Owner.Left; day != nil && export && s.use != flex.UseEmergency {
		left = min(left, flex.Percent(float64(max(0, *day))/float64(s.size())*float64(flex.Full)))
	}
	const step = 250 // 2.5 %
	return (uint64(max(0, left)/step) + 1) * s.size()
}

// sizeHours stands for the energy of a battery that does not tell it: so many
// hours of its rating.
const sizeHours = 2

// size is the device's energy, Wh.
func (s *slot) size() uint64 {
	if e := s.dev.Plate.Energy; e > 0 {
		return uint64(min(e, flex.WattHours(flex.MaxPower)))
	}
	p := s.dev.Plate
	return uint64(max(1, sizeHours*max(p.MaxPower, p.MaxCharge, p.MaxDischarge)))
}
