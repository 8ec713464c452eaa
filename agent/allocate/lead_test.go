package allocate

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

// A slow device is told ahead of the start, each by its own lead; a device
// without one on the second; nobody where something runs already, for a
// dispatch that is stopped before it begins, or for generation.
func TestLead(t *testing.T) {
	w := func(ws ...flex.Watts) []flex.Watts { return ws }
	slow, slower, fast := battery("slow", 5000, 8000), battery("slower", 5000, 8000), battery("fast", 5000, 8000)
	slow.Lead, slower.Lead = 2*time.Second, time.Minute // bounded to MaxLead
	sun := solar("sun", 5000, 4000)
	sun.Lead = 5 * time.Second
	at := func(id flex.InstructionID, p flex.Watts, from time.Duration) flex.Dispatch {
		return flex.Dispatch{ID: id, Shares: []flex.AssetShare{{Asset: "a", Power: p}}, Window: flex.Window{Start: t0.Add(from), End: t0.Add(from + time.Hour)}}
	}
	stopped := at("d", 9000, time.Second)
	stopped.StopAt = t0
	running := at("r", 3000, -59*time.Minute)
	running.Window.End = t0.Add(time.Second)
	for _, tc := range []struct {
		name   string
		in     Input
		powers []flex.Watts
		next   time.Duration
	}{
		{"too early for all", input([]Device{slow, slower, fast}, at("d", 9000, 31*time.Second)), w(0, 0, 0), time.Second},
		{"the slowest first", input([]Device{slow, slower, fast}, at("d", 9000, 30*time.Second)), w(0, 3000, 0), 28 * time.Second},
		{"then the slow", input([]Device{slow, slower, fast}, at("d", 9000, 2*time.Second)), w(3000, 3000, 0), 2 * time.Second},
		{"all on the second", input([]Device{slow, slower, fast}, at("d", 9000, 0)), w(3000, 3000, 3000), time.Hour},
		{"none for what is stopped", input([]Device{slow}, stopped), w(0), time.Second},
		{"none while something runs", input([]Device{slow}, running, at("d", 5000, time.Second)), w(3000), time.Second},
		{"none for generation", input([]Device{sun}, at("d", -3000, time.Second)), w(0), time.Second},
		{"the nearest of two", input([]Device{slower}, at("d", 2000, 10*time.Second), at("e", 3000, 20*time.Second)), w(2000), 10 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Decide(tc.in)
			for i, tg := range p.Targets {
				if tg.Power != tc.powers[i] || (tg.Order == flex.OrderNone) != (tc.powers[i] == 0) {
					t.Errorf("%s: %s %v, want %v (%v)", tg.Device, tg.Order, tg.Power, tc.powers[i], tg.Whys)
				}
			}
			if got := p.Next.Sub(t0); got != tc.next {
				t.Errorf("next in %v, want %v", got, tc.next)
			}
			if len(p.Shortfall) > 0 {
				t.Errorf("shortfall %+v", p.Shortfall)
			}
		})
	}
}

// What a window that has not begun cannot have is not missing yet.
func TestNothingIsMissingAheadOfTheStart(t *testing.T) {
	b := battery("b", 1000, 8000)
	b.Lead = 5 * time.Second
	d := dispatch("d", 3000)
	d.Window.Start = t0.Add(3 * time.Second)
	in := input([]Device{b}, d)
	in.Site = Site{ExportLimit: 500, Meter: meter(0)}
	p := Decide(in)
	if p.Targets[0].Power != 500 || len(p.Shortfall) != 0 {
		t.Errorf("%v, %+v", p.Targets[0].Power, p.Shortfall)
	}
}
