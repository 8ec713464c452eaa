package modbus

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// queueDepth bounds each priority's queue. A poll of 64 devices with several
// blocks each fits; what does not fit is a caller that never waits.
const queueDepth = 512

// job is one request on its way to the line. It is settled exactly once;
// everything else is set before it is queued, or only touched by the owner of
// the socket.
type job struct {
	ctx    context.Context
	req    Request
	queued time.Time

	// Guarded by Endpoint.mu. A caller that does its job itself needs no
	// channel to wait on.
	settled bool
	result  result
	done    chan struct{} // closed when settled; nil until somebody waits

	first flight // of the flights, of which there is mostly one

	notBefore time.Time // set between repeats after a busy answer
	repeats   int       // repeats so far after a busy answer
	redials   int       // times it was ready and the connection was not usable
	answered  error     // the busy answer it waits after, else nil
}

type result struct {
	resp Response
	err  error
}

func newJob(ctx context.Context, r Request, now time.Time) *job {
	return &job{ctx: ctx, req: r, queued: now}
}

// withdrawn is the error of a job that leaves the queue undone.
func (j *job) withdrawn(cause error) error {
	if j.answered != nil {
		return fmt.Errorf("%w; not repeated: %w", j.answered, cause)
	}
	return fmt.Errorf("%s: %w: %w", j.req, ErrNotSent, cause)
}

// patience is until when the job may be kept waiting for a reconnect.
func (j *job) patience(timeout time.Duration) time.Time {
	until := j.queued.Add(timeout)
	if d, ok := j.ctx.Deadline(); ok && d.Before(until) {
		return d
	}
	return until
}

// queue holds the waiting jobs, first in first out within a priority.
type queue struct {
	lanes [priorities][]*job
}

func (q *queue) push(j *job) bool {
	lane := &q.lanes[j.req.Priority]
	if len(*lane) >= queueDepth {
		return false
	}
	*lane = append(*lane, j)
	return true
}

// putBack returns a job to the head of its lane.
func (q *queue) putBack(j *job) {
	lane := &q.lanes[j.req.Priority]
	*lane = slices.Insert(*lane, 0, j)
}

func (q *queue) remove(j *job) bool {
	lane := &q.lanes[j.req.Priority]
	i := slices.Index(*lane, j)
	if i < 0 {
		return false
	}
	*lane = slices.Delete(*lane, i, i+1)
	return true
}

// takeWrites removes and returns the waiting writes to one unit that are below Stop.
func (q *queue) takeWrites(unit byte) []*job {
	var taken []*job
	q.lanes[Write] = slices.DeleteFunc(q.lanes[Write], func(j *job) bool {
		if j.req.Unit != unit || !j.req.isWrite() {
			return false
		}
		taken = append(taken, j)
		return true
	})
	return taken
}

// impatient removes and returns the jobs to a unit, below Stop, that cannot
// wait until an instant.
func (q *queue) impatient(unit byte, timeout time.Duration, until time.Time) []*job {
	var taken []*job
	for p := Read; p < Stop; p++ {
		q.lanes[p] = slices.DeleteFunc(q.lanes[p], func(j *job) bool {
			if j.req.Unit != unit || j.patience(timeout).After(until) {
				return false
			}
			taken = append(taken, j)
			return true
		})
	}
	return taken
}

// stops reports whether a write of priority Stop waits for the unit.
func (q *queue) stops(unit byte) bool {
	return slices.ContainsFunc(q.lanes[Stop], func(j *job) bool {
		return j.req.Unit == unit && j.req.isWrite()
	})
}

func (q *queue) takeAll() []*job {
	var all []*job
	for p := range q.lanes {
		all = append(all, q.lanes[p]...)
		q.lanes[p] = nil
	}
	return all
}

func (q *queue) len() int {
	n := 0
	for _, lane := range q.lanes {
		n += len(lane)
	}
	return n
}
