package main

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// A drill passes only where the power changed as asked from what it was.
func TestADrillNeedsAChange(t *testing.T) {
	type dev struct{ was, asked, gave flex.Watts }
	for _, tc := range []struct {
		name string
		devs []dev
		cap  bool
		want string // "": it passed
	}{
		{"it follows", []dev{{0, 1000, 980}}, false, ""},
		{"from the other direction", []dev{{-2000, 1000, 950}}, false, ""},
		{"a battery that charges", []dev{{300, -1000, -980}}, false, ""},
		{"it is dead, and the house takes near what was asked", []dev{{400, 500, 420}}, false, "did not change as asked"},
		{"it is dead, and the house takes less than what was asked", []dev{{300, 500, 310}}, false, "did not change as asked"},
		{"it goes the wrong way", []dev{{0, 1000, -1000}}, false, "did not change as asked"},
		{"it gave that before", []dev{{480, 500, 500}}, false, "proves nothing"},
		{"one of two is dead", []dev{{0, 1000, 1000}, {0, 1000, 0}}, false, "bat2 gave"},
		{"one of two gave that before", []dev{{0, 1000, 1000}, {1000, 1000, 1000}}, false, ""},
		{"panels are turned down", []dev{{4000, 3000, 2990}}, true, ""},
		{"panels that go on", []dev{{4000, 3000, 3990}}, true, "did not change as asked"},
		{"panels in the dark", []dev{{0, 3000, 0}}, true, "proves nothing"},
		{"nothing was read", nil, false, "not known"},
	} {
		start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		var ms moves
		order := flex.OrderSet
		if tc.cap {
			order = flex.OrderCap
		}
		see := func(at time.Time, w func(dev) flex.Watts, held bool) {
			var list []flex.DeviceStatus
			for i, d := range tc.devs {
				p := w(d)
				s := flex.DeviceStatus{ID: flex.DeviceID("bat" + string(rune('1'+i))), Reading: &flex.Reading{At: at, Power: &p}}
				if held {
					s.Target = flex.Target{Order: order, Power: d.asked, Dispatch: []flex.InstructionID{"drill-1"}}
				}
				list = append(list, s)
			}
			ms.see(append(list, flex.DeviceStatus{ID: "silent"}), "drill-1", start)
		}
		see(start.Add(-time.Second), func(d dev) flex.Watts { return d.was }, false)
		see(start.Add(-time.Second), func(d dev) flex.Watts { return d.was }, true) // held, and not yet read again
		see(start.Add(20*time.Second), func(d dev) flex.Watts { return d.gave }, true)
		see(start.Add(30*time.Second), func(d dev) flex.Watts { return d.was }, false) // handed back
		if err := ms.verdict(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// What a device gave before is needed to tell that it changed.
func TestADeviceThatWasNotReadBeforeADrillFailsIt(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := flex.Watts(1000)
	var ms moves
	ms.see([]flex.DeviceStatus{{ID: "bat1", Reading: &flex.Reading{At: start.Add(time.Second), Power: &p},
		Target: flex.Target{Order: flex.OrderSet, Power: 1000, Dispatch: []flex.InstructionID{"drill-1"}}}}, "drill-1", start)
	if err := ms.verdict(); err == nil || !strings.Contains(err.Error(), "before the drill is not known") {
		t.Error(err)
	}
}
