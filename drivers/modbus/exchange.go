package modbus

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// exchange puts the job on the wire, if it is still the one to be done, and
// settles it. now is a moment ago at most.
func (o *owner) exchange(j *job, now time.Time) {
	e := o.e
	deadline, full := now.Add(e.q.Timeout), true
	if d, ok := j.ctx.Deadline(); ok && d.Before(deadline) {
		deadline, full = d, false
	}
	f := e.launch(j, o.line, now)
	if f == nil {
		return
	}
	o.watch(j.ctx)
	words, err := o.run(j, now, deadline)
	done := time.Now()
	// Most of the time that the device may take is enough to call it silent.
	patient := deadline.Sub(now) >= e.q.Timeout/2
	cause := o.land(f, err, full, patient, done)
	if err != nil && cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	o.conclude(j, Response{Words: words, Sent: o.lastSent, Done: done}, err)
}

// launch takes the job off the queue and onto the wire in one motion, so that
// a stop that is queued from now on finds it there.
func (e *Endpoint) launch(j *job, l *line, now time.Time) *flight {
	e.mu.Lock()
	defer e.mu.Unlock()
	if next, _ := e.pick(now); next != j || e.phase != running {
		return nil
	}
	e.queue.remove(j)
	e.flight = &j.first
	if j.first.job != nil { // a late cut of that one must not find this one
		e.flight = &flight{}
	}
	*e.flight = flight{job: j, conn: l.conn, started: now}
	return e.flight
}

// watch has the flight cut when its caller cancels. A caller's deadline needs
// no cut: it is the connection's deadline too, and a late answer can be
// skipped. The watch stays for the next request, which mostly comes from the
// same caller.
func (o *owner) watch(ctx context.Context) {
	done := ctx.Done()
	if done == o.watched && (done == nil || ctx.Err() == nil) {
		return
	}
	o.endWatch()
	if done == nil {
		return
	}
	e := o.e
	o.watched = done
	o.unwatch = context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.Canceled) {
			return
		}
		e.mu.Lock()
		f := e.flight
		e.mu.Unlock()
		if f != nil && f.job.ctx.Done() == done {
			e.cut(f, ctx.Err())
		}
	})
}

func (o *owner) endWatch() {
	if o.unwatch != nil {
		o.unwatch()
	}
	o.watched, o.unwatch = nil, nil
}

// run is the part under the deadline.
func (o *owner) run(j *job, now, deadline time.Time) ([]uint16, error) {
	l := o.line
	o.wrote, l.wrote, l.anyUnit = false, false, j.req.AnyUnit
	if err := l.until(deadline, now); err != nil {
		return nil, err
	}
	words, err := o.lib.do(j.req)
	if o.wrote = l.wrote; o.wrote {
		o.lastSent = l.sent
	}
	return words, err
}

// land ends the flight, updates what is known of the connection, drops it
// unless it is still in step, and returns why the flight was cut, if it was.
func (o *owner) land(f *flight, err error, full, patient bool, done time.Time) (cause error) {
	e, l, j := o.e, o.line, f.job
	if l.wrote {
		o.lastDone, o.lastUnit = done, j.req.Unit
	}
	e.mu.Lock()
	e.flight, cause = nil, f.cause
	if f.cutter != nil {
		f.cutter.Stop()
	}
	u := e.unitOf(j.req.Unit)
	// A unit that was silent before, while others have answered since, says
	// nothing about the connection.
	alone := u.failures > 0 && l.answered.After(u.failed)
	if full && errors.Is(err, ErrTimeout) && !alone {
		l.misses++
	}
	if l.wrote {
		e.account(j.req, err, cause == nil && silent(err, patient, l.wrote), done)
	}
	ends := cause != nil || o.isFatal(err)
	if l.wrote && (ends || j.req.isWrite() && unresolved(err)) {
		e.stats.Breaks++
		e.stats.BrokeAt = done
	}
	e.stats.Late += l.late
	l.late = 0
	if answered(err) {
		l.answered = done
		e.stats.measured(done.Sub(l.sent))
	}
	e.mu.Unlock()
	if l.proven {
		o.port = 0
	}
	if ends && o.port == 0 && unheard(err, cause) {
		o.port = l.port()
	}
	switch {
	case cause != nil:
		o.hangUp() // our own doing, not a failure of the device
		e.log.Info("connection cut", "request", j.req.String(), "reason", cause)
	case ends:
		o.drop(err)
	}
	if l.proven {
		o.failures = 0
	}
	return cause
}

// answered reports whether err is what a whole and matching answer said.
func answered(err error) bool {
	if err == nil || errors.Is(err, ErrEcho) {
		return true
	}
	var exception *Exception
	return errors.As(err, &exception)
}

// unheard reports whether a connection ended without a word of the device, so
// that it may not have heard of the end.
func unheard(err, cause error) bool {
	return cause != nil || errors.Is(err, ErrTimeout) || errors.Is(err, syscall.ETIMEDOUT)
}

// unresolved reports whether a request may yet be carried out after err.
func unresolved(err error) bool {
	var exception *Exception
	if errors.As(err, &exception) {
		return exception.uncertain()
	}
	return !answered(err)
}

// conclude settles the job, or puts it back at the head of its lane: if the
// connection turned out unusable before anything was sent, or after a busy
// answer. Nothing else is ever repeated.
func (o *owner) conclude(j *job, resp Response, err error) {
	if err == nil {
		o.finish(j, resp, nil)
		return
	}
	var exception *Exception
	switch {
	case errors.As(err, &exception):
		err = refusal(j.req, exception)
		if exception.busy() && j.repeats < o.e.q.BusyRetries {
			j.repeats++
			j.answered = err
			j.notBefore = resp.Done.Add(time.Duration(j.repeats) * busyPause)
			o.again(j)
			return
		}
	case !o.wrote && !errors.Is(err, ErrClosed) && j.redials < maxRedials:
		j.redials++
		o.again(j)
		return
	case !o.wrote:
		err = j.withdrawn(err)
	case j.req.isWrite():
		err = fmt.Errorf("%s: %w: %w", j.req, ErrUncertain, err)
	default:
		err = fmt.Errorf("%s: %w", j.req, err)
	}
	o.finish(j, Response{Sent: resp.Sent, Done: resp.Done}, err)
}

// refusal is the error of a request answered with an exception.
func refusal(r Request, exception *Exception) error {
	if r.isWrite() && exception.uncertain() {
		return fmt.Errorf("%s: %w: %w", r, ErrUncertain, exception)
	}
	return fmt.Errorf("%s: %w", r, exception)
}

func (o *owner) finish(j *job, resp Response, err error) {
	o.e.mu.Lock()
	defer o.e.mu.Unlock()
	o.e.settle(j, resp, err)
}

// again puts the job back, unless a stop for its unit came meanwhile: a write
// repeated after that stop would undo it.
func (o *owner) again(j *job) {
	e := o.e
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case j.ctx.Err() != nil:
		e.settle(j, Response{}, j.withdrawn(j.ctx.Err()))
	case j.req.isWrite() && j.req.Priority < Stop && e.queue.stops(j.req.Unit):
		e.settle(j, Response{}, j.withdrawn(ErrOvertaken))
	default:
		if j.answered != nil {
			e.stats.BusyRepeats++
		}
		e.queue.putBack(j)
	}
}
