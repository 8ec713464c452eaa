package relay

import (
	"context"
	"sync"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"flexd/agent/ingress"
)

// refusedFilter is a SUBACK's code for a filter that is not granted (MQTT
// 3.1.1, 3.9.3).
const refusedFilter = 0x80

// proof waits for what this relay published to come back. Brokers acknowledge
// what they then drop for want of a right (mosquitto does, to MQTT 3.1.1
// clients): a 2xx on such an acknowledgement would be a lie.
type proof struct {
	mu   sync.Mutex
	seen map[string]chan struct{} // by topic; closed when it came back
}

func (p *proof) expect(topic string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := make(chan struct{})
	p.seen[topic] = c
	return c
}

// heard takes a message that came back; only this relay's own count.
func (p *proof) heard(id string, m mqtt.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, waiting := p.seen[m.Topic()]
	if !waiting {
		return
	}
	e, err := ingress.ParseRelayEnvelope(m.Payload())
	if err != nil || e.Relay != id || e.To != m.Topic() {
		return
	}
	close(c)
	delete(p.seen, m.Topic())
}

// attempt is one topic that is being proven.
type attempt struct {
	topic   *topic
	back    <-chan struct{}
	granted mqtt.Token
}

// prove listens to the topics that are not proven yet, publishes a beat to
// each and waits for them to come back. One that does not stays unproven: posts
// to it are refused, and it is tried again later.
func (s *session) prove(ctx context.Context) {
	if !s.l.broker.Canary {
		for _, t := range s.l.order {
			s.proven(t)
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.l.times.canary)
	defer cancel()
	var tries []attempt
	for _, t := range s.l.order {
		if s.ctx.Err() == nil && !s.l.isProven(t) {
			tries = append(tries, attempt{t, s.proof.expect(t.name), s.client.Subscribe(t.name, 0, nil)})
		}
	}
	for _, a := range tries {
		if s.granted(ctx, a.granted) {
			s.say(a.topic, ingress.RelayBeat)
		}
	}
	for _, a := range tries {
		select {
		case <-a.back:
			s.proven(a.topic)
		case <-ctx.Done():
		case <-s.ctx.Done():
		}
		if s.ctx.Err() != nil {
			return
		}
		if !s.l.isProven(a.topic) {
			s.l.log.Warn("what is published to a topic does not come back: allow this relay to write and read it at the broker, or set broker.canary: off",
				"topic", a.topic.name)
		}
		s.client.Unsubscribe(a.topic.name) // its answer is of no interest
	}
}

// proven marks a topic, unless this connection is over.
func (s *session) proven(t *topic) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if s.l.present == s {
		t.proven = true
	}
}

// granted tells whether a subscription was.
func (s *session) granted(ctx context.Context, token mqtt.Token) bool {
	select {
	case <-token.Done():
	case <-ctx.Done():
		return false
	case <-s.ctx.Done():
		return false
	}
	t, ok := token.(*mqtt.SubscribeToken)
	if !ok || token.Error() != nil {
		return false
	}
	for _, code := range t.Result() {
		if code >= refusedFilter {
			return false
		}
	}
	return true
}

func (l *link) isProven(t *topic) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.proven
}
