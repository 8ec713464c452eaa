package allocate

import (
	"time"

	"flexd/agent/flex"
)

// AlarmMeterSign says that the meter moved against a step of the targets.
const AlarmMeterSign = "meter_sign"

// The watch on the meter's sign: steps below stepLeast drown in the house;
// the meter is judged between stepSettle and stepGiveUp after the step.
const (
	stepLeast  = flex.Kilowatt
	stepSettle = 2 * time.Second
	stepGiveUp = 30 * time.Second
)

// clipGrain rounds what is taken off for the site's limit, so that the noise
// of the house does not become a new setpoint every second.
const clipGrain flex.Watts = 50

// limitSite keeps the site within its limits: first what is really written,
// then, on top of it, what is only observed.
func (w *work) limitSite() {
	w.watchMeter()
	for _, observed := range []bool{false, true} {
		site := w.in.Site
		if lo, _, how := w.exchange(observed); site.ImportLimit > 0 && lo < -site.ImportLimit {
			left := w.clip(-site.ImportLimit-lo, -1, observed, how)
			w.uncap(left, observed, how)
		}
		// export after import: less charging is more export
		if _, hi, how := w.exchange(observed); site.ExportLimit > 0 && hi > site.ExportLimit {
			w.clip(hi-site.ExportLimit, +1, observed, how)
		}
	}
	w.noteStep()
}

// exchange predicts the grid exchange with the targets in force, as the range
// that must lie within the limits.
func (w *work) exchange(observed bool) (lo, hi flex.Watts, how string) {
	if m, ok := w.meter(); ok && !w.state.StaticLimit {
		if x, ok := w.byMeter(m, observed); ok {
			return x, x, "by the meter"
		}
	}
	lo, hi = w.byRatings(observed)
	return lo, hi, "without a meter"
}

// meter is the fresh reading of the site's meter.
func (w *work) meter() (flex.Watts, bool) {
	m := w.in.Site.Meter
	if m == nil || m.Power == nil || !m.Fresh(w.in.Now, meterAfter) {
		return 0, false
	}
	return *m.Power, true
}

// byMeter replaces, in what the meter shows, the measured power of every
// device that has a target by that target.
func (w *work) byMeter(meter flex.Watts, observed bool) (flex.Watts, bool) {
	x := meter
	for i := range w.slots {
		s := &w.slots[i]
		if s.observe && !observed || !s.acts() || s.offline {
			continue // a device that does not answer keeps what the meter shows
		}
		if s.measured == nil {
			if s.set && s.want != s.running() {
				return 0, false // no telling what the step will do
			}
			continue
		}
		switch {
		case s.set:
			x += s.want - *s.measured
		case s.capped:
			x += min(0, s.cap-*s.measured)
		}
	}
	return x, true
}

// byRatings gives no credit to the load: all targets, and every PV that is
// not capped at its rating.
func (w *work) byRatings(observed bool) (lo, hi flex.Watts) {
	for i := range w.slots {
		s := &w.slots[i]
		acts := s.acts() && (!s.observe || observed)
		kept := s.offline && acts
		switch {
		case acts && s.set:
			lo, hi = lo+min(0, s.want), hi+s.want
		case kept && s.dev.Target.Order == flex.OrderSet:
			lo, hi = lo+min(0, s.dev.Target.Power), hi+max(0, s.dev.Target.Power)
		case acts && s.capped:
			hi += min(s.cap, pvRating(s.dev))
		case s.dev.Role == flex.RolePV || s.dev.Role == flex.RoleHybrid:
			hi += pvRating(s.dev)
		}
	}
	return lo, hi
}

// pvRating counts a generator of unknown size as larger than any limit.
func pvRating(d *Device) flex.Watts {
	if r := rating(d.Plate.MaxPower, d); r > 0 {
		return r
	}
	return flex.MaxPower
}

// acts tells whether the slot's target will be in force.
func (s *slot) acts() bool {
	return s.wanted && s.blocked == nil && (s.set || s.capped || s.offline)
}

