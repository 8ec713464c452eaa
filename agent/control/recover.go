package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// Recover takes up what an earlier process left, as the journal tells it,
// before anything else runs: devices that a running dispatch still wants are
// held on, all others are owed their release. It talks to no device: Run hands
// each of them back before it is told anything new, for ever if need be, and
// none waits for another. Where it fails, Run reads the journal, and controls
// nothing before it has.
func (c *Controller) Recover(ctx context.Context) error { return c.adopt(ctx) }

// recaller is a device that is found sooner by what was journaled of it.
type recaller interface{ Recall(s flex.Snapshot) }

// readJournal makes up for a recovery that could not read the journal. Until
// it is read no device is controlled.
func (c *Controller) readJournal(ctx context.Context) {
	var wait time.Duration
	for {
		err := c.adopt(ctx)
		if err == nil {
			break
		}
		c.cfg.Health.Raise(CodeStoreFailing, "journal", fmt.Sprintf("the journal cannot be read, no device is controlled: %v", err))
		if !sleep(ctx, grow(&wait, retryMin, retryMax)) {
			return
		}
	}
	if wait > 0 {
		c.cfg.Health.Clear(CodeStoreFailing, "journal")
	}
	c.Wake()
	c.readWear(ctx)
}

// adopt reads the journal, once, and sorts its entries.
func (c *Controller) adopt(ctx context.Context) error {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known {
		return nil
	}
	entries, err := c.cfg.Journal.Journal(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the journal of devices: %w", err)
	}
	if err := c.adoptDistrusts(); err != nil {
		return err
	}
	c.loadWear(ctx)
	now := c.cfg.Steady()
	running, holds := c.cfg.Board.Running(), c.cfg.Board.Holds()
	for _, e := range entries {
		s := c.byID[e.Device]
		if s == nil && !e.Released.At.IsZero() {
			continue // nothing is owed to it
		}
		if s == nil {
			c.orphan(e)
			continue
		}
		s.adopt(e, c.wanting(e.Device, running, holds, now), c.serving(e.Device, running))
	}
	if c.cfg.Lost {
		c.neutralise()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = true
	return nil
}

// orphan keeps an entry whose device the configuration does not have any more.
func (c *Controller) orphan(e flex.JournalEntry) {
	c.mu.Lock()
	c.orphans = append(c.orphans, e)
	c.mu.Unlock()
	c.cfg.Health.Raise(CodeJournalOrphan, string(e.Device),
		fmt.Sprintf("%s (%s unit %d) may be under our control and is not configured: configure it again, so that it is handed back", e.Device, e.Snapshot.Endpoint, e.Snapshot.Unit))
}

// wanting are the running dispatches that ask for the device now, also what has
// just begun to wait for one of a higher priority: from its setpoint the device
// goes over to the other's.
func (c *Controller) wanting(id flex.DeviceID, running []flex.Dispatch, holds []flex.Hold, now time.Time) []flex.InstructionID {
	var out []flex.InstructionID
	for _, d := range running {
		if d.Wants(now) && slices.Contains(c.devicesOf(d, func(a allocate.Asset) bool {
			return a.Control != allocate.Observe && !held(holds, a.ID)
		}), id) {
			out = append(out, d.ID)
		}
	}
	return out
}

// serving are the dispatches that may have used the device.
func (c *Controller) serving(id flex.DeviceID, running []flex.Dispatch) []flex.InstructionID {
	var out []flex.InstructionID
	for _, d := range running {
		if !d.Window.Start.After(c.cfg.Steady()) && slices.Contains(c.devicesOf(d, func(a allocate.Asset) bool { return a.Control != allocate.Observe }), id) {
			out = append(out, d.ID)
		}
	}
	return out
}

// adopt takes an entry over. It counts as written: whoever opened it may have
// come no further than the next instruction.
func (s *slot) adopt(e flex.JournalEntry, wanted, serving []flex.InstructionID) {
	if r, ok := s.dev.(recaller); ok {
		r.Recall(e.Snapshot)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.Released.At.IsZero() {
		s.resumeWatch(e, time.Now())
		s.book.found(e)
		return
	}
	s.broke = true // the process that wrote is gone with its connection
	for _, id := range serving {
		if !slices.Contains(e.For, id) {
			e.For = append(slices.Clone(e.For), id)
		}
	}
	s.entry, s.stands, s.lost = &e, true, true
	s.book.found(e)
	for _, id := range e.For {
		s.of(id).engaged = true
	}
	var d detail
	ours := len(e.Detail) > 0 && json.Unmarshal(e.Detail, &d) == nil && d.Target.Device == s.id() && d.Target.Order != flex.OrderNone && !d.Target.Observe
	// A target of a dispatch that is over is not told again for the next one.
	ours = ours && slices.ContainsFunc(d.Target.Dispatch, func(id flex.InstructionID) bool { return slices.Contains(wanted, id) })
	if ours {
		s.told, s.power = d.Target, d.Target.Power
		s.c.log.Info("a device is still under control, its dispatch runs on", "device", s.id(), "target", d.Target.Power, "for", e.For)
		return
	}
	s.inherited = true
	s.cmd = command{valid: true, target: free(s.id())}
	s.noteDue(time.Now())
	s.c.log.Info("a device was left under control and is handed back", "device", s.id(), "for", e.For)
}

// neutralise brings every device without an entry to neutral: nobody knows any
// more what was found on it.
func (c *Controller) neutralise() {
	c.cfg.Health.Raise(CodeJournalLost, "", "the journal was lost: every device found under setpoint control is released to neutral, caps are left")
	for _, s := range c.slots {
		s.mu.Lock()
		if s.entry == nil && s.role() != flex.RoleMeter {
			s.neutral = true
			s.noteDue(time.Now())
			c.cfg.Health.Raise(CodeJournalLost, string(s.id()), fmt.Sprintf("%s is not proven to be neutral yet", s.id()))
		}
		s.mu.Unlock()
	}
}
