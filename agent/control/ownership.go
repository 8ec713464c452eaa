package control

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// claim is where our claim on a device stands against others'.
type claim struct {
	contests []time.Time // answers to others within contestsIn
	pending  bool        // others' value is answered at the next refresh
	off      bool        // left to the others, policy alarm
	yielded  bool        // given up, and not taken again since
	until    time.Time   // rests until
	checked  time.Time   // last read-back, whatever it found
	last     flex.Interference
}

// unseen tells whether a write in a while would rest on too old a read-back.
// What is known to be others' and about to be answered is not read once more.
func (c *claim) unseen(in time.Duration, now time.Time) bool {
	return !c.pending && now.Add(in).Sub(c.checked) > seenFor
}

// resting tells whether the claim is given up for now.
func (c *claim) resting(now time.Time) bool { return now.Before(c.until) }

// recent is how often others were answered lately.
func (c *claim) recent(now time.Time) int {
	c.contests = slices.DeleteFunc(c.contests, func(t time.Time) bool { return now.Sub(t) >= contestsIn })
	return len(c.contests)
}

func (s *slot) policy() flex.Ownership {
	if s.set.Ownership == "" {
		return flex.OwnContest
	}
	return s.set.Ownership
}

// interfered answers a change that was not ours; found is a reading taken
// right after it was seen, if there is one.
func (s *slot) interfered(rec flex.Receipt, found *flex.Reading, now time.Time) {
	s.meddled, s.verifyAt = now, now.Add(verifyEvery)
	if found == nil && s.reading != nil && s.reading.At.After(s.sentAt) {
		found = s.reading
	}
	cause, text := s.cause(found, now), problems(rec.Problems)
	if !s.own.off && !s.own.pending || cause != s.own.last.Cause {
		s.own.last = flex.Interference{At: now, Cause: cause, Text: text}
		s.c.log.Warn("a device does not hold what it was told", "device", s.id(), "cause", cause, "found", text, "policy", s.policy())
	}
	switch {
	case cause == flex.CauseLimit:
		s.lowered(found, text, now)
	case s.own.off, s.own.pending && cause == flex.CauseController:
		s.proof.EchoAt = time.Time{}
	case cause == flex.CauseRestarted, cause == flex.CauseReverted && s.lapsed(now):
		s.tellAgain(cause, text)
	case cause == flex.CauseReverted:
		// Before its time: its own doing, or somebody switched our control off.
		if s.contest(cause, text, now) {
			s.tellAgain(cause, text)
		}
	default:
		s.answer(text, now)
	}
}

// cause attributes a change as far as the device lets it be told.
func (s *slot) cause(r *flex.Reading, now time.Time) flex.Cause {
	off := r != nil && r.Acting != nil && !*r.Acting
	capped := s.told.Order == flex.OrderCap && !off
	switch {
	case capped && r != nil && r.Limit != nil && *r.Limit < s.power:
		return flex.CauseLimit
	case s.opens != s.opensAt:
		return flex.CauseRestarted
	case off, s.lapsed(now):
		return flex.CauseReverted
	case capped && (r == nil || r.Limit == nil):
		return flex.CauseLimit // it may be lower, and is not written above
	}
	return flex.CauseController
}

// lapsed tells whether the lease was over anyway.
func (s *slot) lapsed(now time.Time) bool {
	lease := s.told.Revert
	if lease <= 0 {
		lease = s.c.cfg.Lease
	}
	return now.Sub(s.proof.Refreshed) >= lease
}

// tellAgain answers a device that fell back at once: nobody is fought.
func (s *slot) tellAgain(cause flex.Cause, text string) {
	s.lost = true
	word := "fell back"
	if cause == flex.CauseRestarted {
		word = "was away and came back without its setpoint"
	}
	s.c.cfg.Health.Raise(CodeDeviceReverted, string(s.id()), fmt.Sprintf("%s %s: %s; it is told again", s.id(), word, text))
}

// lowered gives way to a cap that others have set below ours, whatever the
// policy: it may be a matter of safety.
func (s *slot) lowered(r *flex.Reading, text string, now time.Time) {
	why := flex.Refuse(flex.ReasonLimitSetByOthers, "%s: the cap of %v was changed by others, and is not known to be higher: %s", s.id(), s.power, text)
	if r != nil && r.Limit != nil {
		why = flex.Refuse(flex.ReasonLimitSetByOthers, "%s: the cap of %v was lowered to %v by others", s.id(), s.power, *r.Limit)
	}
	s.stop(CodeForeignLimit, why, now.Add(blockedFor))
}

// answer deals with another controller by the device's policy. What is
// contested is written at the next refresh, and no sooner: two masters that
// fight wear a device out.
func (s *slot) answer(text string, now time.Time) {
	s.proof.EchoAt = time.Time{}
	then := "it is written again at the next refresh"
	switch s.policy() {
	case flex.OwnYield:
		s.yield(flex.CauseController, text, now)
		return
	case flex.OwnAlarm:
		s.own.off = true
		then = "it is left so"
	case flex.OwnContest:
		if !s.contest(flex.CauseController, text, now) {
			return
		}
		s.own.pending = true
	}
	s.c.cfg.Health.Raise(CodeForeignWrite, string(s.id()), fmt.Sprintf("%s was changed by others: %s; %s", s.id(), text, then))
}

// contest takes one of the answers that are left, or yields.
func (s *slot) contest(cause flex.Cause, text string, now time.Time) bool {
	most := s.set.Contests
	if most <= 0 {
		most = contestsMost
	}
	if n := s.own.recent(now); n >= most {
		s.yield(cause, fmt.Sprintf("%s, after writing again %d times in %v", text, n, contestsIn), now)
		return false
	}
	s.own.contests = append(s.own.contests, now)
	return true
}

// yield gives our claim up for a while. The release that follows leaves alone
// what others have set.
func (s *slot) yield(cause flex.Cause, text string, now time.Time) {
	wait := s.set.Rest
	if wait <= 0 {
		wait = yieldRest
	}
	s.own.yielded, s.own.until = true, now.Add(wait)
	s.own.last = flex.Interference{At: now, Cause: cause, Text: text}
	s.proof.EchoAt = time.Time{}
	s.stop(CodeOverridden, flex.Refuse(flex.ReasonDeviceUnavailable, "%s: overridden by others: %s; tried again after %s",
		s.id(), text, s.own.until.UTC().Format(time.RFC3339)), s.own.until)
}

// holdsAgain takes notice that what we wrote stands.
func (s *slot) holdsAgain(now time.Time) {
	s.own.pending = false
	if s.proof.EchoAt.IsZero() {
		s.proof.EchoAt = now
	}
	if s.own.off {
		s.own.off = false
		s.c.log.Info("a device holds our setpoint again", "device", s.id())
	}
}

// interference is the latest one, while it matters.
func (s *slot) interference(now time.Time) *flex.Interference {
	in := s.own.last
	if in.At.IsZero() || now.Sub(in.At) >= contestsIn && !s.own.off && !s.own.resting(now) {
		return nil
	}
	in.Policy, in.HandsOff, in.Contests = s.policy(), s.own.off, s.own.recent(now)
	if s.own.resting(now) {
		in.Until = s.own.until
	}
	return &in
}
