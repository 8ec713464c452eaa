package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// before is what to go back to when a write turns out not to have been sent.
type before struct {
	stands bool
	served map[flex.InstructionID]served
}

// intend notes, before a write, that it may stand from now on; mu is held.
func (s *slot) intend(t flex.Target) before {
	b := before{stands: s.stands, served: map[flex.InstructionID]served{}}
	if !s.stands {
		s.breaks, s.broke, s.after = s.c.cfg.Breaks(s.id()), s.after != nil && s.after.looks < len(lookAfter), nil
	}
	s.stands, s.trying, s.unsure = true, t, false
	for _, id := range t.Dispatch {
		v := s.of(id)
		b.served[id] = *v
		v.engaged, v.released = true, time.Time{}
	}
	return b
}

// doApply writes a target. The same target again renews the lease.
func (s *slot) doApply(ctx context.Context, t flex.Target, b before) {
	if !t.Until.IsZero() { // a conversation that takes long writes nothing after the window
		var end context.CancelFunc
		ctx, end = context.WithDeadlineCause(ctx, t.Until, errStopped)
		defer end()
	}
	rec, err := s.dev.Apply(ctx, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteSent(t, rec)
	s.wore(t, rec)
	if !same(s.told, t) || s.lost || err != nil || !rec.Echo {
		defer s.c.cfg.OnChange()
	}
	var refusal *flex.Refusal
	switch {
	case err == nil && rec.Echo:
		s.proven(t, rec)
		s.noteClear(CodeDeviceFailed)
	case err == nil:
		s.lost = true
		s.applyFailed(fmt.Sprintf("%s does not hold what it was told: %s", s.id(), problems(rec.Problems)))
	case errors.Is(err, flex.ErrUncertain):
		s.unsure = true
		s.applyFailed(s.word(err))
	case errors.As(err, &refusal):
		s.undo(b, rec)
		s.refuse(refusal)
	case errors.Is(err, flex.ErrUnsupported):
		s.undo(b, rec)
		s.refuse(flex.Refuse(flex.ReasonUnsupported, "%s", err))
	case errors.Is(context.Cause(ctx), errStopped), errors.Is(err, context.Canceled):
		s.unsure = true
	default:
		if errors.Is(err, flex.ErrNotSent) {
			s.undo(b, rec)
		}
		s.applyFailed(s.word(err))
	}
	s.noteDue(time.Now())
}

// undo takes an intention back of which nothing was sent.
func (s *slot) undo(b before, rec flex.Receipt) {
	if !rec.Sent.IsZero() || b.stands {
		return
	}
	s.stands = false
	for id, v := range b.served {
		*s.of(id) = v
	}
}

// applyFailed puts off the next attempt, and says so when they keep failing.
func (s *slot) applyFailed(text string) {
	s.failed(text)
	s.fails++
	s.c.log.Warn("a setpoint was not taken", "device", s.id(), "error", text, "attempt", s.fails)
	if s.fails >= offlineAfter {
		s.c.cfg.Health.Raise(CodeDeviceFailed, string(s.id()), text)
	}
	if s.hasMates() && (s.fails >= offlineAfter || s.aside > 0) { // after a pause one try is enough
		s.aside = min(max(blockedFor, 2*s.aside), asideMost)
		s.asideTo = time.Now().Add(s.aside)
		s.c.Wake()
	}
}

// hasMates tells whether another device of its asset can stand in for it.
func (s *slot) hasMates() bool {
	return slices.ContainsFunc(s.c.cfg.Assets, func(a allocate.Asset) bool { return len(a.Devices) > 1 && slices.Contains(a.Devices, s.id()) })
}

// refuse stops control of the device until what stands against it is gone.
func (s *slot) refuse(r *flex.Refusal) { s.stop(CodeForeignLimit, r, time.Now().Add(blockedFor)) }

// stop ends control of the device for a reason with an alarm of its own, and
// not to be tried again before an instant.
func (s *slot) stop(code string, r *flex.Refusal, until time.Time) {
	s.block, s.blockTo = r, until
	s.err = r.Text
	s.c.cfg.Health.Raise(code, string(s.id()), r.Text)
	s.c.log.Warn("a device cannot be controlled", "device", s.id(), "reason", r.Reason, "text", r.Text)
	s.c.Wake()
}

// unblock lets control try again.
func (s *slot) unblock() {
	if s.block == nil {
		return
	}
	s.block, s.blockTo = nil, time.Time{}
	s.noteClear(CodeForeignLimit)
	s.noteClear(CodeOverridden)
	s.c.Wake()
}

func (s *slot) noteClear(code string) { s.c.cfg.Health.Clear(code, string(s.id())) }

// noteSent keeps the time of a dispatch's first write.
func (s *slot) noteSent(t flex.Target, rec flex.Receipt) {
	if rec.Sent.IsZero() {
		return
	}
	s.sentAt = rec.Sent
	if s.proof.FirstSent.IsZero() {
		s.proof.FirstSent = rec.Sent
	}
	for _, id := range t.Dispatch {
		if v := s.of(id); v.first.IsZero() {
			v.first = rec.Sent
		}
	}
}

// proven takes a target whose registers were read back as wanted.
func (s *slot) proven(t flex.Target, rec flex.Receipt) {
	at := rec.At
	if at.IsZero() {
		at = time.Now().UTC()
	}
	if !alike(s.told, t) || s.lost || s.own.pending || s.own.off {
		s.aim(rec.Effective, at)
	}
	if s.told.Order != t.Order || (rec.Effective-s.power).Abs() > max(s.tolerance(rec.Effective), s.tolerance(s.power)) || s.changed.IsZero() {
		s.changed, s.deliver, s.badSince = at, nil, time.Time{}
		s.proof = flex.Proof{Device: s.id(), FirstSent: s.proof.FirstSent}
		s.noteClear(CodeNotDelivering)
	}
	if !alike(s.told, t) || s.lost || s.proof.EchoAt.IsZero() {
		s.proof.EchoAt = at
	}
	if !same(s.told, t) {
		s.c.Wake()
	}
	s.proof.Target, s.proof.Refreshed = t, at
	s.told, s.power, s.opensAt = t, rec.Effective, s.opens
	s.unsure, s.lost, s.suspect, s.fails = false, false, false, 0
	s.aside, s.asideTo = 0, time.Time{}
	s.own.pending, s.own.off, s.own.checked = false, false, at
	s.verifyAt = at.Add(verifyEvery)
	s.worked()
	for id, v := range s.served {
		switch {
		case slices.Contains(t.Dispatch, id):
			v.engaged, v.released = true, time.Time{}
			if v.echo.IsZero() {
				v.echo = at
			}
		case v.engaged:
			v.engaged, v.released = false, at
		}
	}
	s.noteIntent(t, rec)
}

// detail is what a later process needs to go on with the entry.
type detail struct {
	Target flex.Target `json:"target"`
	Free   *freely     `json:"free,omitempty"` // once it is released
}

// describe puts a target into the entry. A target marshals: it holds no
// floats, channels or functions.
func describe(e *flex.JournalEntry, t flex.Target) {
	t.Whys = nil
	if raw, err := json.Marshal(detail{Target: t}); err == nil {
		e.Detail = raw
	}
}

// noteIntent journals what now stands in the device, without waiting for the
// disk. A setpoint that moves all the time is told from others' by its shape,
// so its latest value need not be on disk.
func (s *slot) noteIntent(t flex.Target, rec flex.Receipt) {
	e := *s.entry
	fresh := len(e.Intent) == 0 || t.Order == flex.OrderCap && !slices.EqualFunc(e.Intent, rec.Holds, sameRegister) ||
		slices.ContainsFunc(t.Dispatch, func(id flex.InstructionID) bool { return !slices.Contains(e.For, id) })
	if rec.Holds != nil {
		e.Intent = slices.Clone(rec.Holds)
	}
	for _, id := range t.Dispatch {
		if !slices.Contains(e.For, id) {
			e.For = append(slices.Clone(e.For), id)
		}
	}
	old := e.Detail
	describe(&e, t)
	moved := string(old) != string(e.Detail)
	s.entry, s.clearing = &e, 0
	if now := time.Now(); fresh || moved && now.Sub(s.journal) >= intentEvery {
		s.journal = now
		s.book.set(&e, false)
	}
}

func sameRegister(a, b flex.Register) bool { return a.Addr == b.Addr && slices.Equal(a.Words, b.Words) }

// unprove journals that a new cap is on its way, so that neither the old nor
// the new one is taken for somebody else's.
func (s *slot) unprove(t flex.Target, now time.Time) {
	e := *s.entry
	e.Intent = nil
	describe(&e, t)
	s.entry = &e
	s.clearing, s.clearTo = s.book.set(&e, true), now.Add(clearAtMost)
}

// doPrepare journals what is found, ahead of the first write.
func (s *slot) doPrepare(ctx context.Context) {
	s.doLook(ctx) // what arrived late must not pass for the state that was found
	if s.owing() {
		return
	}
	snap, err := s.dev.Snapshot(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	var refusal *flex.Refusal
	switch {
	case err != nil && errors.As(err, &refusal):
		s.refuse(refusal)
	case err != nil && errors.Is(err, flex.ErrUnsupported):
		s.refuse(flex.Refuse(flex.ReasonUnsupported, "%s", err))
	case err != nil:
		s.failed(s.word(err))
	case snap.Foreign != nil:
		s.refuse(snap.Foreign)
	case snap.Controlled && s.own.yielded && s.policy() == flex.OwnYield:
		s.yield(flex.CauseController, "it is still under somebody else's control", time.Now())
	default:
		s.worked()
		s.unblock()
		s.noteClear(CodeForeignWrite)
		s.own.yielded, s.keeps = false, false
		s.entry = &flex.JournalEntry{Device: s.id(), Snapshot: snap, Opened: s.c.cfg.Stamp(), For: slices.Clone(s.cmd.ready)}
		s.journal = time.Now()
		v := s.book.set(s.entry, s.cmd.control().Order != flex.OrderNone)
		if s.book.stale() {
			s.clearing, s.clearTo = v, s.journal.Add(clearAtMost)
		}
	}
}

// refreshEvery is when the same target is written again: within a third of
// the lease, and as often as the device wants it. A setpoint that is relative
// to what moves by itself is told with every sample: without one there is
// nothing new to tell, and on a slow line it would keep the sample waiting; mu
// is held.
func (s *slot) refreshEvery(t flex.Target) time.Duration {
	lease := t.Revert
	if lease <= 0 {
		lease = s.c.cfg.Lease
	}
	third := lease / 3
	if measured := s.c.cfg.Standing(s.id()).Revert; measured > 0 {
		third = min(third, measured/2)
	}
	if s.plate.Refresh > 0 {
		third = min(third, s.plate.Refresh)
	}
	if s.plate.Follow && s.reading != nil && s.reading.At.After(s.proof.Refreshed) {
		return min(s.c.cfg.Poll, third)
	}
	return third - min(refreshEarly, third/10)
}
