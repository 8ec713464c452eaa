package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"flexd/agent/flex"
)

// maxRequestID bounds what of a request is repeated in its answer.
const maxRequestID = 64

// grant is the body of down/ack: all rows of a stream's epoch up to a number,
// or from one to another, are safe with the backend. Without an epoch it counts
// for whatever is out.
type grant struct {
	Stream flex.Stream `json:"stream"`
	Epoch  string      `json:"epoch"`
	From   uint64      `json:"from"`
	Upto   uint64      `json:"upto"`
}

// parseGrant reads a down/ack. Fields beside these are the envelope's.
func parseGrant(raw []byte) (grant, error) {
	var g grant
	if err := json.Unmarshal(raw, &g); err != nil {
		return grant{}, fmt.Errorf("cannot read down/ack: %w", err)
	}
	switch g.Stream {
	case flex.StreamAck, flex.StreamEvent, flex.StreamTele, flex.StreamResp:
	default:
		return grant{}, errors.New("down/ack names no stream of ours")
	}
	if g.Upto == 0 || g.From > g.Upto {
		return grant{}, errors.New("down/ack acknowledges nothing")
	}
	return g, nil
}

// requestID gives the id of a request, "" when there is no short plain one.
func requestID(raw []byte) string {
	var r struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(raw, &r) != nil || len(r.ID) > maxRequestID {
		return ""
	}
	for _, c := range r.ID {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return r.ID
}

// take is called by the library, on a goroutine per message. A broker that
// sends faster than we handle loses the connection; it has the messages still,
// since none of these was acknowledged.
func (s *session) take(m mqtt.Message) {
	if s.envelopes != nil && s.f.relayTopic(m.Topic()) {
		s.envelopes.add(m, s.cancel)
		return
	}
	if s.overheard(m) {
		return
	}
	select {
	case s.requests <- m:
	default:
		s.cancel(errors.New("the broker sends requests faster than they can be handled"))
	}
}

// work handles requests one at a time until the session ends.
func (s *session) work() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.requests:
			s.handle(m)
			if s.ctx.Err() == nil {
				m.Ack()
			}
		}
	}
}

func (s *session) handle(m mqtt.Message) {
	log, topic := s.f.cfg.Log, strings.TrimPrefix(m.Topic(), s.f.topic("down/"))
	if m.Retained() {
		log.Warn("a retained request is ignored: requests must not be retained", "topic", m.Topic())
		return
	}
	if len(m.Payload()) > maxRequest {
		log.Warn("a request is ignored: it is too large", "topic", m.Topic(), "bytes", len(m.Payload()))
		return
	}
	switch topic {
	case "ack":
		s.acknowledge(m.Payload())
	case "cmd", "cfg", "job", "relay":
		s.unsupported(topic, m.Payload())
	default:
		log.Debug("a message on an unknown topic is ignored", "topic", m.Topic())
	}
}

// acknowledge frees rows when the backend is the one whose word counts.
func (s *session) acknowledge(raw []byte) {
	g, err := parseGrant(raw)
	if err != nil {
		s.f.cfg.Log.Warn("an acknowledgement is ignored", "error", err)
		return
	}
	if !s.f.cfg.BackendAcks {
		return
	}
	if !s.grants.add(g) {
		s.f.cfg.Log.Warn("an acknowledgement is ignored: the backend sends more than can be taken", "stream", g.Stream, "upto", g.Upto)
	}
	s.f.Wake()
}

// unsupported answers a request that this version does not carry out. Beyond
// the rate requests are not answered: the answer is a courtesy.
func (s *session) unsupported(topic string, raw []byte) {
	if !s.answers.Allow() {
		s.f.cfg.Log.Debug("a request is not answered: too many", "topic", topic)
		return
	}
	answer := struct {
		Error   string `json:"error"`
		Topic   string `json:"topic"`
		Request string `json:"request,omitempty"`
	}{"unsupported", topic, requestID(raw)}
	body := s.f.marshal("answer", func() any { return answer })
	if err := s.await(s.ctx, s.publish(flex.StreamResp, false, s.f.flat(s.f.fresh(flex.StreamResp, body)))); err != nil {
		s.cancel(fmt.Errorf("cannot publish up/resp: %w", err))
	}
}

// grants are acknowledgements on their way from the worker to the pump.
type grants struct {
	mu   sync.Mutex
	list []grant
}

// mostGrants bounds them: the backend's next word covers those before it.
const mostGrants = 1024

func (g *grants) add(one grant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.list) >= mostGrants {
		return false
	}
	g.list = append(g.list, one)
	return true
}

func (g *grants) take() []grant {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.list
	g.list = nil
	return out
}

func (f *Fleet) count(published, freed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Published += uint64(published)
	f.status.Freed += uint64(freed)
}
