package modbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// maxMisses is how many timeouts in a row a connection survives: one may
	// be a slow answer, two are a half-open connection until proven otherwise.
	maxMisses = 2
	// maxRedials bounds the connections one request may use up before it is
	// sent, for a peer that accepts and closes.
	maxRedials = 3
	// busyPause is waited before a request is repeated after exception 5 or 6,
	// and that many times more before each further repeat.
	busyPause = 100 * time.Millisecond
	// quietGrace is how long after the quiet instant reads still wait, so that
	// a write queued on the instant finds the line free.
	quietGrace = 20 * time.Millisecond
)

// owner is the connection, its pacing and its back-off. Only the holder of
// Endpoint.turn touches it.
type owner struct {
	e       *Endpoint
	line    *line // nil while not connected
	lib     *library
	txid    uint16 // of the request last sent
	firstID uint16 // what txid started from

	watched <-chan struct{} // the end of whose context cuts the flight
	unwatch func() bool

	settled  time.Time // connect delay is over
	lastDone time.Time // end of the last request on the wire
	lastUnit byte
	lastSent time.Time // of the request last tried
	wrote    bool      // whether any of its bytes went out

	port     int       // of a connection that the device may still believe in, else 0
	failures int       // connections in a row that brought no valid answer
	nextDial time.Time // back-off
	dialErr  error     // why
}

func newOwner(e *Endpoint) owner {
	// A random start keeps answers meant for an earlier process from matching.
	start := uint16(rand.Uint32())
	return owner{e: e, txid: start, firstID: start}
}

// step does one thing for the job at the head of the queue: refuse, connect,
// or exchange. Where that has to wait it says so instead, until when (the zero
// time: until something changes). The queue is looked at anew every time, so a
// more urgent job waits for nothing but the request on the wire.
func (o *owner) step(ctx context.Context) (at time.Time, wait bool) {
	e := o.e
	now := time.Now()
	e.mu.Lock()
	j, due := e.pick(now)
	e.mu.Unlock()
	switch {
	case j == nil:
		return o.rest(now, due)
	case j.ctx.Err() != nil:
		e.withdraw(j, j.ctx.Err())
		return time.Time{}, false
	}
	if o.line == nil && j.req.Priority != Stop && now.Before(o.nextDial) {
		return o.backOff(j)
	}
	if at := o.startAt(j, now); at.After(now) {
		return at, true
	}
	if o.line == nil {
		o.connect(ctx, j)
	} else {
		o.exchange(j, now)
	}
	return time.Time{}, false
}

// rest closes a connection nobody used for long, and waits for work, or for
// work that is held back to become due.
func (o *owner) rest(now, due time.Time) (at time.Time, wait bool) {
	if o.line == nil || o.e.q.IdleClose == 0 {
		return due, true
	}
	at = later(o.lastDone, o.settled).Add(o.e.q.IdleClose)
	if at.After(now) {
		if !due.IsZero() && due.Before(at) {
			at = due
		}
		return at, true
	}
	o.hangUp()
	o.e.log.Debug("connection closed after idling", "after", o.e.q.IdleClose)
	return due, true
}

// backOff keeps a job for the next dial if it can wait that long, and fails it
// at once if not.
func (o *owner) backOff(j *job) (at time.Time, wait bool) {
	if j.patience(o.e.q.Timeout).After(o.nextDial) {
		return o.nextDial, true
	}
	o.e.withdraw(j, fmt.Errorf("next connect in %s: %w",
		time.Until(o.nextDial).Round(time.Millisecond), o.dialErr))
	return time.Time{}, false
}

// startAt is the earliest instant the job may be put on the wire, by the gap
// since the last request, the connect delay, a pause after a busy answer, and
// the quiet instant.
func (o *owner) startAt(j *job, now time.Time) time.Time {
	q := o.e.q
	at := j.notBefore
	if o.line != nil {
		at = later(at, o.settled)
	}
	if !o.lastDone.IsZero() {
		gap := q.Gap
		if j.req.Unit != o.lastUnit {
			gap = max(gap, q.UnitGap)
		}
		at = later(at, o.lastDone.Add(gap))
	}
	if j.req.Priority == Read {
		at = o.pastQuiet(later(at, now))
	}
	return at
}

// pastQuiet moves the start of a read behind the quiet instant if the read,
// and the gap after it, might not be over by then.
func (o *owner) pastQuiet(at time.Time) time.Time {
	e := o.e
	e.mu.Lock()
	quiet, took := e.quiet, max(e.stats.PeakLatency, 2*e.stats.Latency)
	e.mu.Unlock()
	end := quiet.Add(quietGrace)
	if quiet.IsZero() || !at.Before(end) {
		return at
	}
	took += max(e.q.Gap, e.q.UnitGap)
	if o.line == nil {
		took += e.q.ConnectDelay
	}
	if at.Add(took).After(quiet) {
		return end
	}
	return at
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// connect dials once for the job at the head. The dial outlives that job's
// caller, because whoever comes next needs it as well.
func (o *owner) connect(ctx context.Context, j *job) {
	e := o.e
	dialCtx, cancel := context.WithTimeout(ctx, e.q.Timeout)
	conn, err := e.dial(dialCtx, e.addr, o.dialFrom())
	cancel()
	if ctx.Err() != nil {
		if err == nil {
			conn.Close()
		}
		return
	}
	if err != nil {
		err = fmt.Errorf("cannot connect to %s: %w", e.addr, err)
		o.failed(err)
		e.mu.Lock()
		e.stats.ConnectFailures++
		e.stats.note(err)
		e.mu.Unlock()
		e.withdraw(j, err)
		return
	}
	o.line = newLine(conn, &o.txid)
	o.lib = newLibrary(o.line)
	o.settled = time.Now().Add(e.q.ConnectDelay)
	e.mu.Lock()
	e.stats.Connects++
	e.stats.Connected = true
	e.mu.Unlock()
	if o.failures > 0 || o.txid == o.firstID {
		e.log.Info("connected")
	}
}

// dialFrom is the local port to connect from: after a connection that may have
// ended without the device's knowledge that one again, and where it does not
// work, any and that one in turns.
func (o *owner) dialFrom() int {
	if o.failures%2 == 1 {
		return 0
	}
	return o.port
}

// failed doubles the pause before the next dial.
func (o *owner) failed(err error) {
	if o.failures == 0 {
		o.e.log.Warn("endpoint fails, retrying with growing pauses", "error", err)
	}
	o.failures++
	o.nextDial = time.Now().Add(backOffAfter(o.failures, o.e.q))
	o.dialErr = err
}

// drop closes the connection after an error. One that never brought a valid
// answer counts as a failed connect: else a peer that accepts and closes would
// be dialled without pause.
func (o *owner) drop(err error) {
	proven := o.line.proven
	o.hangUp()
	if o.wrote { // else the device closed an idle connection, which some do after every answer
		o.e.log.Info("connection dropped", "reason", err)
	}
	if proven {
		o.failures, o.nextDial = 0, time.Time{}
		return
	}
	o.failed(err)
}

// hangUp resets the connection, see dialer.
func (o *owner) hangUp() {
	o.line.conn.Close()
	o.line, o.lib = nil, nil
	o.e.mu.Lock()
	o.e.stats.Connected = false
	o.e.mu.Unlock()
}

// isFatal reports whether the connection can not be trusted after err.
func (o *owner) isFatal(err error) bool {
	switch {
	case answered(err):
		return false
	case errors.Is(err, ErrTimeout) && !errors.Is(err, ErrLost):
		return o.line.misses >= maxMisses
	}
	return true
}
