package fleet

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/listeners"

	"flexd/agent/flex"
)

// seqs are the numbers of what was heard, in order.
func seqs(list []heard) (out []uint64) {
	for _, h := range list {
		out = append(out, h.Seq)
	}
	return out
}

// What is behind is sent newest first, and what comes meanwhile before it.
func TestTelemetryIsDrainedNewestFirst(t *testing.T) {
	e, m := &ear{}, newMemory()
	_, addr := start(t, listeners.Config{}, e, false)
	m.add(flex.StreamTele, 300)
	m.add(flex.StreamAck, 3)
	f, _ := launch(t, settings(addr, m))
	until(t, "some", func() bool { return len(e.on("tele")) > 20 })
	m.add(flex.StreamTele, 5)
	f.Wake()
	until(t, "all", func() bool { return m.left(flex.StreamTele) == 0 && distinct(e.on("tele")) == 305 })
	var behind, live []uint64
	for _, n := range seqs(e.on("tele")) {
		if n > 300 {
			live = append(live, n)
		} else {
			behind = append(behind, n)
		}
	}
	if !slices.IsSorted(live) {
		t.Errorf("live: %v", live)
	}
	slices.Reverse(behind)
	if !slices.IsSorted(behind) || len(behind) != 300 {
		t.Errorf("behind, from the end: %d, %v", len(behind), behind)
	}
}

// A word of the backend counts for rows of the epoch that it names alone.
func TestAnAcknowledgementOfAnotherEpochIsIgnored(t *testing.T) {
	e, m := &ear{}, newMemory()
	s, addr := start(t, listeners.Config{}, e, false)
	m.add(flex.StreamAck, 10)
	m.epoch = "e2"
	m.add(flex.StreamAck, 10)
	m.add(flex.StreamTele, 10)
	cfg := settings(addr, m)
	cfg.BackendAcks = true
	f, _ := launch(t, cfg)
	until(t, "published", func() bool { return len(e.on("ack")) == 20 && len(e.on("tele")) == 10 })
	for i, h := range e.on("ack") {
		if want := []string{"e1", "e2"}[i/10]; h.Epoch != want {
			t.Errorf("%d is of epoch %q", h.Seq, h.Epoch)
		}
	}
	steps := []struct {
		body      string
		ack, tele int
	}{
		{`{"stream":"ack","epoch":"e0","upto":20}`, 20, 10},
		{`{"stream":"ack","epoch":"e1","upto":4}`, 16, 10},
		{`{"stream":"ack","epoch":"e2","upto":15}`, 16, 10}, // those of e1 come first
		{`{"stream":"ack","epoch":"e1","upto":99}`, 5, 10},
		{`{"stream":"ack","upto":18}`, 2, 10},
		{`{"stream":"tele","epoch":"e2","from":4,"upto":6}`, 2, 7}, // a part, of what is sent newest first
		{`{"stream":"tele","epoch":"e2","upto":8}`, 2, 2},
		{`{"stream":"tele","epoch":"e2","from":9,"upto":10}`, 2, 0},
	}
	for _, c := range steps {
		down(t, s.Publish, "ack", c.body)
		until(t, c.body+fmt.Sprint(" leaves ", c.ack, c.tele), func() bool {
			return m.left(flex.StreamAck) == c.ack && m.left(flex.StreamTele) == c.tele
		})
	}
	_ = f
}
