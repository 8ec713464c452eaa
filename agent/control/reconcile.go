package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"flexd/agent/flex"
)

// errStopped is why a conversation was cut: a release must not wait for it.
var errStopped = errors.New("cut by a stop")

// unit is one endpoint and unit, with a reader and a reconciler for all
// devices behind it.
type unit struct {
	c     *Controller
	index int
	slots []*slot
	wake  chan struct{} // of the reconciler

	mu  sync.Mutex
	ops map[*conversation]bool
}

// conversation is one call to a device that a release may cut.
type conversation struct{ cancel context.CancelCauseFunc }

func newUnit(c *Controller, index int) *unit {
	return &unit{c: c, index: index, wake: make(chan struct{}, 1), ops: map[*conversation]bool{}}
}

// begin opens a conversation. Unless it comes first, as a release does, it gives
// way to a release that is due; soon, but not at once: an answer on its way is
// quicker than a new connection.
func (u *unit) begin(ctx context.Context, first bool) (context.Context, func()) {
	ctx, stop := context.WithTimeout(ctx, operation)
	if first {
		return ctx, stop
	}
	ctx, cancel := context.WithCancelCause(ctx)
	op := &conversation{cancel: cancel}
	u.mu.Lock()
	u.ops[op] = true
	u.mu.Unlock()
	for _, s := range u.slots {
		// Only one that has just become due: one that fails for long must not
		// cut the others short.
		if at := s.owed.Load(); at != 0 && s.c.cfg.Steady().UnixNano()-at < int64(time.Second) {
			u.cut()
		}
	}
	return ctx, func() {
		u.mu.Lock()
		delete(u.ops, op)
		u.mu.Unlock()
		cancel(nil)
		stop()
	}
}

// cut ends every conversation that still runs a moment from now.
func (u *unit) cut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for op := range u.ops {
		time.AfterFunc(cutAfter, func() { op.cancel(errStopped) })
	}
}

// reconcile makes the devices follow their commands until ctx ends.
func (u *unit) reconcile(ctx context.Context) { u.follow(ctx, func() bool { return false }) }

// follow works until done, or until ctx ends. Releases come first.
func (u *unit) follow(ctx context.Context, done func() bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil && !done() {
		j, again := u.pick(ctx)
		if j.do != nil {
			j.do()
			continue
		}
		if !again.IsZero() {
			timer.Reset(max(0, time.Until(again)))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-u.wake:
		case <-timer.C:
		}
	}
}

// pick finds the next thing to do, or when to look again.
func (u *unit) pick(ctx context.Context) (job, time.Time) {
	var again time.Time
	for _, releases := range []bool{true, false} {
		for _, s := range u.slots {
			if s.due.Load() != releases {
				continue
			}
			j, at := s.pick(ctx, time.Now())
			if j.do != nil {
				return j, time.Time{}
			}
			again = sooner(again, at)
		}
	}
	return job{}, again
}

// sooner of two instants, where zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// job is one conversation with a device, ready to begin.
type job struct{ do func() }

// action is what a device needs next.
type action int

const (
	rest action = iota
	neutralise
	release
	drop    // close an entry under which nothing was written
	prepare // journal what is found
	unprove // journal that the cap on the way is not proven
	apply
	check
	look // whether a write arrived late
)

// pick decides and, in the same breath, opens the conversation, so that no
// command can slip in between.
func (s *slot) pick(ctx context.Context, now time.Time) (job, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteDue(now)
	act, at := s.next(now)
	if at.After(now) {
		return job{}, at
	}
	target := s.cmd.control()
	switch act {
	case rest:
		return job{}, time.Time{}
	case drop:
		s.drop()
		return s.pickAgain()
	case unprove:
		s.unprove(target, now)
		return s.pickAgain()
	case neutralise:
		return s.job(ctx, true, s.doNeutral), time.Time{}
	case release:
		e := *s.entry
		return s.job(ctx, true, func(ctx context.Context) { s.doRelease(ctx, e) }), time.Time{}
	case look:
		return s.job(ctx, false, s.doLook), time.Time{}
	case prepare:
		return s.job(ctx, false, s.doPrepare), time.Time{}
	case apply:
		if why := s.overdrawn(target, now); why != nil {
			s.stop(CodeWriteBudget, why, midnight(now))
			return s.pickAgain()
		}
		before := s.intend(target)
		return s.job(ctx, false, func(ctx context.Context) { s.doApply(ctx, target, before) }), time.Time{}
	case check:
		of, unsure := s.told, s.unsure
		if unsure {
			of = s.trying
		}
		return s.job(ctx, false, func(ctx context.Context) { s.doCheck(ctx, of, unsure) }), time.Time{}
	}
	return job{}, time.Time{}
}

// pickAgain makes the loop come back at once.
func (s *slot) pickAgain() (job, time.Time) { return job{do: func() {}}, time.Time{} }

func (s *slot) job(ctx context.Context, release bool, fn func(context.Context)) job {
	ctx, end := s.unit.begin(ctx, release)
	return job{do: func() {
		defer end()
		fn(ctx)
	}}
}

