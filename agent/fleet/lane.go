package fleet

import (
	"context"
	"log/slog"
	"time"

	"flexd/agent/flex"
)

// lane is one stream on one connection.
type lane struct {
	stream flex.Stream
	head   func(ctx context.Context, n int) ([]flex.Message, error)
	done   func(ctx context.Context, upto uint64) error
	log    *slog.Logger

	more   bool           // the outbox may hold rows that were not seen
	buf    []flex.Message // rows to publish, in order
	sent   uint64         // last published on this connection
	out    []uint64       // published and not freed, in order
	puback uint64         // all up to here have a PUBACK of this connection
	freed  uint64         // all up to here are deleted
	moved  time.Time      // when it last got shorter, or began

	failing bool // the outbox failed and that was said
}

// next gives the row to publish now. Rows are read in the order of their
// numbers and each once: a lane that has a laneMax of rows out waits for the
// backend.
func (l *lane) next(ctx context.Context) (flex.Message, bool) {
	if len(l.buf) == 0 {
		l.refill(ctx)
	}
	if len(l.buf) == 0 {
		return flex.Message{}, false
	}
	if len(l.out) == 0 {
		l.moved = time.Now()
	}
	m := l.buf[0]
	l.buf = l.buf[1:]
	l.sent = m.Seq
	l.out = append(l.out, m.Seq)
	return m, true
}

func (l *lane) refill(ctx context.Context) {
	if !l.more || len(l.out) >= laneMax {
		return
	}
	rows, err := l.head(ctx, len(l.out)+window)
	if err != nil {
		l.more = false // until the next poll
		l.failed("cannot read", err)
		return
	}
	l.failing = false
	for _, m := range rows {
		if m.Seq > l.sent && m.Seq > l.freed {
			l.buf = append(l.buf, m)
		}
	}
	l.more = len(l.buf) > 0
}

// free deletes up to a number and tells how many rows of this connection that
// were. A failure is tried again at the next turn.
func (l *lane) free(ctx context.Context, upto uint64) int {
	if upto <= l.freed {
		return 0
	}
	if err := l.done(ctx, upto); err != nil {
		l.failed("cannot free", err)
		return 0
	}
	l.freed, l.moved = upto, time.Now()
	n := 0
	for n < len(l.out) && l.out[n] <= upto {
		n++
	}
	l.out = l.out[n:]
	for len(l.buf) > 0 && l.buf[0].Seq <= upto {
		l.buf = l.buf[1:]
	}
	return n
}

// stalled tells whether rows have been out for too long without any being
// acknowledged.
func (l *lane) stalled(limit time.Duration) bool {
	return len(l.out) > 0 && time.Since(l.moved) > limit
}

func (l *lane) failed(what string, err error) {
	if !l.failing && err != nil {
		l.log.Error(what+" the rows of the outbox", "stream", l.stream, "error", err)
	}
	l.failing = true
}
