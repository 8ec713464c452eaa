package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// Quirks is how a device was seen to behave, by reading alone. Durations are
// in milliseconds.
type Quirks struct {
	LatencyMS int64  `json:"latency_ms"`         // median of an answer
	SlowestMS int64  `json:"slowest_ms"`         // of those
	GapMS     int64  `json:"gap_ms"`             // smallest gap that worked; -1: none did
	MaxRead   int    `json:"max_read"`           // registers in one read
	AtLeast   bool   `json:"at_least,omitempty"` // the map is no longer than MaxRead: it may be more
	Lines     int    `json:"lines"`              // connections that work at once
	AtMost    bool   `json:"or_more,omitempty"`  // as many as were tried
	Illegal   string `json:"illegal"`            // what a register that is not there brings
	Timeout   int64  `json:"timeout_ms"`         // a timeout that fits, from the slowest answer
}

// Settings are the keys of a device's configuration that what was measured
// asks for, as "key: value"; none where the defaults do.
func (q Quirks) Settings() []string {
	var out []string
	add := func(key string, v any) { out = append(out, fmt.Sprintf("%s: %v", key, v)) }
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	usual := modbus.Defaults()
	if ms(q.Timeout) > usual.Timeout {
		add("timeout", ms(q.Timeout))
	}
	if ms(q.GapMS) > usual.Gap {
		add("gap", ms(q.GapMS))
	}
	if q.MaxRead > 0 && q.MaxRead < usual.MaxRead && !q.AtLeast {
		add("max_read", q.MaxRead)
	}
	return out
}

// gaps are tried from the shortest on.
var gaps = []time.Duration{0, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond}

// sizes of reads, as devices and gateways limit them.
var sizes = []int{125, 123, 120, 100, 64, 60, 50, 40, 32, 30, 20, 16, 10, 8, 4, 2, 1}

const (
	gapReads     = 12 // in a row, for a gap to count as one that works
	quirkTimeout = 2 * time.Second
	leastTimeout = time.Second
)

// measure finds how a unit behaves that may take so long for an answer, over
// connections of its own: for devices that no agent has open. It only reads,
// one connection after the other but for the count of connections.
func measure(ctx context.Context, address string, patience time.Duration, m metUnit, chain sunspec.Chain) (Quirks, error) {
	var (
		q Quirks
		r modbus.Request
	)
	err := afresh(ctx, address, modbus.Quirks{Timeout: patience}, func(ctx context.Context, e *modbus.Endpoint) (err error) {
		known := false
		if r, known = m.bus.answered(); !known {
			if r, err = someRead(ctx, e, m.ask()); err != nil {
				return fmt.Errorf("no register that can be read: %w", err)
			}
		}
		if err = q.latency(ctx, e, r); err != nil {
			return err
		}
		q.reads(ctx, e, r, chain)
		q.Illegal = illegal(ctx, e, r)
		return nil
	})
	if err != nil {
		return q, err
	}
	if q.GapMS, err = smallestGap(ctx, address, max(patience, quirkTimeout), r); err != nil {
		return q, err
	}
	if err := rest(ctx, reconnectAfter); err != nil {
		return q, err
	}
	q.Lines = parallel(ctx, address, r)
	q.AtMost = q.Lines == mostLines
	return q, ctx.Err()
}

// reconnectAfter is how long a device is left alone between two connections:
// one that serves a single client still counts the last one for a moment.
const reconnectAfter = 500 * time.Millisecond

// afresh runs f over a connection of its own, a moment after the last one.
func afresh(ctx context.Context, address string, q modbus.Quirks, f func(context.Context, *modbus.Endpoint) error) error {
	if err := rest(ctx, reconnectAfter); err != nil {
		return err
	}
	return withQuirks(ctx, address, q, slog.New(slog.DiscardHandler), f)
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// latency times answers.
func (q *Quirks) latency(ctx context.Context, e *modbus.Endpoint, r modbus.Request) error {
	var took []time.Duration
	for range 9 {
		a, err := e.Do(ctx, r)
		if err != nil {
			return fmt.Errorf("reading one register again and again: %w", err)
		}
		took = append(took, a.Done.Sub(a.Sent))
	}
	slices.Sort(took)
	slowest := took[len(took)-1]
	q.LatencyMS, q.SlowestMS = took[len(took)/2].Milliseconds(), slowest.Milliseconds()
	q.Timeout = max(leastTimeout, 4*slowest.Round(100*time.Millisecond)).Milliseconds()
	return nil
}

// reads finds the most registers that come in one read. Without a chain it is
// not known how far the map goes, so that less may be found than is possible.
func (q *Quirks) reads(ctx context.Context, e *modbus.Endpoint, r modbus.Request, chain sunspec.Chain) {
	length := 125
	if n := len(chain.Models); n > 0 {
		last := chain.Models[n-1]
		r.Func, r.Addr = modbus.ReadHolding, chain.Base
		length = min(length, int(last.Addr)+2+int(last.Len)-int(chain.Base))
	}
	for _, n := range append([]int{length}, sizes...) {
		if n > length {
			continue
		}
		r.Count = uint16(n)
		if _, err := e.Do(ctx, r); err == nil {
			// Without a chain a longer read may have met a register that is not there.
			q.MaxRead, q.AtLeast = n, n < sizes[0] && (n == length || len(chain.Models) == 0)
			return
		}
	}
}

// illegal tells what reading a register brings that is hardly there.
func illegal(ctx context.Context, e *modbus.Endpoint, r modbus.Request) string {
	r.Func, r.Addr, r.Count = modbus.ReadHolding, 65535, 1
	a, err := e.Do(ctx, r)
	var refused *modbus.Exception
	switch {
	case err == nil:
		return "answers as if it were there"
	case errors.As(err, &refused):
		return fmt.Sprintf("exception %d after %v", refused.Code, a.Done.Sub(a.Sent).Round(time.Millisecond))
	case errors.Is(err, modbus.ErrTimeout):
		return "silence"
	case errors.Is(err, modbus.ErrLost):
		return "it closes the connection"
	}
	return err.Error()
}

// smallestGap reads in a row with longer and longer pauses until none fails.
func smallestGap(ctx context.Context, address string, patience time.Duration, r modbus.Request) (int64, error) {
	for _, gap := range gaps {
		if err := ctx.Err(); err != nil {
			return -1, err
		}
		set := modbus.Quirks{Gap: gap, Timeout: patience, BusyRetries: -1}
		if gap == 0 {
			set.Gap = -1
		}
		ok := false
		err := afresh(ctx, address, set, func(ctx context.Context, e *modbus.Endpoint) error {
			for range gapReads {
				if _, err := e.Do(ctx, r); err != nil {
					return nil
				}
			}
			st := e.Stats()
			ok = st.Connects == 1 && st.Late == 0
			return nil
		})
		if err != nil {
			return -1, err
		}
		if ok {
			return gap.Milliseconds(), nil
		}
	}
	return -1, nil
}