// next is what the device needs, and not before when; mu is held.
func (s *slot) next(now time.Time) (action, time.Time) {
	want, needed := s.cmd.control(), len(s.cmd.ready) > 0 || now.Before(s.expected)
	asked := want.Order != flex.OrderNone
	switch {
	case s.neutral:
		return neutralise, s.retryAt
	case s.belated != nil:
		return release, s.retryAt
	case !s.cmd.valid:
		return rest, time.Time{}
	case s.stands && (!asked || s.block != nil):
		return release, s.retryAt
	case (s.entry != nil && !s.stands || s.keeps) && (s.block != nil || !asked && !needed):
		return drop, time.Time{}
	case !asked && !needed:
		return s.nextLook(now)
	case s.block != nil || s.entry == nil:
		return s.nextPrepare()
	case !asked:
		return rest, s.expected
	case !s.book.covered():
		s.c.keeper.hurry()
		return rest, time.Time{}
	}
	return s.nextWrite(want, now)
}

// nextPrepare is for a device that is needed, and of which nothing is journaled
// or something stands against it.
func (s *slot) nextPrepare() (action, time.Time) {
	switch {
	case s.block != nil && s.block.Reason == flex.ReasonUnsupported:
		return rest, time.Time{} // it will not learn it while the dispatch lasts
	case s.block != nil:
		return prepare, s.blockTo
	case s.opened && s.reading == nil && s.misses == 0:
		return rest, time.Time{} // its first reading is under way, and shows what is found
	}
	return prepare, s.retryAt
}

// drop closes an entry under which nothing was written; mu is held.
func (s *slot) drop() {
	s.entry, s.keeps = nil, false
	if s.after != nil {
		s.book.set(&s.after.entry, false)
		return
	}
	s.book.set(nil, false)
}

// nextLook is for a device that is free.
func (s *slot) nextLook(now time.Time) (action, time.Time) {
	if s.after == nil {
		return rest, time.Time{}
	}
	if end, quiet := s.quiet(now); quiet {
		return look, end
	}
	return look, s.after.at
}

// nextWrite is for a device that is to be controlled and whose entry is on
// disk.
func (s *slot) nextWrite(want flex.Target, now time.Time) (action, time.Time) {
	switch {
	case s.unsure && same(s.trying, want):
		return check, s.retryAt
	case want.Once && same(s.told, want):
		return rest, time.Time{} // it is watched how the device falls back
	case s.own.off:
		return check, s.verifyAt // left to others until it holds ours again
	case !same(s.told, want) || s.lost:
		return s.nextChange(want, now)
	}
	refresh := s.proof.Refreshed.Add(s.refreshEvery(want))
	if s.retryAt.After(refresh) {
		refresh = s.retryAt
	}
	verify := s.verifyAt
	if s.suspect {
		verify = time.Time{}
	}
	if end, quiet := s.quiet(now); quiet {
		return check, end
	}
	if refresh.After(verify) {
		return check, verify
	}
	if !s.plate.Follow && s.own.unseen(max(0, refresh.Sub(now)), now) {
		return check, refresh
	}
	return apply, refresh
}

// nextChange reads before it raises a cap: others may have lowered it.
func (s *slot) nextChange(want flex.Target, now time.Time) (action, time.Time) {
	act, at := s.nextCap(want, now)
	raised := want.Order == flex.OrderCap && s.told.Order == flex.OrderCap && !s.lost && want.Power > s.told.Power
	if act == apply && raised && s.own.unseen(max(0, at.Sub(now)), now) {
		return check, at
	}
	return act, at
}

// nextCap lets a changed cap wait until the journal no longer names the old
// one as ours: a power cut in between would otherwise leave a cap that looks
// foreign. It does not wait for long: a lower cap may be a matter of safety.
func (s *slot) nextCap(want flex.Target, now time.Time) (action, time.Time) {
	if want.Order != flex.OrderCap || alike(s.told, want) || len(s.entry.Intent) == 0 && s.clearing == 0 {
		return apply, s.retryAt
	}
	if len(s.entry.Intent) > 0 {
		return unprove, time.Time{}
	}
	if !s.book.reached(s.clearing) && now.Before(s.clearTo) {
		return apply, s.clearTo
	}
	return apply, s.retryAt
}

// quiet tells whether the line must be left free now for a boundary, and when
// that ends.
func (s *slot) quiet(now time.Time) (time.Time, bool) {
	next := s.cmd.next
	if !s.known(now) || next.IsZero() || !now.Before(next) {
		return time.Time{}, false
	}
	need := min(max(2*s.latency, 100*time.Millisecond), 2*time.Second)
	return next.Add(quietGrace), next.Sub(now) < need
}

// overdue is from when on a device that is not read is read before anything is
// kept free for others: long before its last reading counts as old.
const overdue = 10 * time.Second

// known tells whether the device has been read, and lately. Else the line is not
// kept quiet for a boundary: a start waits for that very reading, and where
// boundaries come one after the other there would never be one. mu is held.
func (s *slot) known(now time.Time) bool {
	return s.opened && s.reading != nil && now.Sub(s.reading.At) < max(overdue, 3*s.c.cfg.Poll)
}

// failed puts off the next attempt; mu is held.
func (s *slot) failed(err string) {
	s.err = err
	s.retryAt = time.Now().Add(grow(&s.retry, retryMin, retryMax))
}

// word is an error in one line for a person; the chain goes to the log. mu is held.
func (s *slot) word(err error) string {
	text := flex.Plain(err)
	if text != s.err {
		s.c.log.Warn("a device failed", "device", s.id(), "error", err)
	}
	return text
}

// worked ends a row of failures; mu is held.
func (s *slot) worked() {
	s.err, s.retry, s.retryAt = "", 0, time.Time{}
}
