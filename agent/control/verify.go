package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"flexd/agent/flex"
)

// doCheck reads back and writes nothing: to resolve an uncertain write, or to
// see whether what we wrote still stands.
func (s *slot) doCheck(ctx context.Context, t flex.Target, unsure bool) {
	rec, err := s.dev.Verify(ctx, t)
	var found *flex.Reading
	if err == nil && !rec.Echo && !unsure { // whose doing it is, is told from what is there now
		if r, err := s.dev.Read(ctx); err == nil {
			found = &r
		}
	}
	now := time.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspect, s.own.checked = false, now
	switch {
	case err != nil && unsure:
		s.failed(s.word(err))
	case err != nil:
		s.verifyAt = now.Add(verifyEvery)
	case unsure && rec.Echo:
		s.noteSent(t, rec)
		s.proven(t, rec)
	case unsure:
		s.unsure, s.lost = false, true // not there: write it again
	case rec.Echo:
		s.verifyAt = now.Add(verifyEvery)
		s.holdsAgain(now)
		if !s.meddled.IsZero() && now.Sub(s.meddled) >= calmFor {
			s.meddled = time.Time{}
			s.noteClear(CodeForeignWrite)
			s.noteClear(CodeDeviceReverted)
		}
	default:
		s.interfered(rec, found, now)
	}
	s.c.cfg.OnChange()
}

// problems puts fields that do not hold into words.
func problems(list []flex.Problem) string {
	parts := make([]string, 0, len(list))
	for _, p := range list {
		parts = append(parts, fmt.Sprintf("%s is %s, not %s", p.Field, p.Got, p.Want))
	}
	if len(parts) == 0 {
		return "the registers do not hold it"
	}
	return strings.Join(parts, ", ")
}

// settling is how long the device may take after a change; mu is held.
func (s *slot) settling() time.Duration {
	return max(s.c.cfg.Settle, s.plate.Settle, s.c.cfg.Standing(s.id()).Settle)
}

// judge tells by a reading whether the device acts and delivers; mu is held.
func (s *slot) judge(r flex.Reading, now time.Time) {
	if !s.stands || s.told.Order == flex.OrderNone || s.proof.EchoAt.IsZero() && !s.own.off || !r.At.After(s.sentAt) {
		return
	}
	if r.Held != nil && s.block == nil { // a fault, no leave to run: by its own words, and not as if it failed to deliver
		s.refuse(r.Held)
		return
	}
	s.judgeActing(r)
	if r.Power == nil {
		return
	}
	s.judgeContrary(r, now)
	if s.met(*r.Power) {
		s.delivered(r.At)
		return
	}
	if r.At.Sub(s.changed) < s.settling() || s.told.Once {
		return // on its way, or left to fall back
	}
	if s.badSince.IsZero() {
		s.badSince = r.At
	}
	if r.At.Sub(s.badSince) < badFor || s.deliver != nil && !*s.deliver {
		return
	}
	no := false
	s.deliver = &no
	s.c.cfg.Health.Raise(CodeNotDelivering, string(s.id()),
		fmt.Sprintf("%s was told %s %v and gives %v, tolerance %v", s.id(), s.told.Order, s.power, *r.Power, s.tolerance(s.power)))
	s.c.cfg.OnChange()
}

// judgeActing takes the device's own word, and reads back when it speaks
// against us.
func (s *slot) judgeActing(r flex.Reading) {
	against := r.Acting != nil && !*r.Acting
	if s.told.Order == flex.OrderCap && r.Limit != nil && (*r.Limit-s.power).Abs() > s.tolerance(s.power) {
		against = true
	}
	if against && r.At.Sub(s.sentAt) >= time.Second && s.verifyAt.Sub(r.At) < verifyEvery/2 && s.meddled.IsZero() {
		s.suspect = true
		poke(s.unit.wake)
	}
	if r.Acting == nil || !*r.Acting || !acts(s.told.Order, s.power, r.Power) {
		return
	}
	if s.proof.ActingAt.IsZero() {
		s.proof.ActingAt = r.At
	}
	for _, id := range s.told.Dispatch {
		if v := s.of(id); v.acting.IsZero() && !v.echo.IsZero() {
			v.acting = r.At
			s.c.cfg.OnChange()
		}
	}
}

// met tells whether measured watts are what was told. A cap is met by less.
func (s *slot) met(measured flex.Watts) bool {
	off := measured - s.power
	if s.told.Order == flex.OrderSet {
		off = off.Abs()
	}
	return off <= s.tolerance(s.power)
}

// delivered notes that the watts are there.
func (s *slot) delivered(at time.Time) {
	s.badSince = time.Time{}
	if s.deliver == nil || !*s.deliver {
		yes := true
		s.deliver = &yes
		s.noteClear(CodeNotDelivering)
		s.c.cfg.OnChange()
	}
	if s.proof.DeliverAt.IsZero() {
		s.proof.DeliverAt = at
	}
	for _, id := range s.told.Dispatch {
		if v := s.of(id); v.deliver.IsZero() && !v.echo.IsZero() {
			v.deliver = at
		}
	}
}
