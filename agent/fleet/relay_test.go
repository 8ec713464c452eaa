package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"flexd/agent/flex"
)

// doorman is a relay door that keeps what came and answers as a test says.
type doorman struct {
	mu     sync.Mutex
	got    map[string]int
	missed []string
	answer func(payload string) error
	hold   chan struct{}
}

func (d *doorman) Take(ctx context.Context, payload []byte) error {
	if d.hold != nil {
		select {
		case <-d.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := string(payload)
	if len(key) > 100 {
		key = fmt.Sprintf("%d bytes", len(key))
	}
	if d.got == nil {
		d.got = map[string]int{}
	}
	d.got[key]++
	if d.answer != nil {
		return d.answer(key)
	}
	return nil
}

func (d *doorman) Missed(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missed = append(d.missed, why)
}

func (d *doorman) times(payload string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.got[payload]
}

func (d *doorman) set(answer func(string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func (d *doorman) missedFor(why string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.missed {
		if strings.Contains(m, why) {
			return true
		}
	}
	return false
}

// pubacks counts the acknowledgements that the broker hears.
type pubacks struct {
	broker.HookBase
	mu sync.Mutex
	n  int
}

func (p *pubacks) ID() string           { return "pubacks" }
func (p *pubacks) Provides(b byte) bool { return b == broker.OnPacketRead }
func (p *pubacks) OnPacketRead(_ *broker.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Puback {
		p.mu.Lock()
		p.n++
		p.mu.Unlock()
	}
	return pk, nil
}

func (p *pubacks) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// relayed is a running session with a relay door.
type relayedRig struct {
	*hub
	door *doorman
	acks *pubacks
	f    *Fleet
	t    *testing.T
}

func withRelay(t *testing.T, shared string, change func(*Fleet, *doorman)) *relayedRig {
	t.Helper()
	r := &relayedRig{door: &doorman{}, acks: &pubacks{}, t: t}
	var addr string
	r.hub, addr = start(t, listeners.Config{}, &ear{}, false)
	if err := r.AddHook(r.acks, nil); err != nil {
		t.Fatal(err)
	}
	cfg := settings(addr, newMemory())
	cfg.Relay, cfg.Shared = r.door, shared
	r.f = New(cfg)
	r.f.limit = quick()
	r.f.limit.again, r.f.limit.againMax = 8*time.Millisecond, 20*time.Millisecond
	if change != nil {
		change(r.f, r.door)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	until(t, "connected", func() bool { return r.f.Status().Connected })
	return r
}

func (r *relayedRig) say(topic, payload string, retained bool) {
	r.t.Helper()
	if err := r.Publish(topic, []byte(payload), retained, 1); err != nil {
		r.t.Fatal(err)
	}
}

func TestEnvelopesAreAcknowledgedOnceTaken(t *testing.T) {
	release := make(chan struct{})
	r := withRelay(t, "", func(_ *Fleet, d *doorman) { d.hold = release })
	until(t, "a new connection is told", func() bool { return r.door.missedFor("new") })
	r.say(RelayTopic(site), "one", false)
	r.say(RelayTopic(site), "two", false)
	r.say(Prefix+site+"/down/cmd", `{"id":"c1"}`, false) // does not wait behind them
	until(t, "the request is acknowledged", func() bool { return r.acks.count() == 1 })
	close(release)
	until(t, "both are taken and acknowledged", func() bool {
		return r.door.times("one") == 1 && r.door.times("two") == 1 && r.acks.count() == 3
	})
}

func TestAnEnvelopeThatCannotBeJudgedComesAgain(t *testing.T) {
	r := withRelay(t, "", func(_ *Fleet, d *doorman) {
		d.answer = func(p string) error {
			if p == "hard" {
				return &flex.RetryError{After: 10 * time.Millisecond, Err: errors.New("no key")}
			}
			return nil
		}
	})
	r.say(RelayTopic(site), "hard", false)
	until(t, "it is tried again", func() bool { return r.door.times("hard") >= 3 })
	r.say(RelayTopic(site), "easy", false)
	until(t, "others do not wait behind it", func() bool { return r.door.times("easy") == 1 && r.acks.count() == 1 })
	r.door.set(nil)
	until(t, "it is acknowledged once it is taken", func() bool { return r.acks.count() == 2 })
	if r.door.missedFor("given up") {
		t.Error("it was given up")
	}
}

func TestEnvelopesThatWaitAreFewAndNotForEver(t *testing.T) {
	r := withRelay(t, "", func(f *Fleet, d *doorman) {
		d.answer = func(string) error { return errors.New("disk full") }
	})
	for i := range 40 {
		r.say(RelayTopic(site), fmt.Sprint(i), false)
	}
	until(t, "the oldest are given up", func() bool { return r.acks.count() == 40-waitingCount && r.door.missedFor("given up") })
	old := withRelay(t, "", func(f *Fleet, d *doorman) {
		f.limit.patience = 50 * time.Millisecond
		d.answer = func(string) error { return errors.New("disk full") }
	})
	old.say(RelayTopic(site), "x", false)
	until(t, "one that waited too long is given up", func() bool { return old.acks.count() == 1 && old.door.missedFor("given up") })
}

func TestUnacknowledgedEnvelopesComeWithTheNextConnection(t *testing.T) {
	r := withRelay(t, "", func(_ *Fleet, d *doorman) {
		d.answer = func(string) error { return errors.New("disk full") }
	})
	r.say(RelayTopic(site), "x", false)
	until(t, "it is tried", func() bool { return r.door.times("x") >= 1 })
	cl, ok := r.Clients.Get(site)
	if !ok {
		t.Fatal("the broker does not know the site")
	}
	_ = r.DisconnectClient(cl, packets.ErrServerShuttingDown)
	r.door.set(nil)
	until(t, "the broker sends it again, and it is taken", func() bool { return r.acks.count() == 1 })
}

func TestTheSharedTopicAndLargeEnvelopes(t *testing.T) {
	r := withRelay(t, "club", nil)
	r.say(SharedTopic("club"), "for all", false)
	r.say(SharedTopic("other"), "for others", false)
	large := strings.Repeat("x", 1<<20+500_000)
	r.say(RelayTopic(site), large, false)
	until(t, "both arrive", func() bool {
		return r.door.times("for all") == 1 && r.door.times(fmt.Sprintf("%d bytes", len(large))) == 1
	})
	r.say(RelayTopic(site), "retained", true)
	r.say(RelayTopic(site), "after", false)
	until(t, "the rest arrives", func() bool { return r.door.times("after") == 1 })
	if r.door.times("for others") != 0 {
		t.Error("another shared topic was heard")
	}
}

func TestRetainedEnvelopesAreIgnored(t *testing.T) {
	r := withRelay(t, "", nil)
	r.say(RelayTopic(site), "old", true)
	until(t, "it arrives as it is published", func() bool { return r.door.times("old") == 1 })
	cl, _ := r.Clients.Get(site)
	_ = r.DisconnectClient(cl, packets.ErrServerShuttingDown)
	until(t, "the retained copy comes with the next subscription and is acknowledged", func() bool { return r.acks.count() >= 2 })
	if n := r.door.times("old"); n != 1 {
		t.Errorf("taken %d times", n)
	}
}

// TestABacklogIsReadAtOurPace: what is not read waits in the broker, and the
// connection holds.
func TestABacklogIsReadAtOurPace(t *testing.T) {
	release := make(chan struct{})
	r := withRelay(t, "", func(_ *Fleet, d *doorman) { d.hold = release })
	const n = 3000 // more than the queue holds
	for i := range n {
		r.say(RelayTopic(site), fmt.Sprint(i), false)
	}
	close(release)
	until(t, "all arrive", func() bool {
		r.door.mu.Lock()
		defer r.door.mu.Unlock()
		return len(r.door.got) == n
	})
	until(t, "all are acknowledged", func() bool { return r.acks.count() >= n })
	if r.door.missedFor("given up") || r.f.Status().LastError != "" {
		t.Errorf("%v, %+v", r.door.missed, r.f.Status())
	}
}

// A broker with a wide window sends all that it kept before it answers the
// first word of the new connection.
func TestABacklogDoesNotKeepASiteFromConnecting(t *testing.T) {
	const kept = 8 * roomCount
	r := &relayedRig{door: &doorman{}, t: t}
	var addr string
	r.hub, addr = start(t, listeners.Config{}, &ear{}, false)
	r.Options.Capabilities.MaximumInflight = 2 * kept
	launchWith := func() (*Fleet, func()) {
		cfg := settings(addr, newMemory())
		cfg.Relay = r.door
		return launch(t, cfg)
	}
	f, stop := launchWith()
	until(t, "connected", func() bool { return f.Status().Connected })
	stop()
	for n := range kept {
		r.say(RelayTopic(site), fmt.Sprintf("kept %d", n), false)
	}
	f, _ = launchWith()
	until(t, "connected again", func() bool { return f.Status().Connected })
	for n := range kept {
		until(t, fmt.Sprintf("number %d", n), func() bool { return r.door.times(fmt.Sprintf("kept %d", n)) > 0 })
	}
}
