package control

import (
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// Afford tells why no device of an asset can ever do what a dispatch asks, or
// why the budgets of writes that wear out memory do not carry it beside all that
// is promised for its day; nil when they do. It is asked before a promise is
// made: later there is no more to do than to expire.
func (c *Controller) Afford(d flex.Dispatch) *flex.Refusal {
	return c.afford(d, c.cfg.Board.Running())
}

// afford is Afford beside others. An asset is carried as long as one of its
// devices is.
func (c *Controller) afford(d flex.Dispatch, others []flex.Dispatch) *flex.Refusal {
	now := c.cfg.Steady()
	for _, a := range c.cfg.Assets {
		if a.Control == allocate.Observe || !slices.ContainsFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Asset == a.ID }) {
			continue
		}
		var why *flex.Refusal
		carried := false
		for _, id := range a.Devices {
			s := c.byID[id]
			if s == nil || s.role() == flex.RoleMeter {
				continue
			}
			no := s.idles(a, d)
			if no == nil {
				no = s.afford(d, others, now)
			}
			if carried = carried || no == nil; why == nil {
				why = no
			}
		}
		if why != nil && !carried {
			return why
		}
	}
	return nil
}

// idles refuses what the device cannot do in any state: to be held at 0 W. What
// a share counts from a baseline is not known before its time.
func (s *slot) idles(a allocate.Asset, d flex.Dispatch) *flex.Refusal {
	still := slices.ContainsFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Asset == a.ID && sh.Power == 0 })
	counted := slices.ContainsFunc(d.Baselines, func(b flex.Baseline) bool { return b.Asset == a.ID })
	if !still || counted || a.Control != allocate.Setpoint {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if can := s.plate.Can; slices.Contains(can, flex.CanSet) && !slices.Contains(can, flex.CanIdle) {
		return flex.Refuse(flex.ReasonUncontrollable, "%s cannot be held at 0 W: told so, it would take its PV down", s.id())
	}
	return nil
}

// afford is Afford for one device.
func (s *slot) afford(d flex.Dispatch, others []flex.Dispatch, now time.Time) *flex.Refusal {
	day := dayOf(later(now, d.Window.Start))
	var beside []flex.Dispatch
	for _, o := range others {
		uses := slices.Contains(s.c.devicesOf(o, func(a allocate.Asset) bool { return a.Control != allocate.Observe }), s.id())
		if uses && o.ID != d.ID && dayOf(later(now, o.Window.Start)) == day && (o.StopAt.IsZero() || o.StopAt.After(now)) {
			beside = append(beside, o)
		}
	}
	s.mu.Lock()
	tolls := s.tolls()
	s.mu.Unlock()
	for _, t := range tolls {
		name := registerName(t.Register)
		e := expense{limit: s.limit(t.Register)}
		if day == dayOf(now) {
			e.spent = s.c.wear.count(s.id(), name, day)
		}
		for _, o := range beside {
			e.promised += costOf(t, o, !o.Window.Start.After(now))
		}
		if cost := costOf(t, d, false); !e.carries(cost, t.Day) {
			return flex.Refuse(flex.ReasonWriteBudget, "%s: register %s may be written %d times on %s: %d are done, %d are promised to %d other dispatches, and this one takes %d",
				s.id(), name, e.limit, day, e.spent, e.promised, len(beside), cost)
		}
	}
	return nil
}

// expense is what a day costs a register.
type expense struct{ limit, spent, promised int }

// carries tells whether so many more writes are within the limit; day bounds
// what all dispatches of a day write together, 0: nothing does.
func (e expense) carries(cost, day int) bool {
	if cost == 0 {
		return true
	}
	ahead := e.promised + cost
	if day > 0 {
		ahead = min(ahead, max(0, day-e.spent))
	}
	return e.spent+ahead <= e.limit
}

// costOf is what a dispatch writes; of one that has begun only the hand-back
// is left.
func costOf(t flex.Toll, d flex.Dispatch, begun bool) int {
	charges := slices.ContainsFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Power < 0 })
	switch {
	case t.Charge && !charges:
		return 0
	case begun:
		return t.Dispatch - t.Dispatch/2
	}
	return t.Dispatch
}

// tolls are what a dispatch writes to persistent registers: as the driver
// tells, else as much as the last one did; mu is held.
func (s *slot) tolls() []flex.Toll {
	out := slices.Clone(s.plate.Tolls)
	for _, t := range s.wearing.last {
		if !slices.ContainsFunc(out, func(o flex.Toll) bool { return registerName(o.Register) == registerName(t.Register) }) {
			out = append(out, t)
		}
	}
	return out
}

// limit is how often a day a register may be written.
func (s *slot) limit(r flex.Register) int {
	switch {
	case r.Budget > 0:
		return r.Budget
	case s.set.WriteBudget > 0:
		return s.set.WriteBudget
	}
	return writeBudget
}

// tolled adds what a write under the lease has worn out.
func (w *thrift) tolled(regs []flex.Register) {
	for _, r := range regs {
		if !r.Persistent {
			continue
		}
		i := slices.IndexFunc(w.lease, func(t flex.Toll) bool { return registerName(t.Register) == registerName(r) })
		if i < 0 {
			w.lease, i = append(w.lease, flex.Toll{Register: flex.Register{Addr: r.Addr, Name: r.Name, Budget: r.Budget}}), len(w.lease)
		}
		w.lease[i].Dispatch++
	}
}
