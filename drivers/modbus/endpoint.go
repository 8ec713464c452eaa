package modbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Endpoint is one host and port and everything that waits for it. Do, Quiet
// and Stats may be called from any goroutine. The socket belongs to Run, which
// lends it to a caller of Do for one request where nothing stands in the way.
type Endpoint struct {
	addr string
	q    Quirks
	log  *slog.Logger
	dial func(ctx context.Context, addr string, port int) (net.Conn, error)
	wake chan struct{} // one slot: something changed, look again

	turn  chan struct{} // full while somebody touches owner; never while waiting for work
	owner owner

	mu     sync.Mutex
	queue  queue
	units  [256]*unit // nil until a request went there
	met    int        // of them
	flight *flight    // the request on the wire, else nil
	phase  phase
	quiet  time.Time // reads must be over by then
	// stopped is when a stop was last answered, and by which unit.
	stopped     time.Time
	stoppedUnit byte
	stats       Stats
}

type phase int

const (
	idle phase = iota
	running
	ended
)

// flight is the one request on the wire. Its fields are guarded by Endpoint.mu.
type flight struct {
	job     *job
	conn    net.Conn
	started time.Time
	cause   error       // why it was cut, else nil
	cutter  *time.Timer // pending cut for a stop, else nil
}

// NewEndpoint describes the endpoint at addr ("host:port"); nothing is dialled
// before Run and the first request.
func NewEndpoint(addr string, q Quirks, log *slog.Logger) *Endpoint {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{
		addr: addr,
		q:    q.withDefaults(),
		log:  log.With("endpoint", addr),
		wake: make(chan struct{}, 1),
		turn: make(chan struct{}, 1),
	}
	e.dial = dialer(maxMisses * e.q.Timeout)
	e.owner = newOwner(e)
	return e
}

// Do queues the request and waits for its answer. A context that ends while
// the request waits takes it off the queue (ErrNotSent); one that is cancelled
// while the request is on the wire closes the socket. A write that fails is
// ErrNotSent, ErrUncertain, or an *Exception alone: the device refused it.
func (e *Endpoint) Do(ctx context.Context, r Request) (Response, error) {
	r, err := r.prepare(e.q)
	if err != nil {
		return Response{}, err
	}
	if err := ctx.Err(); err != nil {
		return Response{}, fmt.Errorf("%s: %w: %w", r, ErrNotSent, err)
	}
	j := newJob(ctx, r, time.Now())
	if err := e.enqueue(j); err != nil {
		return Response{}, err
	}
	e.tryNow(j)
	done, more := e.waiting(j)
	if more {
		e.poke()
	}
	if done == nil {
		return j.result.resp, j.result.err
	}
	select {
	case <-done:
		return j.result.resp, j.result.err
	case <-ctx.Done():
	}
	if e.withdraw(j, ctx.Err()) {
		e.poke()
	}
	<-done
	return j.result.resp, j.result.err
}

// waiting gives what to wait on for a job, nil when it is settled, and tells
// whether there is more to do.
func (e *Endpoint) waiting(j *job) (done <-chan struct{}, more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !j.settled {
		j.done = make(chan struct{})
	}
	return j.done, e.queue.len() > 0
}

// enqueue adds the job; a stop also clears the way in front of it.
func (e *Endpoint) enqueue(j *job) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.phase == ended {
		return j.withdrawn(ErrClosed)
	}
	if !e.queue.push(j) {
		err := fmt.Errorf("%s: %w", j.req, ErrQueueFull)
		e.stats.count(err)
		return err
	}
	if j.req.Priority == Stop {
		e.clearWay(j.req)
		return nil
	}
	if u := e.units[j.req.Unit]; u != nil && !j.patience(e.q.Timeout).After(u.next) {
		e.queue.remove(j)
		err := j.withdrawn(u.away(j.queued))
		e.stats.count(err)
		return err
	}
	return nil
}

// tryNow does the job on the caller's goroutine if the line is up, free and
// due. Handing each request to Run and its answer back costs two wake-ups,
// which on a fast line take as long as the request.
func (e *Endpoint) tryNow(j *job) {
	select {
	case e.turn <- struct{}{}:
	default:
		return
	}
	defer func() { <-e.turn }()
	o := &e.owner
	if o.line != nil && !o.startAt(j, j.queued).After(j.queued) {
		o.exchange(j, j.queued)
	}
}

