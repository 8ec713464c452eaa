package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// planner asks what every device should do: at least once a second, at every
// boundary, at every wake-up. It waits for nothing but time.
func (c *Controller) planner(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		next = c.tick(c.instant(next))
		c.once.Do(func() { close(c.ready) })
		c.cfg.Beat()
		wait := tickEvery
		if until := next.Sub(c.cfg.Steady()); !next.IsZero() && until < wait {
			wait = max(0, until)
		}
		timer.Reset(wait)
	}
}

// instant is now, but a boundary that has just come counts to the nanosecond,
// and is not taken back. It carries the monotonic reading, by which the age of
// what was measured is told whatever happens to the wall clock.
func (c *Controller) instant(boundary time.Time) time.Time {
	now := c.cfg.Steady()
	if late := now.Sub(boundary); !boundary.IsZero() && late >= -time.Millisecond && late < tickEvery {
		now = now.Add(-late)
	}
	if now.Before(c.last) {
		now = c.last
	}
	c.last = now
	return now
}

// stepped is how far the clock that the rest of the process reads is ahead of
// the steady one; a pause between the two readings is no step.
func (c *Controller) stepped() time.Duration {
	steady := c.cfg.Steady()
	by := time.Now().Round(0).Sub(steady.Round(0))
	if by.Abs() < 20*time.Millisecond {
		return 0
	}
	return by
}

// putOff puts off an instant, if it is one.
func putOff(t time.Time, by time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(by)
}

// tick computes the truth once and hands it out. It gives the next instant at
// which the answer changes by itself.
func (c *Controller) tick(now time.Time) time.Time {
	c.judgeTwins()
	in, by := c.gather(now, &c.desk), c.stepped()
	plan := c.cfg.Plan(in)
	if by != 0 {
		plan.Targets = slices.Clone(plan.Targets) // the planner's own are never written
		for i := range plan.Targets {
			plan.Targets[i].Until = putOff(plan.Targets[i].Until, by)
		}
	}
	c.mu.Lock()
	c.plan = plan
	known := c.known
	c.mu.Unlock()
	for _, d := range in.Devices {
		if s := c.byID[d.ID]; s != nil && d.Reading != nil {
			s.mu.Lock()
			s.planned = true
			s.mu.Unlock()
		}
	}
	c.alarms(plan)
	c.judgeAssets(in, plan)
	c.newLives(in.Dispatches)
	withhold := c.storeFails(now)
	if known {
		ready := c.soon(in)
		for _, t := range plan.Targets {
			s := c.byID[t.Device]
			if s == nil {
				continue
			}
			cmd := command{valid: true, target: t, ready: ready[t.Device], next: putOff(plan.Next, by)}
			if s.distrusts() {
				cmd.ready = nil
			}
			if withhold {
				cmd.target, cmd.ready = withheld(t), nil
			}
			s.hand(cmd)
		}
	}
	for _, s := range c.slots {
		s.sweep(in.Dispatches)
	}
	return plan.Next
}

// withheld is what a target becomes while the store cannot commit: no control
// without a journal.
func withheld(t flex.Target) flex.Target {
	return spared(t, "store", "the state cannot be written: nothing is controlled until it can")
}

// spared is a target that is not carried out, and by whose word.
func spared(t flex.Target, who, text string) flex.Target {
	return flex.Target{Device: t.Device, Order: flex.OrderNone, Whys: append(slices.Clone(t.Whys), flex.Why{Who: who, Text: text})}
}

// storeFails tells whether the store has failed for so long that everything
// must be handed back.
func (c *Controller) storeFails(now time.Time) bool {
	failing := c.cfg.Board.StoreFailing() || !c.keeper.failingSince().IsZero()
	switch {
	case !failing:
		if !c.storeBad.IsZero() {
			c.cfg.Health.Clear(CodeStoreFailing, c.Name())
		}
		c.storeBad = time.Time{}
		return false
	case c.storeBad.IsZero():
		c.storeBad = now
		c.cfg.Health.Raise(CodeStoreFailing, c.Name(), "the journal cannot be written: no device is newly controlled")
	}
	if now.Sub(c.storeBad) < c.cfg.StoreLimit {
		return false
	}
	c.cfg.Health.Raise(CodeStoreFailing, c.Name(),
		fmt.Sprintf("the state could not be written for %v: every device is handed back and none is taken", c.cfg.StoreLimit))
	return true
}

// hand gives a reconciler its command. A release cuts into what the unit is
// waiting for.
func (s *slot) hand(cmd command) {
	if cmd.target.Revert == 0 {
		cmd.target.Revert = s.c.cfg.Lease
	}
	s.mu.Lock()
	if s.inherited && wanted(cmd.target) {
		cmd.target = spared(cmd.target, "recovery", "an earlier process left it under control: it is handed back first")
	}
	old := s.cmd
	if slices.Equal(old.ready, cmd.ready) {
		cmd.ready = old.ready
	} else {
		cmd.ready = slices.Clone(cmd.ready) // the desk is used again
	}
	s.cmd = cmd
	was, is := old.control(), cmd.control()
	changed := !old.valid || !same(was, is) || len(old.ready) > 0 != (len(cmd.ready) > 0)
	if !alike(was, is) {
		s.retryAt, s.retry = time.Time{}, 0
	}
	tried := s.block != nil && s.block.Reason == flex.ReasonContraryPower && wanted(cmd.target) // by hand
	if len(cmd.ready) == 0 && !s.stands && !s.own.resting(time.Now()) && !tried {
		s.unblock()
	}
	s.noteDue(time.Now())
	release := s.due.Load() && changed
	quiet := s.known(time.Now()) && !cmd.next.IsZero() && !cmd.next.Equal(old.next)
	s.mu.Unlock()
	if quiet {
		s.c.cfg.Quiet(s.id(), cmd.next)
	}
	if release {
		s.unit.cut()
	}
	if changed {
		poke(s.unit.wake)
	}
}

