package control

import (
	"maps"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// Progress is what was seen of each dispatch that is on the board or still
// owes a release: facts, never wishes.
func (c *Controller) Progress() map[flex.InstructionID]flex.Progress {
	running, holds := c.cfg.Board.Running(), c.cfg.Board.Holds()
	c.mu.Lock()
	short := c.plan.Shortfall
	orphans := slices.Clone(c.orphans)
	c.mu.Unlock()
	now := c.cfg.Steady()
	sums := map[flex.InstructionID]*account{}
	for _, d := range running {
		sums[d.ID] = &account{short: short[d.ID], wants: d.Wants(now), shares: d.Shares}
		c.local(sums[d.ID], d, running, holds, now)
	}
	for _, s := range c.slots {
		s.account(sums)
	}
	for _, e := range orphans {
		for _, id := range e.For {
			if sums[id] == nil {
				sums[id] = &account{}
			}
			sums[id].p.Engaged = true
		}
	}
	out := make(map[flex.InstructionID]flex.Progress, len(sums))
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, a := range sums {
		a.missing = a.missing || a.wants && c.missingOf(id)
		p := a.close()
		if met, all := c.metBy(a.shares); all && !p.DeliverAt.IsZero() && p.Outranked == "" {
			p.DeliverAt = later(p.DeliverAt, met)
		} else {
			p.DeliverAt = time.Time{} // what was told is given, and less was told than asked
		}
		p.Energy = c.energy.of(id)
		out[id] = p
	}
	return out
}

// local fills in what the site itself lays down.
func (c *Controller) local(a *account, d flex.Dispatch, running []flex.Dispatch, holds []flex.Hold, now time.Time) {
	if !a.wants {
		return
	}
	outranked := func(as allocate.Asset) bool {
		by, waits := d.Outranking(running, as.ID, now)
		if waits {
			a.p.Outranked = by.ID
		}
		return waits
	}
	assets, observed := 0, 0
	for _, as := range c.cfg.Assets {
		if !slices.ContainsFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Asset == as.ID }) {
			continue
		}
		assets++
		if as.Control == allocate.Observe {
			observed++
		}
		a.p.Overridden = a.p.Overridden || held(holds, as.ID) || outranked(as)
	}
	a.p.Observed = assets > 0 && observed == assets
	a.devices = c.devicesOf(d, func(as allocate.Asset) bool {
		return as.Control != allocate.Observe && !held(holds, as.ID) && !outranked(as)
	})
}

// account sums one dispatch over its devices.
type account struct {
	p       flex.Progress
	short   allocate.Shortfall
	wants   bool
	shares  []flex.AssetShare
	devices []flex.DeviceID

	parts    int // devices with a target for it
	echoed   int
	speaking int // of them, those that say whether they act
	acting   int
	meeting  int // known to deliver
	missing  bool
	untried  bool // of a device nothing is known yet: what it cannot give neither
	written  int
	proven   int
}

// account adds this device to every dispatch that it serves.
func (s *slot) account(sums map[flex.InstructionID]*account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.served {
		if sums[id] == nil && s.served[id].engaged {
			sums[id] = &account{}
		}
	}
	for id, a := range sums {
		if a.wants && slices.Contains(a.devices, s.id()) && (s.own.off || s.distrusted != nil || s.fails >= offlineAfter || !s.online() && s.opens+s.misses > 0 || s.openWait > openMin) {
			a.p.Failed = append(a.p.Failed, s.id())
		}
		if a.wants && slices.Contains(a.devices, s.id()) && (s.own.off || s.own.resting(time.Now())) {
			a.p.Yielded = append(a.p.Yielded, s.id())
		}
		if a.wants && slices.Contains(a.devices, s.id()) && s.untried() {
			a.untried = true
		}
		if v := s.served[id]; v != nil {
			a.served(v)
			if v.engaged {
				a.p.HandBack = max(a.p.HandBack, s.plate.HandBack)
			}
		}
		if wanted(s.cmd.target) && slices.Contains(s.cmd.target.Dispatch, id) {
			s.part(a, s.served[id])
		}
	}
}

