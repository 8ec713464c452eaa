package fleet

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"flexd/agent/flex"
)

const site = "house-7"

// memory is an outbox in memory.
type memory struct {
	mu    sync.Mutex
	rows  map[flex.Stream][]flex.Message
	next  map[flex.Stream]uint64
	freed []string
	epoch string
	fail  error
}

func newMemory() *memory {
	return &memory{rows: map[flex.Stream][]flex.Message{}, next: map[flex.Stream]uint64{}, epoch: "e1"}
}

func (m *memory) add(stream flex.Stream, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.next[stream]++
		seq := m.next[stream]
		m.rows[stream] = append(m.rows[stream], flex.Message{ID: fmt.Sprintf("%s-%d", stream, seq), Epoch: m.epoch, Stream: stream, Seq: seq,
			At: time.Date(2026, 3, 1, 12, 0, 0, int(seq), time.UTC), Clock: flex.ClockHoldover, Schema: string(stream) + "/1",
			Body: json.RawMessage(fmt.Sprintf(`{"n":%d,"id":"from the body"}`, seq))})
	}
}

func (m *memory) After(_ context.Context, stream flex.Stream, seq uint64, n int) ([]flex.Message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := slices.DeleteFunc(slices.Clone(m.rows[stream]), func(r flex.Message) bool { return r.Seq <= seq })
	return rows[:min(n, len(rows))], m.fail
}

func (m *memory) Done(_ context.Context, stream flex.Stream, upto uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.rows[stream] = slices.DeleteFunc(m.rows[stream], func(r flex.Message) bool { return r.Seq <= upto })
	m.freed = append(m.freed, fmt.Sprintf("%s-%d", stream, upto))
	return nil
}

func (m *memory) left(stream flex.Stream) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows[stream])
}

// rows of telemetry, as the store's series gives them.
type seriesOf struct{ m *memory }

func (s seriesOf) Newest() uint64 {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.next[flex.StreamTele]
}

func (s seriesOf) After(ctx context.Context, seq uint64, n int) ([]flex.Message, error) {
	return s.m.After(ctx, flex.StreamTele, seq, n)
}

func (s seriesOf) Before(ctx context.Context, seq uint64, n int) ([]flex.Message, error) {
	rows, err := s.m.After(ctx, flex.StreamTele, 0, 1<<20)
	rows = slices.DeleteFunc(rows, func(r flex.Message) bool { return r.Seq >= seq })
	slices.Reverse(rows)
	return rows[:min(n, len(rows))], err
}

func (s seriesOf) Done(seqs ...uint64) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.rows[flex.StreamTele] = slices.DeleteFunc(s.m.rows[flex.StreamTele], func(r flex.Message) bool { return slices.Contains(seqs, r.Seq) })
}

// heard is a message as a backend sees it.
type heard struct {
	Topic    string
	Retained bool
	ID       string    `json:"id"`
	Epoch    string    `json:"epoch"`
	Stream   string    `json:"stream"`
	Seq      uint64    `json:"seq"`
	Session  uint64    `json:"session"`
	At       time.Time `json:"at"`
	Clock    string    `json:"clock"`
	Schema   string    `json:"schema"`
	State    string    `json:"state"`
	Error    string    `json:"error"`
	Request  string    `json:"request"`
	Of       string    `json:"topic"`
	N        int       `json:"n"`
	Raw      []byte    `json:"-"`
}

// ear collects what arrives at the broker.
type ear struct {
	mu  sync.Mutex
	all []heard
}

func (e *ear) hear(topic string, retained bool, payload []byte) {
	h := heard{}
	if err := json.Unmarshal(payload, &h); err != nil {
		h.Error = "not JSON: " + err.Error()
	}
	h.Topic, h.Retained, h.Raw = topic, retained, slices.Clone(payload)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, h)
}

func (e *ear) on(last string) []heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []heard{}
	for _, h := range e.all {
		if h.Topic == Prefix+site+"/up/"+last {
			out = append(out, h)
		}
	}
	return out
}

// gate lets everything in except one filter, when asked to.
type gate struct {
	auth.AllowHook
	deny bool
}

func (g *gate) OnACLCheck(_ *broker.Client, _ string, write bool) bool { return write || !g.deny }

func (g *gate) Provides(b byte) bool {
	return b == broker.OnACLCheck || b == broker.OnConnectAuthenticate
}

// hub is a broker that can be stopped early; the library closes only once.
type hub struct {
	*broker.Server
	stop func()
}