// noteDue keeps the time since when a release is due; mu is held.
func (s *slot) noteDue(now time.Time) {
	due := s.neutral || s.belated != nil || s.stands && (s.block != nil || s.cmd.valid && !wanted(s.cmd.target))
	s.due.Store(due)
	switch {
	case !due:
		s.dueSince = time.Time{}
		s.owed.Store(0)
	case s.dueSince.IsZero():
		s.dueSince = now
		s.owed.Store(s.c.cfg.Steady().UnixNano())
	}
}

// desk is what the planner's goroutine gathers on, tick by tick.
type desk struct {
	assets  []allocate.Asset
	devices []allocate.Device
	ready   map[flex.DeviceID][]flex.InstructionID
	asked   []flex.Dispatch
}

// input gathers everything the answer depends on.
func (c *Controller) input(now time.Time) allocate.Input { return c.gather(now, &desk{}) }

// gather does so on a desk: what it returns holds until the next time.
func (c *Controller) gather(now time.Time, on *desk) allocate.Input {
	on.assets = append(on.assets[:0], c.cfg.Assets...)
	in := allocate.Input{Now: now, Assets: on.assets, Dispatches: c.cfg.Board.Running(), Holds: c.cfg.Board.Holds(), State: c.Plan().State,
		Site:    allocate.Site{ImportLimit: c.cfg.ImportLimit, ExportLimit: c.cfg.ExportLimit},
		Devices: on.devices[:0]}
	if c.cfg.Prepare != nil {
		in.Prepare = c.cfg.Prepare()
	}
	for _, s := range c.slots {
		d := s.view()
		if d.ID == c.cfg.Meter {
			in.Site.Meter = d.Reading
		}
		for i := range in.Assets {
			if in.Assets[i].MeterID == d.ID {
				in.Assets[i].Meter = d.Reading
			}
		}
		if d.Role != flex.RoleMeter {
			in.Devices = append(in.Devices, d)
		}
	}
	on.devices = in.Devices
	return in
}

// view is the device as the planner sees it.
func (s *slot) view() allocate.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	foreign := s.standsAgainst()
	if foreign == nil {
		foreign = s.block
	}
	if foreign == nil {
		foreign = s.c.cfg.Standing(s.id()).Refusal
	}
	if foreign == nil && !s.stands {
		foreign = s.spent(time.Now())
	}
	d := allocate.Device{ID: s.id(), Role: s.role(), Plate: s.limited(), ReserveSoC: s.set.ReserveSoC, MaxSoC: s.set.MaxSoC, Owner: s.set.Owner, GridCharge: s.set.GridCharge,
		Online: s.online(), Foreign: foreign, Target: s.told}
	if time.Now().Before(s.asideTo) {
		d.Online, d.Fault = false, fmt.Sprintf("%s does not take its setpoint (%s)", s.id(), s.err)
	}
	d.Owner.Left = s.left(time.Now())
	d.Ramp = s.set.Ramp
	d.Lead = s.c.cfg.Standing(s.id()).Lead
	if s.set.Lead != nil {
		d.Lead = *s.set.Lead
	}
	d.Reading = s.reading // a new one takes its place, it is never written
	return d
}

// soon tells which devices are needed for what, now or within prepareAhead:
// the state found on them must be on disk ahead of the start.
func (c *Controller) soon(in allocate.Input) map[flex.DeviceID][]flex.InstructionID {
	if c.desk.ready == nil {
		c.desk.ready = map[flex.DeviceID][]flex.InstructionID{}
	}
	out := c.desk.ready
	for id, list := range out {
		out[id] = list[:0]
	}
	for _, d := range in.Dispatches {
		at := d.Window.Start
		if in.Now.After(at) {
			at = in.Now
		}
		if at.Sub(in.Now) > prepareAhead || !d.Wants(at) {
			continue
		}
		for i := range c.cfg.Assets {
			a := &c.cfg.Assets[i]
			if a.Control == allocate.Observe || held(in.Holds, a.ID) || !slices.ContainsFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Asset == a.ID }) {
				continue
			}
			for _, id := range a.Devices {
				if !slices.Contains(out[id], d.ID) {
					out[id] = append(out[id], d.ID)
				}
			}
		}
	}
	return out
}

// devicesOf are the devices of a dispatch's assets for which ok is true.
func (c *Controller) devicesOf(d flex.Dispatch, ok func(allocate.Asset) bool) []flex.DeviceID {
	var out []flex.DeviceID
	for _, a := range c.cfg.Assets {
		if !slices.ContainsFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Asset == a.ID }) || !ok(a) {
			continue
		}
		for _, id := range a.Devices {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// held tells whether a hold covers the asset.
func held(holds []flex.Hold, id flex.AssetID) bool {
	return slices.ContainsFunc(holds, func(h flex.Hold) bool { return h.Asset == "" || h.Asset == id })
}

// alarms shows the planner's findings, and takes back those that are gone.
func (c *Controller) alarms(p allocate.Plan) {
	if len(p.Alarms)+len(c.alerts) == 0 {
		return
	}
	now := map[alert]bool{}
	for _, a := range p.Alarms {
		now[alert{a.Code, a.Subject}] = true
		c.cfg.Health.Raise(a.Code, a.Subject, a.Text)
	}
	for a := range c.alerts {
		if !now[a] {
			c.cfg.Health.Clear(a.code, a.subject)
		}
	}
	c.alerts = now
}
