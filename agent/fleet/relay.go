package fleet

import (
	"context"
	"errors"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"flexd/agent/flex"
)

// Bounds of the envelopes that are in memory and not acknowledged. Brokers
// deliver a window of messages without acknowledgement (mosquitto: 20) and then
// wait, so that envelopes which cannot be judged now must stay far below it:
// requests come through the same window.
const (
	envelopeQueue = 1024
	roomCount     = 64
	roomBytes     = 4 << 20
	waitingCount  = 8
	waitingBytes  = 4 << 20
	takeTime      = 25 * time.Second
)

var errRetained = errors.New("a retained envelope is ignored: envelopes must not be retained")

// SharedTopic is the topic that relays publish to for several sites at once.
func SharedTopic(name string) string { return Prefix + "shared/" + name + "/relay" }

// RelayTopic is a site's own topic for envelopes.
func RelayTopic(site string) string { return Prefix + site + "/down/relay" }

// RelayTopics are the topics that a site takes envelopes from.
func RelayTopics(site, shared string) []string {
	topics := []string{RelayTopic(site)}
	if shared != "" {
		topics = append(topics, SharedTopic(shared))
	}
	return topics
}

func (f *Fleet) relayTopic(topic string) bool {
	return topic == RelayTopic(f.cfg.Site) || f.cfg.Shared != "" && topic == SharedTopic(f.cfg.Shared)
}

// envelopes are what relays sent on one connection and is not acknowledged.
//
// MQTT 3.1.1 has no word for "not now": a message is acknowledged, or it comes
// again when the connection does. So an envelope that cannot be judged now
// waits here, unacknowledged, and is tried again. When that takes too long, or
// too many wait, it is acknowledged and given up, and the relay door is told to
// look for what it carried in the market's list. Should the agent or the
// connection end before that, the broker sends it again.
type envelopes struct {
	relay Relay
	limit limits
	warn  func(msg string, args ...any)
	queue chan mqtt.Message

	waiting []*envelope // oldest first; the worker's own

	mu    sync.Mutex
	count int
	bytes int
	freed chan struct{} // closed when something was taken out
}

// envelope waits to be tried again.
type envelope struct {
	m     mqtt.Message
	tries int
	next  time.Time
	until time.Time
}

func newEnvelopes(f *Fleet) *envelopes {
	return &envelopes{relay: f.cfg.Relay, limit: f.limit, warn: f.cfg.Log.Warn,
		queue: make(chan mqtt.Message, envelopeQueue), freed: make(chan struct{})}
}

// add is called by the library, on a goroutine per message.
func (e *envelopes) add(m mqtt.Message, cancel context.CancelCauseFunc) {
	e.mu.Lock()
	e.count++
	e.bytes += len(m.Payload())
	e.mu.Unlock()
	select {
	case e.queue <- m:
	default: // room stops the reading long before
		cancel(errors.New("the broker sends envelopes faster than they can be handled"))
	}
}

// room waits until the queue is short enough to read on: what is not read
// waits in the broker. The worker never writes to the connection other than
// acknowledgements, so that it goes on meanwhile.
func (e *envelopes) room(closed <-chan struct{}) {
	for {
		e.mu.Lock()
		full, freed := e.count >= roomCount || e.bytes >= roomBytes, e.freed
		e.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-freed:
		case <-closed:
			return
		}
	}
}

func (e *envelopes) out(m mqtt.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.count--
	e.bytes -= len(m.Payload())
	close(e.freed)
	e.freed = make(chan struct{})
}

// work hands envelopes on, one at a time, until the connection ends.
func (e *envelopes) work(ctx context.Context) {
	tick := time.NewTicker(e.limit.again / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-e.queue:
			e.out(m)
			if m.Retained() {
				e.warn("an envelope is not taken", "topic", m.Topic(), "error", errRetained)
				m.Ack()
				continue
			}
			e.try(ctx, &envelope{m: m, until: time.Now().Add(e.limit.patience)})
		case now := <-tick.C:
			e.again(ctx, now)
		}
	}
}

// try hands one envelope on and acknowledges it, or keeps it.
func (e *envelopes) try(ctx context.Context, env *envelope) {
	limited, cancel := context.WithTimeout(ctx, takeTime)
	err := e.relay.Take(limited, env.m.Payload())
	cancel()
	if err == nil {
		// On disk or refused. On a connection that ended meanwhile the library
		// drops the word, and the envelope comes again.
		env.m.Ack()
		return
	}
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	wait := min(e.limit.againMax, e.limit.again<<min(env.tries, 10))
	var retry *flex.RetryError
	if errors.As(err, &retry) && retry.After > wait {
		wait = min(retry.After, e.limit.againMax)
	}
	env.tries++
	env.next = now.Add(wait)
	e.waiting = append(e.waiting, env)
	e.bound(now)
}

// again tries those whose wait is over.
func (e *envelopes) again(ctx context.Context, now time.Time) {
	due := e.waiting
	e.waiting = nil
	for _, env := range due {
		if ctx.Err() != nil || now.Before(env.next) {
			e.waiting = append(e.waiting, env)
			continue
		}
		e.try(ctx, env)
	}
}

// bound gives up what has waited too long or is too much.
func (e *envelopes) bound(now time.Time) {
	size := 0
	for _, env := range e.waiting {
		size += len(env.m.Payload())
	}
	for len(e.waiting) > 0 {
		oldest := 0
		for i, env := range e.waiting {
			if env.until.Before(e.waiting[oldest].until) {
				oldest = i
			}
		}
		env := e.waiting[oldest]
		if len(e.waiting) <= waitingCount && size <= waitingBytes && now.Before(env.until) {
			return
		}
		size -= len(env.m.Payload())
		e.waiting = append(e.waiting[:oldest], e.waiting[oldest+1:]...)
		e.warn("an envelope is given up: it could not be judged or stored for too long", "topic", env.m.Topic(),
			"bytes", len(env.m.Payload()), "tries", env.tries)
		env.m.Ack()
		e.relay.Missed("an envelope was given up")
	}
}
