package modbus

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// unit is what is known of one unit id behind the endpoint. A gateway lives
// while a device behind it is dead, and each question to the dead one costs
// its neighbours a timeout; so a unit backs off alone. One without neighbours
// does not: the connection's own back-off is enough. Guarded by Endpoint.mu.
type unit struct {
	stats    UnitStats
	failures int       // in a row
	failed   time.Time // the last of them
	next     time.Time // back-off: nothing but a stop is sent before
}

// UnitStats counts what happened to the requests for one unit.
type UnitStats struct {
	Unit     byte
	Requests uint64 // that went onto the wire
	Failures uint64 // without an answer of the unit, for whatever reason

	LastError   string
	LastErrorAt time.Time
	RetryAt     time.Time // while it backs off, else the zero time
}

// unitOf returns the state of a unit, made where it is new.
func (e *Endpoint) unitOf(id byte) *unit {
	if e.units[id] == nil {
		e.units[id] = &unit{stats: UnitStats{Unit: id}}
		e.met++
	}
	return e.units[id]
}

// silent reports whether err, on a request that had its time, means that the
// unit itself did not answer. A busy or refusing unit lives.
func silent(err error, patient, wrote bool) bool {
	if err == nil {
		return false
	}
	var exception *Exception
	switch {
	case errors.As(err, &exception):
		return exception.Code == GatewayNoPath || exception.Code == GatewayTargetSilent
	case errors.Is(err, ErrLost), errors.Is(err, ErrProtocol):
		return wrote // some gateways drop the connection instead of telling
	}
	return errors.Is(err, ErrTimeout) && patient
}

// account files what came of one request to a unit: it lives, or it starts or
// prolongs its back-off. The caller holds mu.
func (e *Endpoint) account(r Request, err error, failed bool, now time.Time) {
	u := e.unitOf(r.Unit)
	u.stats.Requests++
	if err != nil {
		u.stats.LastError, u.stats.LastErrorAt = err.Error(), now
	}
	if !failed {
		if answered(err) && u.failures > 1 {
			e.log.Info("unit answers again", "unit", r.Unit)
		}
		if answered(err) {
			u.failures, u.next = 0, time.Time{}
		}
		if answered(err) && r.Priority == Stop {
			e.stopped, e.stoppedUnit = now, r.Unit
		}
		return
	}
	u.stats.Failures++
	u.failures++
	u.failed = now
	if e.met < 2 {
		return // there is nobody to spare
	}
	u.next = now.Add(backOffAfter(u.failures, e.q))
	if u.failures == 2 { // once is a fault, twice is a state
		e.log.Warn("unit fails, retrying with growing pauses", "unit", r.Unit, "error", err)
	}
	for _, j := range e.queue.impatient(r.Unit, e.q.Timeout, u.next) {
		e.settle(j, Response{}, j.withdrawn(u.away(now)))
	}
}

// away is why a request to a unit in back-off is not sent. The cause is told
// as text only: it happened to another request.
func (u *unit) away(now time.Time) error {
	return fmt.Errorf("unit %d failed %d times, next try in %s: %s",
		u.stats.Unit, u.failures, u.next.Sub(now).Round(time.Millisecond), u.stats.LastError)
}

// backOffAfter is the pause after so many failures in a row: doubled each
// time, and spread by a quarter both ways, so that many sites do not come back
// in step.
func backOffAfter(failures int, q Quirks) time.Duration {
	pause := q.BackoffMin
	for i := 1; i < failures && pause < q.BackoffMax; i++ {
		pause *= 2
	}
	pause = time.Duration(float64(pause) * (0.75 + rand.Float64()/2))
	return min(pause, q.BackoffMax)
}

// stopLinger is how long the line is kept for a unit that is being stopped: a
// stop is several requests, and the next one comes as soon as its caller has
// looked at the last answer.
const stopLinger = 100 * time.Millisecond

// lastInLine tells whether a stop is to a unit that did not answer lately.
// Such a stop goes behind those of its neighbours, not between them: each may
// cost a timeout, and its neighbours are to wait for one at most, the one
// that is on the wire already.
func (e *Endpoint) lastInLine(r Request) bool {
	u := e.units[r.Unit]
	return r.Priority == Stop && u != nil && u.failures > 0 && e.met > 1
}

// pick is the job to be done next, or nil, and when a job that is held back
// now may go (the zero time: there is none). Jobs to one unit keep their
// order: what is held back holds back whatever is behind it. The caller holds
// mu.
func (e *Endpoint) pick(now time.Time) (next *job, at time.Time) {
	var held [4]uint64 // a bit for each unit
	isHeld := func(unit byte) bool { return held[unit>>6]&(1<<(unit&63)) != 0 }
	hold := func(j *job, until time.Time) {
		held[j.req.Unit>>6] |= 1 << (j.req.Unit & 63)
		if at.IsZero() || until.Before(at) {
			at = until
		}
	}
	for p := priorities - 1; p >= Read; p-- {
		var last *job
		for _, j := range e.queue.lanes[p] {
			u := e.units[j.req.Unit]
			switch {
			case isHeld(j.req.Unit):
			case j.ctx.Err() != nil:
				return j, time.Time{}
			case j.notBefore.After(now):
				hold(j, j.notBefore)
			case e.lastInLine(j.req):
				if free := e.stopped.Add(stopLinger); e.stoppedUnit != j.req.Unit && free.After(now) {
					hold(j, free)
				} else if last == nil {
					last = j
				}
			case p < Stop && u != nil && u.next.After(now):
				hold(j, u.next)
			default:
				return j, time.Time{}
			}
		}
		if last != nil {
			return last, time.Time{}
		}
	}
	return nil, at
}

// unitStats lists the units in order. The caller holds mu.
func (e *Endpoint) unitStats(now time.Time) []UnitStats {
	out := make([]UnitStats, 0, e.met)
	for _, u := range e.units {
		if u == nil {
			continue
		}
		s := u.stats
		if u.next.After(now) {
			s.RetryAt = u.next
		}
		out = append(out, s)
	}
	return out
}
