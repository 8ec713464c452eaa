package agent_test

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/drivers/sim"
)

// A dispatch with a hold in its midst and a release that comes late is told
// afterwards as it was, in words, as JSON and to the fleet.
func TestWhatWentWrongIsToldAfterwards(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{})}})
	s.process()
	s.serving()
	start := second(3 * time.Second)
	end := start.Add(8 * time.Second)
	s.instruct(ask("i1", "0.00300", "export", start, end))
	until(start.Add(1500 * time.Millisecond))
	if out, code := s.command("hold", "--reason", "hands in the battery"); code != 0 {
		t.Fatalf("hold: %d %s", code, out)
	}
	until(start.Add(3500 * time.Millisecond))
	if out, code := s.command("release"); code != 0 {
		t.Fatalf("release: %d %s", code, out)
	}
	until(end.Add(-1500 * time.Millisecond))
	s.devices[0].Server().Down()
	until(end.Add(5500 * time.Millisecond))
	if out, _ := s.command("why", assetID); !strings.Contains(out, "RELEASE OWED since") {
		t.Errorf("why tells nothing of the release: %s", out)
	}
	must(t, s.devices[0].Server().Up())
	var rec flex.Record
	s.await(90*time.Second, "completed", func() bool {
		rec, _ = s.record("i1")
		return rec.State == flex.Completed
	})
	var d struct {
		Record struct {
			History []flex.Spell `json:"history"`
		} `json:"record"`
		Outcome local.Outcome `json:"outcome"`
	}
	out, _ := s.command("show", "i1", "--json")
	parse(t, out, &d)
	spells := map[flex.Condition]flex.Spell{}
	for _, h := range d.Record.History {
		spells[h.Condition] = h
	}
	if h := spells[flex.Overridden]; h.From.Before(start.Add(time.Second)) || h.To.Sub(start.Add(3500*time.Millisecond)).Abs() > 2500*time.Millisecond {
		t.Errorf("the hold is told as %+v", h)
	}
	if h := spells[flex.ReleaseOwed]; !h.From.Equal(end) || h.To.Sub(end) < 4*time.Second || !h.To.Equal(rec.ReleasedAt) {
		t.Errorf("the late release is told as %+v", h)
	}
	if d.Outcome.ReleaseLate == nil || *d.Outcome.ReleaseLate < 4 {
		t.Errorf("the release is told to be late by %v", d.Outcome.ReleaseLate)
	}
	if len(d.Outcome.Energy) != 1 || d.Outcome.Energy[0].Asked < 3000*7 || d.Outcome.Energy[0].Asked > 3000*9 || d.Outcome.Energy[0].Delivered <= 0 || d.Outcome.Energy[0].Delivered > 3000*8 {
		t.Errorf("energy is told as %+v", d.Outcome.Energy)
	}
	text, _ := s.command("show", "i1")
	for _, want := range []string{"overridden", "release_owed", "release late", "energy        " + assetID + ": asked"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	s.await(10*time.Second, "the fleet hears it", func() bool {
		acks := s.ear.once("ack")
		last := acks[len(acks)-1]
		return last.State == string(flex.Completed) && len(last.History) == len(d.Record.History) && len(last.Energy) == 1 && last.ReleaseLate != nil && *last.ReleaseLate >= 4
	})
}