// start runs an embedded broker on a real socket.
func start(t *testing.T, conf listeners.Config, e *ear, deny bool) (*hub, string) {
	t.Helper()
	s := broker.New(&broker.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(&gate{deny: deny}, nil); err != nil {
		t.Fatal(err)
	}
	// Before it listens: nothing may come that is not heard.
	if err := s.Subscribe(Prefix+"#", 1, func(_ *broker.Client, _ packets.Subscription, pk packets.Packet) {
		e.hear(pk.TopicName, pk.FixedHeader.Retain, pk.Payload)
	}); err != nil {
		t.Fatal(err)
	}
	if conf.Address == "" {
		conf.Address = "127.0.0.1:0"
	}
	l := &door{conf: conf}
	if err := s.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	h := &hub{s, sync.OnceFunc(func() { _ = s.Close() })}
	t.Cleanup(h.stop)
	return h, l.Address()
}

// quick are the limits for tests on a loopback.
func quick() limits {
	l := defaults()
	l.poll, l.state, l.birth = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	l.pauseMin, l.pauseMax = 10*time.Millisecond, 50*time.Millisecond
	l.connect, l.token, l.write = 5*time.Second, 5*time.Second, 500*time.Millisecond
	return l
}

// site settings with an outbox in memory.
func settings(addr string, m *memory) Config {
	return Config{Site: site, Broker: "mqtt://" + addr, Session: 41, Epoch: "e1", Outbox: m, Series: seriesOf{m},
		State: func() any { return map[string]any{"version": "1.2.3"} },
		Birth: func() any { return map[string]any{"devices": []string{"inv-1"}} },
		Stamp: func() flex.Stamp { return flex.Stamp{At: time.Now(), Clock: flex.ClockSynced} },
		Log:   slog.New(slog.DiscardHandler)}
}

// launch runs a session until the test, or the returned function, ends it.
func launch(t *testing.T, cfg Config) (*Fleet, func()) {
	t.Helper()
	f := New(cfg)
	f.limit = quick()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run did not end")
		}
	})
	t.Cleanup(stop)
	return f, stop
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func untilError(t *testing.T, f *Fleet, want string) {
	t.Helper()
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("the last error is %q", last)
		}
	}()
	until(t, "an error with "+want, func() bool {
		if e := f.Status().LastError; e != "" {
			last = e
		}
		return strings.Contains(last, want)
	})
}

// door is the broker's listener. The broker's own starts serving links while
// it is being closed, which is a race in the test; this one waits for them.
type door struct {
	conf listeners.Config
	l    net.Listener
	wg   sync.WaitGroup

	mu    sync.Mutex
	links []net.Conn
}

func (d *door) Init(*slog.Logger) (err error) {
	if d.l, err = net.Listen("tcp", d.conf.Address); err == nil && d.conf.TLSConfig != nil {
		d.l = tls.NewListener(d.l, d.conf.TLSConfig)
	}
	return err
}

func (d *door) Serve(establish listeners.EstablishFn) {
	for {
		c, err := d.l.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		d.links = append(d.links, c)
		d.mu.Unlock()
		d.wg.Go(func() { _ = establish(d.ID(), c) })
	}
}

func (d *door) ID() string       { return "door" }
func (d *door) Address() string  { return d.l.Addr().String() }
func (d *door) Protocol() string { return "tcp" }

func (d *door) Close(clients listeners.CloseFn) {
	_ = d.l.Close()
	clients(d.ID())
	d.mu.Lock()
	for _, c := range d.links { // those that the broker does not know yet
		_ = c.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

// cutter is a TCP relay that cuts its links after a number of bytes up.
type cutter struct {
	l      net.Listener
	target string

	mu     sync.Mutex
	budget int64 // bytes up until the cut, below zero: no cut
	links  []net.Conn
	wg     sync.WaitGroup
}

func relay(t *testing.T, target string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{l: l, target: target, budget: -1}
	c.wg.Go(c.serve)
	t.Cleanup(func() { _ = l.Close(); c.cut(); c.wg.Wait() })
	return c
}

func (c *cutter) serve() {
	for {
		in, err := c.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		c.mu.Lock()
		c.links = append(c.links, in, out)
		c.mu.Unlock()
		c.wg.Go(func() { c.up(out, in) })
		c.wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
	}
}

func (c *cutter) up(dst, src net.Conn) {
	defer dst.Close()
	buf := make([]byte, 512)
	for {
		n, err := src.Read(buf)
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
		c.mu.Lock()
		gone := c.budget >= 0 && c.budget < int64(n)
		if c.budget >= 0 {
			c.budget = max(0, c.budget-int64(n))
		}
		if gone {
			c.budget = -1
		}
		c.mu.Unlock()
		if gone {
			_ = src.Close()
			return
		}
	}
}

func (c *cutter) after(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = bytes
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		if tcp, ok := l.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = l.Close()
	}
	c.links = nil
}
