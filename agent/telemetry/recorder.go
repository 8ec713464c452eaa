package telemetry

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
)

// Bounds of a batch: an hour of one device at 1 Hz, and as many samples as a
// message to the fleet can carry.
const (
	maxSamples = 3600
	maxBatch   = 7000
)

// Track is one device's samples of a batch, column by column: compact, and
// readable with any tool. Offsets are seconds since the batch's start.
type Track struct {
	Device flex.DeviceID   `json:"device"`
	Offset []float64       `json:"t"`
	Power  []*flex.Watts   `json:"power"`
	SoC    []*flex.Percent `json:"soc,omitempty"`
}

// Batch is the body of up/tele.
type Batch struct {
	From   time.Time `json:"from"`
	Tracks []*Track  `json:"tracks"`
}

// recorder gathers the samples of the present batch.
type recorder struct {
	mu      sync.Mutex
	from    time.Time
	devices map[flex.DeviceID]*Track
	samples int
	lost    int           // samples that had no room
	full    chan struct{} // wakes the loop before the interval is over
}

func newRecorder() *recorder {
	return &recorder{devices: map[flex.DeviceID]*Track{}, full: make(chan struct{}, 1)}
}

// reading takes one sample.
func (t *recorder) reading(r flex.Reading) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.from.IsZero() {
		t.from = r.At
	}
	tr := t.devices[r.Device]
	if tr == nil {
		tr = &Track{Device: r.Device}
		t.devices[r.Device] = tr
	}
	if len(tr.Offset) >= maxSamples || t.samples >= maxBatch*3/2 {
		t.lost++
		return
	}
	if t.samples++; t.samples >= maxBatch {
		select {
		case t.full <- struct{}{}:
		default:
		}
	}
	tr.Offset = append(tr.Offset, r.At.Sub(t.from).Round(grain).Seconds())
	tr.Power = append(tr.Power, r.Power)
	if r.SoC != nil || len(tr.SoC) > 0 {
		for len(tr.SoC) < len(tr.Offset)-1 {
			tr.SoC = append(tr.SoC, nil)
		}
		tr.SoC = append(tr.SoC, r.SoC)
	}
}

// cut takes the batch so far and begins the next.
func (t *recorder) cut() (b Batch, lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b, lost = t.batch(), t.lost
	t.from, t.devices, t.samples, t.lost = time.Time{}, map[flex.DeviceID]*Track{}, 0, 0
	return b, lost
}

// peek copies the batch so far.
func (t *recorder) peek() Batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.batch()
	for i, tr := range b.Tracks { // the columns only grow: a copy of their heads does
		c := *tr
		b.Tracks[i] = &c
	}
	return b
}

func (t *recorder) batch() Batch {
	b := Batch{From: t.from}
	for _, tr := range t.devices {
		b.Tracks = append(b.Tracks, tr)
	}
	slices.SortFunc(b.Tracks, func(a, c *Track) int { return cmp.Compare(a.Device, c.Device) })
	return b
}
