package regmap_test

import (
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/regmap"
)

const (
	// faultTimeout is what a request may take.
	faultTimeout = 200 * time.Millisecond
	// settledWithin is below a refresh interval of every map.
	settledWithin = 3 * time.Second
)

// entryOf reads and records a free device, as control does before it writes.
func entryOf(t *testing.T, d *regmap.Device) flex.JournalEntry {
	t.Helper()
	if _, err := d.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := d.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Foreign != nil {
		t.Fatalf("a free device is foreign: %v", s.Foreign)
	}
	return flex.JournalEntry{Device: "dev", Snapshot: s}
}

// steady orders until it is proven, as control does.
func steady(t *testing.T, dev drivers.Device, want flex.Target) {
	t.Helper()
	for end := time.Now().Add(2 * settledWithin); ; <-time.After(20 * time.Millisecond) {
		rec, err := dev.Apply(t.Context(), want)
		if err == nil && rec.Echo {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never in the device: %+v, %v", rec, err)
		}
	}
}
