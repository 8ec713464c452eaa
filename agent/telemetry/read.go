package telemetry

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"flexd/agent/flex"
	"flexd/store/series"
)

// Sample is one device at one instant, as it is exported.
type Sample struct {
	At     time.Time     `json:"at"`
	Device flex.DeviceID `json:"device"`
	Power  *flex.Watts   `json:"power_w"`
	SoC    *flex.Percent `json:"soc"`
}

// Query selects samples: of instants in [From, To), of one device or of all. A
// zero bound is none.
type Query struct {
	From, To time.Time
	Device   flex.DeviceID
}

// longest is what no batch spans more than: an hour of interval, with room for
// a late end.
const longest = 2 * time.Hour

// Each gives what is kept, in the order of what happened, that of the present
// batch included.
func (l *Log) Each(ctx context.Context, q Query, fn func(Sample) error) error {
	ring, mem, _ := l.state()
	if ring != nil {
		upto := ^uint64(0)
		if len(mem) > 0 {
			upto = mem[0].Seq - 1
		}
		if err := each(ctx, ring, upto, q, l.cfg.Log, fn); err != nil {
			return err
		}
	}
	for _, r := range mem {
		if err := q.row(r, l.cfg.Log, fn); err != nil {
			return err
		}
	}
	return q.batch(l.recorder.peek(), fn)
}

// EachOf is Each for a file that no agent has open.
func EachOf(ctx context.Context, ring *series.DB, q Query, log *slog.Logger, fn func(Sample) error) error {
	return each(ctx, ring, ^uint64(0), q, log, fn)
}

// each reads a few rows at a time: no transaction is open while the reader
// writes, which would keep the file from using its pages again.
func each(ctx context.Context, ring *series.DB, upto uint64, q Query, log *slog.Logger, fn func(Sample) error) error {
	const few = 16
	for seq := uint64(0); ; {
		rows, err := ring.From(ctx, seq, few)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			if r.Seq > upto {
				return nil
			}
			if err := q.row(r, log, fn); err != nil {
				return err
			}
			seq = r.Seq + 1
		}
	}
}

func (q Query) row(r series.Row, log *slog.Logger, fn func(Sample) error) error {
	if !q.To.IsZero() && !r.At.Before(q.To) || !q.From.IsZero() && r.At.Add(longest).Before(q.From) {
		return nil
	}
	b, _, err := unpack(r.Blob)
	if err != nil {
		log.Warn("a batch of telemetry cannot be read and is left out", "seq", r.Seq, "error", err)
		return nil
	}
	return q.batch(b, fn)
}

func (q Query) batch(b Batch, fn func(Sample) error) error {
	var list []Sample
	for _, t := range b.Tracks {
		if q.Device != "" && t.Device != q.Device {
			continue
		}
		for i, o := range t.Offset {
			s := Sample{At: b.From.Add(time.Duration(o * float64(time.Second)).Round(grain)), Device: t.Device}
			if !q.From.IsZero() && s.At.Before(q.From) || !q.To.IsZero() && !s.At.Before(q.To) {
				continue
			}
			if i < len(t.Power) {
				s.Power = t.Power[i]
			}
			if i < len(t.SoC) {
				s.SoC = t.SoC[i]
			}
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b Sample) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Device, b.Device)) })
	for _, s := range list {
		if err := fn(s); err != nil {
			return err
		}
	}
	return nil
}
