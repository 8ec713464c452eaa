package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"flexd/agent/flex"
)

// doRelease hands the device back. The entry is closed when reading back has
// proven it; until then it is tried again, for ever.
func (s *slot) doRelease(ctx context.Context, e flex.JournalEntry) {
	rec, err := s.dev.Release(ctx, e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wore(free(s.id()), rec)
	if s.belated != nil && len(rec.Wrote) > 0 {
		s.belated.ours = true
	}
	switch {
	case err != nil:
		s.failed(s.word(err))
	case rec.Foreign:
		s.sayLate(rec)
		s.released(rec)
		s.meddled = time.Now()
		s.c.cfg.Health.Raise(CodeForeignWrite, string(s.id()), fmt.Sprintf("%s was changed by others since our last write and is left alone: %s", s.id(), problems(rec.Problems)))
	case rec.Echo:
		s.sayLate(rec)
		s.released(rec)
	default:
		s.failed(fmt.Sprintf("%s is not handed back: %s", s.id(), problems(rec.Problems)))
	}
	s.c.cfg.OnChange()
}

// released closes everything that was owed; mu is held.
func (s *slot) released(rec flex.Receipt) {
	at := rec.At
	if at.IsZero() {
		at = time.Now().UTC()
	}
	left := ""
	if rec.Foreign {
		left = fmt.Sprintf("%s: %s", s.id(), problems(rec.Problems))
		s.c.log.Warn("a device is left as others have set it, and not handed back as it was found", "device", s.id(), "for", s.entry.For, "what", problems(rec.Problems))
	} else {
		s.c.log.Info("a device is handed back", "device", s.id(), "for", s.entry.For)
	}
	kept := s.watch(*s.entry, time.Now())
	s.entry = nil
	if s.keeps = kept == nil && len(s.cmd.ready) > 0; !s.keeps {
		s.book.set(kept, false)
	}
	s.stands, s.inherited, s.unsure, s.lost, s.suspect = false, false, false, false, false
	s.told, s.power, s.proof = free(s.id()), 0, flex.Proof{}
	s.deliver, s.badSince, s.changed, s.sentAt = nil, time.Time{}, time.Time{}, time.Time{}
	s.fails, s.clearing = 0, 0
	s.meddled = time.Time{}
	s.own.pending, s.own.off, s.own.checked = false, false, time.Time{}
	s.corridor = corridor{}
	s.wearing.light, s.wearing.rewrites = false, false
	if len(s.wearing.lease) > 0 {
		s.wearing.last, s.wearing.lease = s.wearing.lease, nil
	}
	s.worked()
	for _, v := range s.served {
		if v.engaged {
			v.engaged, v.released, v.left = false, at, left
		}
	}
	for _, code := range []string{CodeReleaseOwed, CodeNotDelivering, CodeDeviceFailed, CodeForeignWrite, CodeDeviceReverted} {
		s.noteClear(code)
	}
	s.noteDue(time.Now())
	s.c.Wake()
}

// raiseOwed says aloud that a release takes too long; mu is held.
func (s *slot) raiseOwed() {
	why := s.err
	if why == "" {
		why = "it has not answered yet"
	}
	s.c.cfg.Health.Raise(CodeReleaseOwed, string(s.id()),
		fmt.Sprintf("%s is owed its release since %s: %s", s.id(), s.dueSince.UTC().Format(time.RFC3339), why))
}

// doNeutral takes setpoints out of force on a device whose journal was lost.
func (s *slot) doNeutral(ctx context.Context) {
	rec, err := s.dev.Neutral(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wore(free(s.id()), rec)
	switch {
	case errors.Is(err, flex.ErrUnsupported), err == nil && rec.Echo:
		s.neutral = false
		s.worked()
		if len(rec.Problems) > 0 {
			s.c.log.Warn("a device without a journal was brought to neutral, caps are left", "device", s.id(), "left", problems(rec.Problems))
		}
		s.noteClear(CodeReleaseOwed)
		s.noteClear(CodeJournalLost)
	case err != nil:
		s.failed(s.word(err))
	default:
		s.failed(fmt.Sprintf("%s is not neutral: %s", s.id(), problems(rec.Problems)))
	}
	s.noteDue(time.Now())
}

// owing tells whether the slot still has to be handed back.
func (s *slot) owing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteDue(time.Now())
	return s.due.Load()
}

// handBack works on what is due, all units in parallel, until nothing is or
// ctx ends.
func (c *Controller) handBack(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, u := range c.units {
		wg.Go(func() {
			u.follow(ctx, func() bool {
				for _, s := range u.slots {
					if s.owing() {
						return false
					}
				}
				return true
			})
		})
	}
	wg.Wait()
	var errs []error
	for _, s := range c.slots {
		if s.owing() {
			s.mu.Lock()
			errs = append(errs, fmt.Errorf("device %s is not handed back: %s", s.id(), s.err))
			s.mu.Unlock()
		}
	}
	return errors.Join(errs...)
}

// Shutdown ends Run and hands the devices back. With release false, devices
// that fall back by themselves keep their lease, because the next process is
// expected within it; their entries stay open. It returns what is not proven.
func (c *Controller) Shutdown(ctx context.Context, release bool) error {
	if err := c.halt(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if !known {
		return errors.New("what is owed to the devices was never read")
	}
	for _, s := range c.slots {
		s.mu.Lock()
		if release || !s.stands || !s.plate.Revert {
			s.cmd = command{valid: true, target: free(s.id())}
			s.retryAt, s.retry = time.Time{}, 0
			if s.entry != nil && !s.stands || s.keeps {
				s.drop()
			}
		} else {
			s.cmd = command{} // nothing more
		}
		s.mu.Unlock()
	}
	err := c.handBack(ctx)
	return errors.Join(err, c.flush(ctx))
}

// halt ends Run and waits for it.
func (c *Controller) halt(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	stop, stopped := c.stop, c.stopped
	c.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("control does not end: %w", ctx.Err())
	}
}

// settled waits until the disk has the whole journal, and tells whether it has.
func (c *Controller) settled(ctx context.Context) bool {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		if c.keeper.settled() && c.wear.settled() {
			return true
		}
		c.keeper.hurry()
		select {
		case <-ctx.Done():
			return false
		case <-poll.C:
		}
	}
}

// flush waits for the journal, then ends its writers. A commit that the disk
// never answers is left to the end of the process.
func (c *Controller) flush(ctx context.Context) error {
	settled := c.settled(ctx)
	c.end()
	if settled {
		c.books.Wait()
		return nil
	}
	return fmt.Errorf("the journal is not up to date, which the next start puts right: %w", ctx.Err())
}
