package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
	"flexd/agent/shown"
)

// maxSamples bounds one device's part of a batch: an hour at 1 Hz.
const maxSamples = 3600

// telemetry packs readings into one batch per interval.
type telemetry struct {
	log      *slog.Logger
	interval time.Duration
	put      func(ctx context.Context, at time.Time, blob []byte) error

	mu      sync.Mutex
	from    time.Time
	devices map[flex.DeviceID]*track
}

// track is one device's samples of a batch, column by column: compact, and
// readable with any tool. Offsets are seconds since the batch's start.
type track struct {
	Device flex.DeviceID   `json:"device"`
	Offset []float64       `json:"t"`
	Power  []*flex.Watts   `json:"power"`
	SoC    []*flex.Percent `json:"soc,omitempty"`
}

// batch is the body of up/tele.
type batch struct {
	From   time.Time `json:"from"`
	Tracks []*track  `json:"tracks"`
}

func newTelemetry(interval time.Duration, log *slog.Logger) *telemetry {
	return &telemetry{log: log, interval: interval, devices: map[flex.DeviceID]*track{}}
}

// reading takes one sample; it never blocks on anything but memory.
func (t *telemetry) reading(r flex.Reading) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.from.IsZero() {
		t.from = r.At
	}
	tr := t.devices[r.Device]
	if tr == nil {
		tr = &track{Device: r.Device}
		t.devices[r.Device] = tr
	}
	if len(tr.Offset) >= maxSamples {
		return
	}
	tr.Offset = append(tr.Offset, r.At.Sub(t.from).Round(10*time.Millisecond).Seconds())
	tr.Power = append(tr.Power, r.Power)
	if r.SoC != nil || len(tr.SoC) > 0 {
		for len(tr.SoC) < len(tr.Offset)-1 {
			tr.SoC = append(tr.SoC, nil)
		}
		tr.SoC = append(tr.SoC, r.SoC)
	}
}

// run stores a batch per interval, and the rest at the end.
func (t *telemetry) run(ctx context.Context) error {
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.store(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
			t.store(ctx)
		}
	}
}

func (t *telemetry) store(ctx context.Context) {
	b, at := t.cut()
	if len(b.Tracks) == 0 {
		return
	}
	blob, err := shown.Marshal(b)
	if err == nil {
		err = t.put(ctx, at, blob)
	}
	if err != nil {
		t.log.Warn("a batch of telemetry is lost", "error", err)
	}
}

// cut takes the batch so far and begins the next.
func (t *telemetry) cut() (batch, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, at := batch{From: t.from}, t.from
	for _, tr := range t.devices {
		b.Tracks = append(b.Tracks, tr)
	}
	slices.SortFunc(b.Tracks, func(a, c *track) int {
		if a.Device < c.Device {
			return -1
		}
		return 1
	})
	t.from, t.devices = time.Time{}, map[flex.DeviceID]*track{}
	return b, at
}
