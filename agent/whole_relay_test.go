package agent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// badRoad carries envelopes from the relay's broker to the site's, and loses,
// doubles and delays them.
type badRoad struct {
	mu     sync.Mutex
	rng    *rand.Rand
	to     *demo.Broker
	wg     sync.WaitGroup
	ctx    context.Context
	counts map[string]int
	bad    bool // else it carries all: the first proof of the way must arrive
}

func (b *badRoad) carry(topic string, payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	payload = slices.Clone(payload)
	delay := time.Duration(0)
	switch p := b.rng.Float64(); {
	case !b.bad:
	case p < 0.3:
		b.counts["lost"]++
		return
	case p < 0.5:
		b.counts["doubled"]++
		b.later(topic, payload, time.Duration(b.rng.IntN(3000))*time.Millisecond)
	case p < 0.6: // far beyond the end of most windows
		b.counts["delayed"]++
		delay = 100 * time.Second
	}
	b.counts["carried"]++
	b.later(topic, payload, delay)
}

func (b *badRoad) later(topic string, payload []byte, after time.Duration) {
	b.wg.Go(func() {
		select {
		case <-time.After(after):
			_ = b.to.Publish(topic, payload, false)
		case <-b.ctx.Done():
		}
	})
}

// A third of the envelopes is lost, a fifth comes twice, a tenth comes when
// all is over. There is no regular poll: only the numbers in the envelopes
// tell the site that something is missing.
func TestARelayOnABadRoadLosesNoInstruction(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute and a half")
	}
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, noWebhook: true, relay: true, poll: "24h", terms: "poll_near: 24h"})
	outer, err := demo.NewBroker(nil)
	must(t, err)
	ctx, end := context.WithCancel(context.Background())
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	road := &badRoad{rng: rand.New(rand.NewPCG(seed, 1)), to: s.broker, ctx: ctx, counts: map[string]int{}}
	must(t, outer.Subscribe("flexd/v1/whole/down/relay", road.carry))
	road.wg.Go(func() { _ = outer.Run(ctx) })
	t.Cleanup(func() { end(); road.wg.Wait(); t.Log(road.counts) })

	door := freePort(t)
	file := filepath.Join(s.dir, "relay.yaml")
	must(t, os.WriteFile(file, []byte(fmt.Sprintf("webhook: {listen: %q, tls: off}\nroutes: [{path: /hook, sites: [whole]}]\nbroker: {url: %q}\nhealth: {listen: \"unix:%s/health\"}\n",
		door, outer.URL(), s.dir)), 0o600))
	bin, err := program()
	must(t, err)
	cmd := exec.CommandContext(ctx, bin, "relay", "--config", file)
	cmd.Stderr = s.log
	must(t, cmd.Start())
	t.Cleanup(func() { end(); _ = cmd.Wait() })
	s.market.Subscribe("http://" + door + "/hook")
	s.inside()
	road.mu.Lock()
	road.bad = true
	road.mu.Unlock()

	const all = 20
	first := second(60 * time.Second)
	begun := time.Now()
	for i := range all {
		start := first.Add(time.Duration(2*i) * time.Second)
		in := ask(fmt.Sprintf("r%02d", i), "0.00300", "export", start, start.Add(1500*time.Millisecond))
		must(t, s.market.List(in))
		s.await(10*time.Second, "the relay takes it", func() bool {
			d, err := s.market.Publish(t.Context(), demo.Notice{IDs: []string{in.ID}})
			return err == nil && d.Status/100 == 2
		})
	}
	known := func() (n int) {
		for i := range all {
			if s.ear.has(fmt.Sprintf("r%02d", i), "scheduled") {
				n++
			}
		}
		return n
	}
	s.await(time.Until(first)-time.Second, "every loss is found", func() bool {
		time.Sleep(100 * time.Millisecond)
		return known() == all
	})
	t.Logf("every instruction is known %v after the first notification", time.Since(begun).Round(time.Second))
	until(first.Add(2 * all * time.Second))
	for i := range all {
		id := fmt.Sprintf("r%02d", i)
		s.await(10*time.Second, id+" is over", func() bool { return s.state(id).Final() })
		if got := s.ear.ladder(id); fmt.Sprint(got) != "[admitted scheduled active completed]" {
			t.Errorf("%s: %v", id, got)
		}
	}
	if s.state("r00") != flex.Completed {
		t.Error("not completed")
	}
}