// clip takes excess (> 0) off the targets of the given sign, in proportion
// and never past zero: keeping the site within its limits beyond that is the
// task of its own limitation scheme. It tells what could not be taken off.
func (w *work) clip(excess flex.Watts, sign flex.Watts, observed bool, how string) flex.Watts {
	excess = (excess + clipGrain - 1) / clipGrain * clipGrain
	var slots []*slot
	var ds []demand
	for i := range w.slots {
		s := &w.slots[i]
		if p := s.want * sign; s.acts() && s.set && s.observe == observed && p > 0 {
			slots = append(slots, s)
			ds = append(ds, demand{key: string(s.dev.ID), weight: uint64(p), room: p})
		}
	}
	for i, p := range w.split.fill(excess, ds) {
		if p == 0 {
			continue
		}
		s := slots[i]
		s.want -= p * sign
		excess -= p
		w.bySite(s, p*sign, s.want, how)
	}
	return excess
}

// uncap gives back turned-down generation when its loss would import more
// than the site may.
func (w *work) uncap(excess flex.Watts, observed bool, how string) {
	var slots []*slot
	var ds []demand
	for i := range w.slots {
		s := &w.slots[i]
		if !s.acts() || !s.capped || s.observe != observed || s.measured == nil {
			continue
		}
		if room := max(0, *s.measured-s.cap); room > 0 {
			slots = append(slots, s)
			ds = append(ds, demand{key: string(s.dev.ID), weight: uint64(room), room: room})
		}
	}
	for i, p := range w.split.fill(excess, ds) {
		if p > 0 {
			slots[i].cap += p
			w.bySite(slots[i], -p, slots[i].cap, how)
		}
	}
}

// bySite notes the reason on the target and on its dispatches.
func (w *work) bySite(s *slot, missing, power flex.Watts, how string) {
	text := say("the site's limits (import %v, export %v), %s", watts(w.in.Site.ImportLimit), watts(w.in.Site.ExportLimit), word(how))
	s.whys = append(s.whys, why{"site_limit", power, say("%v less for ", watts(missing.Abs())), text})
	w.miss(missing, s.claims, []limit{{flex.ReasonSiteLimit, "site_limit", 0, text}})
}

// noteStep remembers the site as it is before a step of the targets.
func (w *work) noteStep() {
	sum, power, known := w.sums()
	if !known || w.state.StaticLimit {
		return
	}
	var held flex.Watts
	for i := range w.slots {
		if s := &w.slots[i]; !s.observe && s.set && s.acts() {
			held += s.running()
		}
	}
	meter, ok := w.meter()
	step := sum - held
	switch {
	case step.Abs() < stepLeast || !ok:
	case w.state.Before.At.IsZero() || w.state.Before.Sum != sum:
		w.state.Before = Step{At: w.in.Now, Meter: meter, Power: power, Wanted: step, Sum: sum}
	}
}

// sums are the targets and the measured powers of the devices that are set.
func (w *work) sums() (targets, power flex.Watts, known bool) {
	for i := range w.slots {
		s := &w.slots[i]
		if s.observe || !s.set || !s.acts() || s.offline {
			continue
		}
		if s.measured == nil {
			return 0, 0, false
		}
		targets += s.want
		power += *s.measured
		known = true
	}
	return targets, power, known
}

// watchMeter judges the last step: once the devices have moved by half of
// it, a meter that moved by half of it the other way is wired or signed
// wrongly, and gets no credit from then on.
func (w *work) watchMeter() {
	if w.state.StaticLimit {
		w.alarmMeter()
		return
	}
	b := w.state.Before
	if b.At.IsZero() {
		return
	}
	age := w.in.Now.Sub(b.At)
	if age < 0 || age > stepGiveUp {
		w.state.Before = Step{}
		return
	}
	meter, ok := w.meter()
	if !ok || w.in.Site.Meter.At.Sub(b.At) < stepSettle {
		return
	}
	_, power, known := w.sums()
	if !known {
		return
	}
	half, sign := b.Wanted.Abs()/2, flex.Watts(1)
	if b.Wanted < 0 {
		sign = -1
	}
	if (power-b.Power)*sign < half {
		return // not there yet
	}
	w.state.Before = Step{Sum: b.Sum}
	if (meter-b.Meter)*sign <= -half {
		w.state.StaticLimit = true
		w.alarmMeter()
	}
}

func (w *work) alarmMeter() {
	subject := ""
	if w.in.Site.Meter != nil {
		subject = string(w.in.Site.Meter.Device)
	}
	w.alarms = append(w.alarms, Alarm{Code: AlarmMeterSign, Subject: subject,
		Text: "the site meter moved against a step of our power: check its sign and wiring; until a restart the site's limits are kept without it"})
}
