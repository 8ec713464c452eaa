package fleet

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"flexd/agent/flex"
)

// hostile is a broker that does what a test says: answer gets each packet and
// gives the bytes to send back.
func hostile(t *testing.T, secure *tls.Config, answer func(packets.ControlPacket) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if secure != nil {
		l = tls.NewListener(l, secure)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					p, err := packets.ReadPacket(c)
					if err != nil {
						return
					}
					if _, err := c.Write(answer(p)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// polite answers as a broker does.
func polite(p packets.ControlPacket) []byte {
	switch p := p.(type) {
	case *packets.ConnectPacket:
		return []byte{0x20, 2, 0, 0}
	case *packets.PublishPacket:
		return []byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)}
	case *packets.SubscribePacket:
		return []byte{0x90, 3, byte(p.MessageID >> 8), byte(p.MessageID), 1}
	case *packets.PingreqPacket:
		return []byte{0xd0, 0}
	default:
		return nil
	}
}

func TestHostileBroker(t *testing.T) {
	rows := func(p packets.ControlPacket) bool {
		pub, ok := p.(*packets.PublishPacket)
		return ok && strings.HasSuffix(pub.TopicName, "/up/ack")
	}
	subscribe := func(p packets.ControlPacket) bool { _, ok := p.(*packets.SubscribePacket); return ok }
	flood := strings.Repeat("\x30\x1a\x00\x18flexd/v1/house-7/down/xx", 4000)
	for name, c := range map[string]struct {
		when func(packets.ControlPacket) bool
		send []byte
		want string
	}{
		"no PUBACK ends the connection":               {rows, nil, "did not answer in time"},
		"no SUBACK ends the connection":               {subscribe, nil, "cannot subscribe"},
		"a SUBACK with two codes ends the connection": {subscribe, []byte{0x90, 4, 0, 3, 1, 1}, "too large or malformed"},
		"a PUBACK for nothing frees nothing":          {rows, []byte{0x40, 2, 0xff, 0xfe}, "did not answer in time"},
		"a huge packet ends the connection":           {rows, []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, "too large or malformed"},
		"rubbish ends the connection":                 {rows, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "too large or malformed"},
		"a flood of requests ends the connection":     {rows, []byte(flood), "faster than they can be handled"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := hostile(t, nil, func(p packets.ControlPacket) []byte {
				if c.when(p) {
					return c.send
				}
				return polite(p)
			})
			m := newMemory()
			m.add(flex.StreamAck, 3)
			f := New(settings(addr, m))
			f.limit = quick()
			f.limit.token = 200 * time.Millisecond
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- f.Run(ctx) }()
			untilError(t, f, c.want)
			cancel()
			<-ended
			if left := m.left(flex.StreamAck); left != 3 {
				t.Errorf("%d rows of 3 are left", left)
			}
		})
	}
}

func TestSilentBrokerDoesNotHoldTheEnd(t *testing.T) {
	reached := make(chan struct{}, 8)
	for name, silent := range map[string]func(packets.ControlPacket) bool{
		"from CONNECT on": func(packets.ControlPacket) bool { return true },
		"after SUBSCRIBE": func(p packets.ControlPacket) bool { _, ok := p.(*packets.SubscribePacket); return ok },
		"at the farewell": func(p packets.ControlPacket) bool {
			pub, ok := p.(*packets.PublishPacket)
			return ok && strings.Contains(string(pub.Payload), `"offline"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr := hostile(t, nil, func(p packets.ControlPacket) []byte {
				if silent(p) {
					select {
					case reached <- struct{}{}:
					default:
					}
					return nil
				}
				return polite(p)
			})
			f, stop := launch(t, settings(addr, newMemory()))
			if name != "at the farewell" {
				<-reached
			} else {
				until(t, "up", func() bool { return f.Status().Connected })
			}
			begin := time.Now()
			stop()
			if took := time.Since(begin); took > 4*time.Second {
				t.Errorf("the end took %s", took)
			}
		})
	}
}

func TestRefusedConnectionIsSaid(t *testing.T) {
	addr := hostile(t, nil, func(packets.ControlPacket) []byte { return []byte{0x20, 2, 0, 5} })
	f, _ := launch(t, settings(addr, newMemory()))
	until(t, "the refusal", func() bool { return strings.Contains(strings.ToLower(f.Status().LastError), "not author") })
}

func TestStalledBackendGetsTheRowsAgain(t *testing.T) {
	again := make(chan struct{})
	seen := 0
	addr := hostile(t, nil, func(p packets.ControlPacket) []byte {
		if pub, ok := p.(*packets.PublishPacket); ok && strings.HasSuffix(pub.TopicName, "/up/ack") {
			if seen++; seen == 2 { // one connection at a time
				close(again)
			}
		}
		return polite(p)
	})
	m := newMemory()
	m.add(flex.StreamAck, 1)
	cfg := settings(addr, m)
	cfg.BackendAcks = true
	f := New(cfg)
	f.limit = quick()
	f.limit.stall = 50 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	select {
	case <-again:
	case <-time.After(20 * time.Second):
		t.Error("the row did not come again")
	}
	cancel()
	<-ended
	if m.left(flex.StreamAck) != 1 {
		t.Error("the row was freed")
	}
}

// acked is a token that the broker has answered.
type acked struct{}

func (acked) Wait() bool                     { return true }
func (acked) WaitTimeout(time.Duration) bool { return true }
func (acked) Error() error                   { return nil }
func (acked) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestAcknowledgementCountsInItsOwnConnectionOnly(t *testing.T) {
	for name, spoil := range map[string]func(*Fleet, *session){
		"a newer generation voids it": func(f *Fleet, _ *session) { f.trying() },
		"a lost connection voids it":  func(_ *Fleet, s *session) { s.cancel(errPacket) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.add(flex.StreamAck, 2)
			f := New(settings("", m))
			f.trying()
			s := &session{f: f, generation: f.generation}
			s.ctx, s.cancel = context.WithCancelCause(context.Background())
			defer s.cancel(nil)
			p := newPump(s)
			l := p.lanes[0]
			for range 2 {
				row, _ := l.next(t.Context())
				p.fly(l, row.Seq, acked{})
			}
			first, second := p.flights[0], p.flights[1]
			p.flights = []flight{first}
			if err := p.collect(); err != nil || !l.out[0].puback || l.out[1].puback {
				t.Fatalf("the first does not count: %+v, %v", l.out, err)
			}
			p.flights = []flight{second}
			spoil(f, s)
			if err := p.collect(); err == nil || l.out[1].puback {
				t.Errorf("the second counts: %+v, %v", l.out, err)
			}
		})
	}
}