// clearWay makes room for a stop: writes to its unit that wait are given back
// unsent, so that no older setpoint follows the stop, and a request that hangs
// on the wire is cut.
func (e *Endpoint) clearWay(stop Request) {
	if stop.isWrite() {
		for _, older := range e.queue.takeWrites(stop.Unit) {
			e.settle(older, Response{}, older.withdrawn(ErrOvertaken))
		}
	}
	f := e.flight
	if f == nil || f.job.req.Priority == Stop || f.cutter != nil {
		return
	}
	wait := e.patienceWith(f.job.req) - time.Since(f.started)
	f.cutter = time.AfterFunc(max(wait, 0), func() { e.cut(f, ErrOvertaken) })
}

// Bounds of how long a request may be on the wire before a stop cuts it.
const (
	cutFactor = 3 // times the usual latency
	cutLeast  = 50 * time.Millisecond
	cutBlind  = 100 * time.Millisecond // where no latency is known yet
)

// patienceWith is how long a request may take before a stop treats it as
// hanging. Cutting costs a reconnect, and a cut write leaves its outcome
// unknown, so both get their usual time, and a write half its timeout.
func (e *Endpoint) patienceWith(r Request) time.Duration {
	if r.isWrite() {
		return e.q.Timeout / 2
	}
	if e.stats.Latency == 0 {
		return min(cutBlind, e.q.Timeout/2)
	}
	return min(max(cutFactor*e.stats.Latency, cutLeast), e.q.Timeout/2)
}

// cut ends a flight from outside by resetting its connection.
func (e *Endpoint) cut(f *flight, cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != f || f.cause != nil {
		return
	}
	f.cause = cause
	f.conn.Close()
}

// withdraw takes a job that still waits off the queue and settles it.
func (e *Endpoint) withdraw(j *job, cause error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.queue.remove(j) {
		return false
	}
	e.settle(j, Response{}, j.withdrawn(cause))
	return true
}

// settle hands out a job's one result. The caller holds mu and has taken the
// job off the queue.
func (e *Endpoint) settle(j *job, resp Response, err error) {
	e.stats.count(err)
	j.settled, j.result = true, result{resp, err}
	if j.done != nil {
		close(j.done)
	}
}

// Quiet keeps the line free at an instant: no request of priority Read is
// started that, by the latency seen lately, could still be on its way then.
// Later calls replace earlier ones.
func (e *Endpoint) Quiet(until time.Time) {
	e.mu.Lock()
	e.quiet = until
	e.mu.Unlock()
	e.poke()
}

// Gap is the pause that it leaves between an answer and the next request.
func (e *Endpoint) Gap() time.Duration { return e.q.Gap }

// Stats returns a copy of the endpoint's counters.
func (e *Endpoint) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Queued = e.queue.len()
	s.Units = e.unitStats(time.Now())
	return s
}

// Run owns the socket until ctx ends; then it closes it, gives every waiting
// request back and returns nil. An endpoint runs once.
func (e *Endpoint) Run(ctx context.Context) error {
	if !e.enter() {
		return errors.New("modbus endpoint " + e.addr + " was already run")
	}
	stop := context.AfterFunc(ctx, e.shut)
	defer stop()
	defer e.leave()
	for ctx.Err() == nil {
		e.turn <- struct{}{}
		at, wait := e.owner.step(ctx)
		<-e.turn
		if wait {
			e.sleep(ctx, at)
		}
	}
	return nil
}

// sleep waits until at (the zero time: for ever), a change of the queue, or
// the end.
func (e *Endpoint) sleep(ctx context.Context, at time.Time) {
	var due <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-e.wake:
	case <-due:
	}
}

// shut lets nothing more onto the wire and cuts what is on it.
func (e *Endpoint) shut() {
	e.mu.Lock()
	e.phase = ended
	f := e.flight
	e.mu.Unlock()
	if f != nil {
		e.cut(f, ErrClosed)
	}
}

func (e *Endpoint) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.phase != idle {
		return false
	}
	e.phase = running
	return true
}

// leave closes the socket and gives every waiting request back.
func (e *Endpoint) leave() {
	e.shut()
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	e.owner.endWatch()
	if e.owner.line != nil {
		e.owner.hangUp()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, j := range e.queue.takeAll() {
		e.settle(j, Response{}, j.withdrawn(ErrClosed))
	}
}

func (e *Endpoint) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}
