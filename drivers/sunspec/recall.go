package sunspec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// place is where an earlier process found the models of a device. It spares
// the walk along the chain and nothing else: what answers there has to be the
// same device with the same firmware, else the chain is walked.
type place struct {
	Base    uint16  `json:"base"`
	Models  []Model `json:"models"`
	Serial  string  `json:"serial"`
	Version string  `json:"version"`
}

// where writes it down. A device without a serial number cannot be told from
// another, so that there is nothing to go by.
func (f *found) where() json.RawMessage {
	if f.serial == "" {
		return nil
	}
	raw, err := json.Marshal(place{Base: f.chain.Base, Models: f.chain.Models, Serial: f.serial, Version: f.plate.Firmware})
	if err != nil {
		return nil // it only spares time
	}
	return raw
}

// search lets one call at a time find the device: two would take twice as long,
// at a start, where every request counts.
type search struct {
	turn chan struct{}         // full while somebody looks
	hint atomic.Pointer[place] // where to look first; nil: nowhere

	// Of who has the turn.
	at    time.Time // when it was last found
	given bool      // an Open has given that away
}

// begin waits for the turn.
func (s *search) begin(ctx context.Context) (end func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", flex.ErrNotSent, context.Cause(ctx))
	}
}

// foundFor is how long an Open takes what another call has just found.
const foundFor = 2 * time.Second

// just tells whether another call has just found the device.
func (s *search) just() bool { return !s.given && time.Since(s.at) <= foundFor }

// Recall takes up what an earlier process journaled of the device, so that it
// is found sooner.
func (d *Device) Recall(s flex.Snapshot) {
	var p place
	if json.Unmarshal(s.Where, &p) == nil && len(p.Models) > 0 && p.Serial != "" {
		d.search.hint.Store(&p)
	}
}

// findAgain looks where an earlier process found the device; nil, without an
// error, where that tells nothing and the chain has to be walked.
func (d *Device) findAgain(ctx context.Context, p modbus.Priority) (*found, error) {
	at := d.search.hint.Load()
	if at == nil {
		return nil, nil
	}
	f, err := d.identifyAt(ctx, p, Chain{Base: at.Base, Models: at.Models})
	if err != nil && unanswered(err) {
		return nil, err // no reason to forget
	}
	d.search.hint.Store(nil)
	if err == nil && f.serial == at.Serial && f.plate.Firmware == at.Version {
		return f, nil
	}
	d.mu.Lock()
	d.found = nil
	d.mu.Unlock()
	d.cfg.Log.Info("a device is not as the journal has it, its map is walked", "device", d.cfg.ID, "error", err)
	return nil, nil
}

// unanswered tells that a request failed on the way.
func unanswered(err error) bool {
	for _, e := range []error{modbus.ErrTimeout, modbus.ErrLost, modbus.ErrNotSent, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
