package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"flexd/agent/flex"
)

// read samples the unit's devices until ctx ends, one at a time, spread over
// the second so that no reading is on the wire where dispatches begin.
func (u *unit) read(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		s, at := u.nextReading(time.Now())
		if s == nil {
			return
		}
		if wait := time.Until(at); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			continue
		}
		s.sample(ctx)
	}
}

// nextReading is the device whose turn comes first.
func (u *unit) nextReading(now time.Time) (*slot, time.Time) {
	var first *slot
	var when time.Time
	for _, s := range u.slots {
		s.mu.Lock()
		at := s.readAt
		if end, quiet := s.quiet(now); quiet && at.Before(end) {
			at = end
		}
		s.mu.Unlock()
		if first == nil || at.Before(when) {
			first, when = s, at
		}
	}
	return first, when
}

// sample opens the device if need be, and reads it once. The first look, and one
// that is overdue, gives way to no release: that needs what is found as well, and
// a start may wait for the reading.
func (s *slot) sample(ctx context.Context) {
	s.mu.Lock()
	opened, first := s.opened, s.reading == nil || s.opened && !s.known(time.Now())
	s.mu.Unlock()
	if !opened && !s.open(ctx, first) {
		return
	}
	ctx, end := s.unit.begin(ctx, first)
	defer end()
	begun := time.Now()
	r, err := s.dev.Read(ctx)
	now := time.Now()
	if err != nil {
		s.unread(ctx, err, now)
		return
	}
	s.took(r, now, now.Sub(begun))
	if s.set.Cycles > 0 {
		s.c.daily.add(r)
	}
	s.c.cfg.OnReading(r)
}

// open finds and identifies the device.
func (s *slot) open(ctx context.Context, first bool) bool {
	ctx, end := s.unit.begin(ctx, first)
	defer end()
	plate, err := s.dev.Open(ctx)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		wait := grow(&s.openWait, openMin, openMax)
		if errors.Is(context.Cause(ctx), errStopped) {
			wait = openMin
		}
		s.readAt = now.Add(wait)
		s.readErr = flex.Plain(err)
		if s.openWait > openMin {
			s.c.cfg.Health.Raise(CodeDeviceOffline, string(s.id()), fmt.Sprintf("%s at %s unit %d cannot be read: %s", s.id(), s.dev.Endpoint(), s.dev.Unit(), flex.Plain(err)))
		}
		return false
	}
	s.openWait = 0
	s.identify(plate)
	return true
}

// identify takes the nameplate, and sees when another device answers, or one
// that is controlled by other registers than before; mu is held.
func (s *slot) identify(plate flex.Nameplate) {
	was := s.plate
	if s.opens > 0 && (was.Serial != plate.Serial || was.Method != plate.Method) {
		text := fmt.Sprintf("%s was %q by %q, now %q by %q answers at %s unit %d",
			s.id(), was.Serial, was.Method, plate.Serial, plate.Method, s.dev.Endpoint(), s.dev.Unit())
		s.c.cfg.Health.Raise(CodeDeviceChanged, string(s.id()), text)
		s.c.log.Warn("another device answers", "device", s.id(), "was", was.Serial, "is", plate.Serial)
		if s.entry != nil {
			s.refuse(flex.Refuse(flex.ReasonDeviceUnavailable, "%s", text))
		}
	}
	s.plate, s.opened, s.misses = plate, true, 0
	s.opens++
	if s.role() == flex.RoleMeter {
		s.neutral = false
	}
}

// unread counts a reading that failed.
func (s *slot) unread(ctx context.Context, err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readAt = s.nextTurn(now)
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), errStopped) {
		return
	}
	s.readErr = flex.Plain(err)
	s.misses++
	if s.misses < offlineAfter || !s.opened {
		return
	}
	s.opened = false // look again, it may be another
	s.openWait = 0
	s.c.cfg.Health.Raise(CodeDeviceOffline, string(s.id()), fmt.Sprintf("%s at %s unit %d cannot be read: %s", s.id(), s.dev.Endpoint(), s.dev.Unit(), flex.Plain(err)))
	s.c.log.Warn("a device cannot be read", "device", s.id(), "error", err)
	s.c.Wake()
}

// took keeps a reading and judges by it.
func (s *slot) took(r flex.Reading, now time.Time, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.reading == nil || s.readErr != ""
	s.reading, s.misses, s.readErr = &r, 0, ""
	s.latency = max(took, s.latency*7/8)
	s.readAt = s.nextTurn(now)
	if first {
		s.c.cfg.Health.Clear(CodeDeviceOffline, string(s.id()))
		if next := s.cmd.next; now.Before(next) {
			s.c.cfg.Quiet(s.id(), next)
		}
		s.c.Wake()
		poke(s.unit.wake)
	}
	if s.plate.Follow && s.stands {
		poke(s.unit.wake) // to be told anew
	}
	s.judge(r, now)
	s.judgeFree(r, now)
	s.notice(r)
}

// nextTurn is the next time of this device's place in the period. Places lie
// in the middle of it: boundaries are whole seconds.
func (s *slot) nextTurn(now time.Time) time.Time {
	poll := s.c.cfg.Poll
	n := max(1, len(s.c.slots))
	place := poll/5 + poll*3/5*time.Duration(s.unit.index%n)/time.Duration(n)
	at := now.Truncate(poll).Add(place)
	for at.Sub(now) < poll/10 {
		at = at.Add(poll)
	}
	return at
}
