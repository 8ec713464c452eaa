package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// recentFor is how far back it counts what a device did by itself.
const recentFor = 10 * time.Second

// Distrusts keeps over restarts which devices are not controlled any more,
// since they did the contrary of what they were told.
type Distrusts interface {
	LoadDistrusts() ([]flex.Distrust, error)
	PutDistrusts([]flex.Distrust) error
}

// sight is what a device was seen to do.
type sight struct {
	at    time.Time
	power flex.Watts
	sun   flex.Watts // that a hybrid gives beside its battery
}

// sightOf is the quantity by which a device is judged: the battery where a
// hybrid tells it apart, since the sun moves the rest.
func (s *slot) sightOf(r flex.Reading) sight {
	out := sight{at: r.At, power: *r.Power}
	if r.Battery != nil && s.role() == flex.RoleHybrid {
		out.power, out.sun = *r.Battery, *r.Power-*r.Battery
	}
	return out
}

// notice keeps a sight for as long as it may matter; mu is held.
func (s *slot) notice(r flex.Reading) {
	if r.Power == nil {
		return
	}
	s.sights = slices.DeleteFunc(s.sights, func(o sight) bool { return r.At.Sub(o.at) > recentFor })
	s.sights = append(s.sights, s.sightOf(r))
}

// before is what the device did lately, and the sun beside it.
func (s *slot) before() (power, sun span) {
	for i, o := range s.sights {
		if i == 0 {
			power, sun = span{o.power, o.power}, span{o.sun, o.sun}
			continue
		}
		power, sun = power.with(span{o.power, o.power}), sun.with(span{o.sun, o.sun})
	}
	return power, sun
}

// aim draws the corridor of a setpoint that is proven, or may stand; mu is held.
func (s *slot) aim(power flex.Watts, at time.Time) {
	before, sun := s.before()
	s.corridor.aim(span{power - sun.hi, power - sun.lo}, before, at)
}

// judgeContrary releases a device that does the opposite of what it was told,
// or more, and does not control it again before somebody looked; mu is held.
// Only proof condemns: the registers are read back first, since what others
// have written is no fault of the device.
func (s *slot) judgeContrary(r flex.Reading, now time.Time) {
	switch {
	case s.told.Order != flex.OrderSet, s.block != nil, s.lost, s.unsure, s.own.off, s.own.pending, s.lapsed(now):
		s.corridor.excuse(s.sightOf(r).power, r.At)
		return
	case r.At.Sub(s.changed) < s.c.cfg.Standing(s.id()).Lead:
		return // it has not heard it yet
	}
	lasting := contraryFor
	if s.plate.Follow || r.Acting != nil && !*r.Acting || s.role() == flex.RoleHybrid && r.Battery == nil {
		lasting = contraryLoosely
	}
	saw := s.sightOf(r)
	if _, sun := s.before(); s.role() == flex.RoleHybrid && len(s.sights) > 0 {
		sun = sun.with(span{saw.sun, saw.sun})
		s.corridor.follow(span{s.power - sun.hi, s.power - sun.lo})
	}
	told := max(s.corridor.told.hi, -s.corridor.told.lo)
	m := marginsOf(told, max(s.plate.MaxPower, s.plate.MaxCharge, s.plate.MaxDischarge), s.tolerance(told), s.plate.Step)
	outside, proven := s.corridor.sees(saw.power, r.At, m, s.settling(), lasting)
	switch {
	case outside && s.corridor.n == 1:
		s.suspect = true
		poke(s.unit.wake)
	case proven:
		s.distrust(saw.power, now)
	}
}

// distrust ends control of the device until a person or a commissioning that
// proves it allows it again.
func (s *slot) distrust(gives flex.Watts, now time.Time) {
	what := "more than that"
	if gives < 0 && s.power > 0 || gives > 0 && s.power < 0 {
		what = "the opposite"
	}
	text := fmt.Sprintf("%s was told %v and gives %v, which is %s: it is handed back and not controlled again until `flexd device commission %s` has proven it, or `flexd device resume %s`; see the sign, the map and the byte order",
		s.id(), s.power, gives, what, s.id(), s.id())
	s.distrusted = &flex.Distrust{Device: s.id(), Serial: s.plate.Serial, At: s.c.cfg.Stamp(), Text: text, For: slices.Clone(s.told.Dispatch)}
	s.c.keepDistrusts()
	s.stop(CodeContraryPower, flex.Refuse(flex.ReasonContraryPower, "%s", text), midnight(now))
	s.noteDue(now)
	s.unit.cut()
	poke(s.unit.wake)
	s.c.cfg.OnChange()
}

// standsAgainst is why the device must not be controlled for a dispatch, by
// what is known of it from before; mu is held.
func (s *slot) standsAgainst() *flex.Refusal {
	switch {
	case s.twin != nil:
		return s.twin
	case s.distrusted == nil:
		return nil
	}
	return flex.Refuse(flex.ReasonContraryPower, "%s", s.distrusted.Text)
}

// Resume lets a device be controlled again that did the contrary of what it
// was told before the instant. It tells whether there was anything to resume.
func (c *Controller) Resume(id flex.DeviceID, before time.Time) bool {
	s := c.byID[id]
	if s == nil {
		return false
	}
	s.mu.Lock()
	was := s.distrusted != nil && s.distrusted.At.At.Before(before)
	if was {
		s.distrusted = nil
		if s.block != nil && s.block.Reason == flex.ReasonContraryPower {
			s.block, s.blockTo = nil, time.Time{}
		}
		s.noteClear(CodeContraryPower)
	}
	s.mu.Unlock()
	if was {
		c.keepDistrusts()
		c.Wake()
	}
	return was
}

// keepDistrusts makes the disk follow.
func (c *Controller) keepDistrusts() { poke(c.distrusts) }

// adoptDistrusts takes over what an earlier process has found.
func (c *Controller) adoptDistrusts() error {
	if c.cfg.Distrusts == nil {
		return nil
	}
	list, err := c.cfg.Distrusts.LoadDistrusts()
	if err != nil {
		return fmt.Errorf("cannot read which devices must not be controlled: %w", err)
	}
	for _, d := range list {
		s := c.byID[d.Device]
		if s == nil {
			continue
		}
		s.mu.Lock()
		s.distrusted = &d
		s.mu.Unlock()
		c.cfg.Health.Raise(CodeContraryPower, string(d.Device), d.Text)
	}
	return nil
}

// writeDistrusts keeps on disk what stands, until ctx ends.
func (c *Controller) writeDistrusts(ctx context.Context) {
	for c.cfg.Distrusts != nil {
		select {
		case <-ctx.Done():
			return
		case <-c.distrusts:
		}
		var wait time.Duration
		for {
			list := []flex.Distrust{}
			for _, s := range c.slots {
				s.mu.Lock()
				if s.distrusted != nil {
					list = append(list, *s.distrusted)
				}
				s.mu.Unlock()
			}
			err := c.cfg.Distrusts.PutDistrusts(list)
			if err == nil {
				break
			}
			c.log.Error("cannot keep which devices must not be controlled", "error", err)
			if !sleep(ctx, grow(&wait, retryMin, retryMax)) {
				return
			}
		}
	}
}

// distrusts tells whether nothing is prepared on the device for dispatches.
func (s *slot) distrusts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.distrusted != nil || s.twin != nil
}