// served adds what a device did.
func (a *account) served(v *served) {
	p := &a.p
	p.Engaged = p.Engaged || v.engaged
	if v.left != "" {
		p.Left = append(p.Left, v.left)
	}
	p.FirstWrite = sooner(p.FirstWrite, v.first)
	p.ReleasedAt = later(p.ReleasedAt, v.released)
	if v.first.IsZero() && v.echo.IsZero() {
		return
	}
	a.written++
	if !v.echo.IsZero() {
		a.proven++
	}
	p.EchoAt = later(p.EchoAt, v.echo)
	p.ActingAt = later(p.ActingAt, v.acting)
	p.DeliverAt = later(p.DeliverAt, v.deliver)
}

// part adds a device that has a target for the dispatch now; mu is held.
func (s *slot) part(a *account, v *served) {
	a.parts++
	if s.reading != nil && s.reading.Power != nil {
		sum := *s.reading.Power
		if a.p.Measured != nil {
			sum += *a.p.Measured
		}
		a.p.Measured = &sum
	}
	if v == nil {
		return
	}
	if !v.echo.IsZero() {
		a.echoed++
	}
	if s.reading != nil && s.reading.Acting != nil {
		a.speaking++
		if !v.acting.IsZero() {
			a.acting++
		}
	}
	if s.deliver != nil {
		a.missing = a.missing || !*s.deliver
		if *s.deliver {
			a.meeting++
		}
	}
}

// close draws the sums together.
func (a *account) close() flex.Progress {
	p := a.p
	p.Released = !p.Engaged
	if !p.Released {
		p.ReleasedAt = time.Time{}
	}
	if a.wants && !a.untried {
		p.Missing, p.MissingReason, p.MissingText = a.short.Missing, a.short.Reason, a.short.Text
	}
	if a.parts > 0 && a.echoed < a.parts || a.proven < a.written {
		p.EchoAt = time.Time{}
	}
	if a.acting < a.speaking {
		p.ActingAt = time.Time{}
	}
	if a.meeting < a.parts {
		p.DeliverAt = time.Time{}
	}
	switch {
	case a.missing:
		p.Delivering = new(bool)
	case a.parts > 0 && a.meeting == a.parts:
		yes := true
		p.Delivering = &yes
	}
	return p
}

// later of two instants.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// sameStart is how far a start may wander and be the same: after a step of the
// wall clock it is known anew, to the grain in which such steps are noticed.
const sameStart = 500 * time.Millisecond

// newLives forgets the facts of an id whose window has moved: it is proven
// anew.
func (c *Controller) newLives(running []flex.Dispatch) {
	fresh := len(running) != len(c.starts)
	for _, d := range running {
		old, known := c.starts[d.ID]
		switch moved := old.Sub(d.Window.Start).Abs(); {
		case known && moved < sameStart:
		case known:
			for _, s := range c.slots {
				s.anew(d.ID)
			}
		default:
			fresh = true
		}
		c.starts[d.ID] = d.Window.Start
	}
	if !fresh {
		return
	}
	maps.DeleteFunc(c.starts, func(id flex.InstructionID, _ time.Time) bool {
		return !slices.ContainsFunc(running, func(d flex.Dispatch) bool { return d.ID == id })
	})
}

// anew starts the account of a dispatch afresh; what it owes stays.
func (s *slot) anew(id flex.InstructionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.served[id]
	if v == nil {
		return
	}
	*v = served{engaged: v.engaged}
	if s.stands && slices.Contains(s.told.Dispatch, id) {
		s.lost = true // write again, so that there is an echo of this life
		poke(s.unit.wake)
	}
}

// sweep forgets dispatches that are off the board and owe nothing, and says
// aloud when a release takes too long.
func (s *slot) sweep(running []flex.Dispatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overdue(time.Now()) {
		s.raiseOwed()
	}
	s.tellUncovered(time.Now())
	s.freshDay(time.Now())
	for id, v := range s.served {
		if !v.engaged && !slices.ContainsFunc(running, func(d flex.Dispatch) bool { return d.ID == id }) {
			delete(s.served, id)
		}
	}
}
