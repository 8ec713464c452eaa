package fleet

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"flexd/agent/flex"
)

// lane is one stream, or a part of it, on one connection.
type lane struct {
	stream flex.Stream
	// rows gives up to n rows behind the one with a number, in the lane's order.
	rows func(ctx context.Context, behind uint64, n int) ([]flex.Message, error)
	// done is told of rows that are acknowledged, from the first on.
	done func(ctx context.Context, rows []row) error
	most int  // rows published and not freed
	any  bool // a row may be freed before one that was published earlier
	log  *slog.Logger

	more  bool           // there may be rows that were not seen
	buf   []flex.Message // rows to publish, in order
	last  uint64         // number of the row that was read last
	out   []row          // published and not freed, in order
	moved time.Time      // when it last got shorter, or began

	failing bool // the outbox failed and that was said
}

// row names a row that was published.
type row struct {
	epoch  string
	seq    uint64
	puback bool // by the broker, on this connection
	grant  bool // by the backend
}

// next gives the row to publish now. Rows are read in the lane's order and each
// once: a lane that has as many out as it may waits for the backend.
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
	l.out = append(l.out, row{epoch: m.Epoch, seq: m.Seq})
	return m, true
}

func (l *lane) refill(ctx context.Context) {
	if !l.more || len(l.out) >= l.most {
		return
	}
	rows, err := l.rows(ctx, l.last, window)
	if err != nil {
		l.more = false // until the next poll
		l.failed("cannot read", err)
		return
	}
	l.failing = false
	l.buf = rows
	if l.more = len(rows) > 0; l.more {
		l.last = rows[len(rows)-1].Seq
	}
}

// answered takes the broker's word for a row.
func (l *lane) answered(seq uint64) {
	for i := range l.out {
		if l.out[i].seq == seq {
			l.out[i].puback = true
			return
		}
	}
}

// granted takes the backend's word for rows, and tells whether any of the
// epoch is out.
func (l *lane) granted(g grant) bool {
	known := false
	for i := range l.out {
		r := &l.out[i]
		if g.Epoch != "" && r.epoch != g.Epoch {
			continue
		}
		known = true
		r.grant = r.grant || g.From <= r.seq && r.seq <= g.Upto
	}
	return known
}

// free gives up the rows that are acknowledged by whoever counts, and tells
// how many that were. A failure is tried again at the next turn.
func (l *lane) free(ctx context.Context, backend bool) int {
	safe := func(r row) bool { return r.puback && !backend || r.grant && backend }
	var gone, left []row
	if l.any {
		for _, r := range l.out {
			if safe(r) {
				gone = append(gone, r)
			} else {
				left = append(left, r)
			}
		}
	} else {
		n := 0
		for n < len(l.out) && safe(l.out[n]) {
			n++
		}
		gone, left = l.out[:n], l.out[n:]
	}
	if len(gone) == 0 {
		return 0
	}
	if err := l.done(ctx, gone); err != nil {
		l.failed("cannot free", err)
		return 0
	}
	l.out, l.moved = slices.Clip(left), time.Now()
	return len(gone)
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
