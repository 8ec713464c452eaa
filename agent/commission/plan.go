package commission

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// Settings are how hard and how long a device is nudged.
type Settings struct {
	Percent int           // of the rating; 0 means 5
	Hold    time.Duration // of each nudge; 0 means a minute
	Revert  bool          // stop the refresh and wait for the fall-back
}

// Bounds of the settings. A nudge must stand out of the noise, and must not be
// felt by the site.
const (
	defaultPercent = 5
	mostPercent    = 20
	defaultHold    = time.Minute
	leastHold      = 15 * time.Second
	mostHold       = 5 * time.Minute
	baseFor        = 15 * time.Second // samples before the first and after the last nudge
	leastNudge     = flex.Watts(100)

	leastSoC = flex.Percent(1000)
	mostSoC  = flex.Percent(9500)
)

// checked fills defaults and refuses what is out of bounds.
func (s Settings) checked() (Settings, error) {
	if s.Percent == 0 {
		s.Percent = defaultPercent
	}
	if s.Hold == 0 {
		s.Hold = defaultHold
	}
	switch {
	case s.Percent < 1 || s.Percent > mostPercent:
		return s, flex.Refuse(flex.ReasonBadField, "nudges go from 1 to %d %% of the rating, not %d", mostPercent, s.Percent)
	case s.Hold < leastHold || s.Hold > mostHold:
		return s, flex.Refuse(flex.ReasonBadField, "a nudge lasts from %v to %v, not %v", leastHold, mostHold, s.Hold)
	}
	return s, nil
}

// StepName names a step in records and on the screen.
type StepName string

// The steps in their order. StepBase and StepAfter only watch.
const (
	StepBase     StepName = "base"
	StepUp       StepName = "up"       // more towards the grid
	StepDown     StepName = "down"     // less
	StepNegative StepName = "negative" // charging, where down does not charge yet
	StepRevert   StepName = "revert"
	StepAfter    StepName = "after"
)

// Step is one setpoint to hold and watch.
type Step struct {
	Name  StepName
	Order flex.Order // OrderNone: only watch
	Power flex.Watts
	Hold  time.Duration
}

// Rating is what nudges are a share of.
func Rating(p flex.Nameplate) flex.Watts { return max(p.MaxPower, p.MaxCharge, p.MaxDischarge) }

// Plan lays the steps out around the power that the device has now, so that a
// working site is moved by no more than the nudge.
func Plan(p flex.Nameplate, now flex.Reading, s Settings) ([]Step, error) {
	s, err := s.checked()
	if err != nil {
		return nil, err
	}
	rating := Rating(p)
	switch {
	case rating <= 0:
		return nil, flex.Refuse(flex.ReasonUncontrollable, "%s tells no rating: set max_power in the configuration", now.Device)
	case now.Power == nil:
		return nil, flex.Refuse(flex.ReasonUncontrollable, "%s measures no power: what a nudge does cannot be seen", now.Device)
	}
	nudge := max(leastNudge, rating*flex.Watts(s.Percent)/100, 2*p.Step)
	var steps []Step
	switch {
	case slices.Contains(p.Can, flex.CanSet):
		steps, err = aroundNow(p, now, nudge, s.Hold)
	case slices.Contains(p.Can, flex.CanCap):
		steps, err = beneathNow(*now.Power, now.Device, nudge, s.Hold)
	default:
		err = flex.Refuse(flex.ReasonUncontrollable, "%s cannot be controlled: there is nothing to commission", now.Device)
	}
	if err != nil {
		return nil, err
	}
	steps = append([]Step{{Name: StepBase, Order: flex.OrderNone, Hold: baseFor}}, steps...)
	if s.Revert {
		last := steps[1]
		last.Name = StepRevert
		steps = append(steps, last)
	}
	return append(steps, Step{Name: StepAfter, Order: flex.OrderNone, Hold: baseFor}), nil
}

// aroundNow is for a device that takes an absolute power.
func aroundNow(p flex.Nameplate, now flex.Reading, nudge flex.Watts, hold time.Duration) ([]Step, error) {
	if now.SoC != nil && (*now.SoC < leastSoC || *now.SoC > mostSoC) {
		return nil, flex.Refuse(flex.ReasonEnergyInsufficient, "%s is at %v: both directions need room, bring it between %v and %v", now.Device, *now.SoC, leastSoC, mostSoC)
	}
	hi, lo := Rating(p), -p.MaxCharge
	if p.MaxDischarge > 0 {
		hi = p.MaxDischarge
	}
	if p.Role == flex.RoleStorage && lo == 0 {
		lo = -Rating(p)
	}
	base := now.Power.Clamp(min(hi, lo+nudge), max(lo, hi-nudge))
	steps := []Step{{StepUp, flex.OrderSet, base + nudge, hold}, {StepDown, flex.OrderSet, max(lo, base-nudge), hold}}
	if steps[1].Power >= 0 && lo <= -nudge {
		steps = append(steps, Step{StepNegative, flex.OrderSet, -nudge, hold})
	}
	return steps, nil
}

// beneathNow is for a device that can only be capped: it has to generate.
func beneathNow(now flex.Watts, id flex.DeviceID, nudge flex.Watts, hold time.Duration) ([]Step, error) {
	if now < 3*nudge {
		return nil, flex.Refuse(flex.ReasonUncontrollable, "%s gives %v: a cap can be seen from %v on, try again when it generates more", id, now, 3*nudge)
	}
	return []Step{{StepDown, flex.OrderCap, now - 2*nudge, hold}, {StepUp, flex.OrderCap, now - nudge, hold}}, nil
}

// String is the step for people.
func (s Step) String() string {
	if s.Order == flex.OrderNone {
		return fmt.Sprintf("%s: watch for %v", s.Name, s.Hold)
	}
	return fmt.Sprintf("%s: %s %v for %v", s.Name, s.Order, s.Power, s.Hold)
}
