package relay

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// hostile is a broker that answers each packet as a test says.
func hostile(t *testing.T, answer func(packets.ControlPacket) []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
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
			})
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// polite answers as a broker does; what comes back proves the topic.
func polite(p packets.ControlPacket) []byte {
	switch p := p.(type) {
	case *packets.ConnectPacket:
		return []byte{0x20, 2, 0, 0}
	case *packets.SubscribePacket:
		return []byte{0x90, 3, byte(p.MessageID >> 8), byte(p.MessageID), 0}
	case *packets.UnsubscribePacket:
		return []byte{0xb0, 2, byte(p.MessageID >> 8), byte(p.MessageID)}
	case *packets.PublishPacket:
		if p.Qos == 0 {
			var out bytes.Buffer
			_ = p.Write(&out)
			return out.Bytes()
		}
		return []byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)}
	case *packets.PingreqPacket:
		return []byte{0xd0, 0}
	}
	return nil
}

func TestHostileBroker(t *testing.T) {
	posted := func(p packets.ControlPacket) bool {
		pub, ok := p.(*packets.PublishPacket)
		return ok && pub.Qos == 1
	}
	for name, c := range map[string]struct {
		send []byte
		want string
	}{
		"no acknowledgement is no 2xx":              {nil, "no_acknowledgement"},
		"an acknowledgement of nothing is no 2xx":   {[]byte{0x40, 2, 0xff, 0xfe}, "no_acknowledgement"},
		"a huge packet ends the connection":         {[]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, "broker_away"},
		"a SUBACK of two codes ends the connection": {[]byte{0x90, 4, 0, 1, 1, 1}, "broker_away"},
		"rubbish ends the connection":               {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "broker_away"},
		"a length of five bytes ends it":            {[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, "broker_away"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := hostile(t, func(p packets.ControlPacket) []byte {
				if posted(p) {
					return c.send
				}
				return polite(p)
			})
			r, _ := launch(t, settings(t, "mqtt://"+addr, func(c *Config) { c.Limits.Timeout = 300 * time.Millisecond }))
			until(t, "connected", r.proven)
			if status, h := mustPost(t, r, path, "a"); status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
				t.Errorf("status %d", status)
			}
			if _, text := ask(t, r, "/metrics"); !strings.Contains(text, `flexd_relay_requests_total{status="503",why="`+c.want+`"} 1`) {
				t.Errorf("not counted as %s:\n%s", c.want, text)
			}
			until(t, "it connects anew", func() bool { return r.link.count.connections.Load() >= 2 })
		})
	}
}

// TestTheQueueIsBounded: a broker that is slow to acknowledge makes senders
// wait for as long as they can, and others come back later.
func TestTheQueueIsBounded(t *testing.T) {
	addr := hostile(t, func(p packets.ControlPacket) []byte {
		if pub, ok := p.(*packets.PublishPacket); ok && pub.Qos == 1 {
			return nil
		}
		return polite(p)
	})
	r, _ := launch(t, settings(t, "mqtt://"+addr, func(c *Config) {
		c.Limits.Queue, c.Limits.InFlight, c.Limits.Timeout = 3, 2, time.Second
	}))
	until(t, "connected", r.proven)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if status, _, err := send(sender(), r, path, fmt.Appendf(nil, "%d", i), nil); err != nil || status != 503 {
				t.Errorf("status %d, %v", status, err)
			}
		})
	}
	wg.Wait()
	if n := r.link.count.requests[queueFull].Load(); n < 20 {
		t.Errorf("%d were refused for a full queue", n)
	}
	until(t, "nothing is left behind", func() bool {
		r.link.mu.Lock()
		defer r.link.mu.Unlock()
		return r.link.waiting == 0 && r.link.count.inFlight.Load() == 0
	})
}

// TestStrangersMakeNoLabels: what senders choose never shows in the metrics.
func TestStrangersMakeNoLabels(t *testing.T) {
	b := startBroker(t)
	r, _ := launch(t, settings(t, "mqtt://"+b.addr, nil))
	until(t, "connected", r.proven)
	_, before := ask(t, r, "/metrics")
	for i := range 50 {
		mustPost(t, r, fmt.Sprintf("/stranger/%d", i), "x")
		mustPost(t, r, path, fmt.Sprint(i))
	}
	_, after := ask(t, r, "/metrics")
	if a, b := strings.Count(before, "\n"), strings.Count(after, "\n"); a != b {
		t.Errorf("%d lines became %d", a, b)
	}
	for _, line := range strings.Split(strings.TrimSpace(after), "\n") {
		if name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), " "); !strings.HasPrefix(name, "flexd_relay_") {
			t.Errorf("line %q", line)
		}
	}
	if status, _ := ask(t, r, "/else"); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
}

func FuzzGuard(f *testing.F) {
	f.Add([]byte{0x20, 2, 0, 0, 0x90, 3, 0, 1, 0}, 1)
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 2)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		read := func(step int) (ok bool) {
			ok = true
			g := &guard{Conn: &tape{raw: raw, step: step}, broken: func(error) { ok = false }}
			buf := make([]byte, 4096)
			for {
				if _, err := g.Read(buf); err != nil {
					return ok
				}
				if g.skip < 0 || g.skip > maxIncoming {
					t.Fatalf("skip %d", g.skip)
				}
			}
		}
		if whole, parts := read(4096), read(max(1, cut%64)); whole != parts {
			t.Fatalf("whole %v, in parts %v", whole, parts)
		}
	})
}

// tape is a connection that gives bytes in steps.
type tape struct {
	net.Conn
	raw  []byte
	step int
}

func (c *tape) Read(p []byte) (int, error) {
	if len(c.raw) == 0 {
		return 0, net.ErrClosed
	}
	n := copy(p[:min(len(p), c.step)], c.raw)
	c.raw = c.raw[n:]
	return n, nil
}
