package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"flexd/agent/fleet"
	"flexd/agent/flex"
	"flexd/agent/ingress"
)

const path = "/webhooks/piclo"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// gate is the broker's access list.
type gate struct {
	mochi.HookBase
	deny  atomic.Bool
	posts atomic.Int64 // passed on to those who listened by then: it is acknowledged before
}

func (g *gate) ID() string { return "gate" }
func (g *gate) Provides(b byte) bool {
	return b == mochi.OnACLCheck || b == mochi.OnConnectAuthenticate || b == mochi.OnPublished
}
func (g *gate) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (g *gate) OnACLCheck(_ *mochi.Client, topic string, _ bool) bool {
	return !g.deny.Load() || !strings.HasSuffix(topic, "relay")
}

func (g *gate) OnPublished(_ *mochi.Client, p packets.Packet) {
	if bytes.Contains(p.Payload, []byte(`"kind":"post"`)) {
		g.posts.Add(1)
	}
}

// embedded runs a broker in this process on a real socket. Its listener waits for its
// links, which the library's own does not.
type embedded struct {
	*gate
	addr string
	stop func()
}

func startBroker(t testing.TB) *embedded {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: quiet(), InlineClient: true})
	b := &embedded{gate: &gate{}}
	if err := s.AddHook(b.gate, nil); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &doorway{l: l}
	b.addr = l.Addr().String()
	if err := s.AddListener(d); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	b.stop = sync.OnceFunc(func() { _ = s.Close() })
	t.Cleanup(b.stop)
	return b
}

type doorway struct {
	l  net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	links []net.Conn
}

func (d *doorway) Init(*slog.Logger) error { return nil }
func (d *doorway) ID() string              { return "doorway" }
func (d *doorway) Address() string         { return d.l.Addr().String() }
func (d *doorway) Protocol() string        { return "tcp" }
func (d *doorway) Serve(establish listeners.EstablishFn) {
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
func (d *doorway) Close(clients listeners.CloseFn) {
	_ = d.l.Close()
	clients(d.ID())
	d.mu.Lock()
	for _, c := range d.links {
		_ = c.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

// wire is a TCP link to a broker that can be cut and held up.
type wire struct {
	l      net.Listener
	target atomic.Pointer[string]
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func startWire(t testing.TB, target string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l}
	w.target.Store(&target)
	w.wg.Go(w.serve)
	t.Cleanup(func() { _ = l.Close(); w.cut(); w.wg.Wait() })
	return w
}

func (w *wire) addr() string { return w.l.Addr().String() }

func (w *wire) serve() {
	for {
		in, err := w.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", *w.target.Load())
		if err != nil {
			_ = in.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, in, out)
		w.mu.Unlock()
		w.wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
		w.wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	w.conns = nil
}

// settings are a configuration for loopback.
func settings(t testing.TB, brokerURL string, change func(*Config)) *Config {
	t.Helper()
	c, err := Parse("relay.yaml", []byte(`
webhook: {listen: "127.0.0.1:0", tls: off}
routes: [{path: `+path+`, sites: [house-7]}]
broker: {url: "`+brokerURL+`", insecure: true}
limits: {per_second: 10000}
health: {listen: "127.0.0.1:0"}
`))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(c)
	}
	return c
}

// launch runs a relay until the test, or the returned function, ends it.
func launch(t testing.TB, cfg *Config) (*Relay, func()) {
	t.Helper()
	r, err := New(cfg, Options{Log: quiet(), Resolve: func(s string) (string, error) { return s, nil }})
	if err != nil {
		t.Fatal(err)
	}
	quick := &r.link.times
	quick.pauseMin, quick.pauseMax, quick.tick, quick.beat = 10*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond
	quick.canary, quick.reprove = 500*time.Millisecond, 100*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("Run did not end")
		}
	})
	t.Cleanup(stop)
	select {
	case <-r.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("not ready")
	}
	return r, stop
}

func (r *Relay) proven() bool {
	up, _, _ := r.link.status()
	return up && r.link.unproven() == 0
}

// site is the other end: session, door, and an intake that keeps what came.
type site struct {
	fleet *fleet.Fleet
	door  *ingress.RelayDoor
	gaps  atomic.Int64

	mu   sync.Mutex
	got  map[string]flex.Envelope // by body
	n    int
	fail func(flex.Envelope) error
}

func (s *site) Accept(_ context.Context, env flex.Envelope) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(env); err != nil {
			return err
		}
	}
	s.got[string(env.Body)] = env
	s.n++
	return nil
}

func (s *site) has(body string) (flex.Envelope, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	env, ok := s.got[body]
	return env, ok
}

type noRows struct{}

func (noRows) After(context.Context, flex.Stream, uint64, int) ([]flex.Message, error) {
	return nil, nil
}
func (noRows) Done(context.Context, flex.Stream, uint64) error { return nil }

func startSite(t testing.TB, brokerURL, id, shared string, change func(*fleet.Config)) *site {
	t.Helper()
	s := &site{got: map[string]flex.Envelope{}}
	s.door = ingress.NewRelayDoor(ingress.RelayConfig{Intake: s, Topics: fleet.RelayTopics(id, shared),
		Gap: func() { s.gaps.Add(1) }, Log: quiet()})
	cfg := fleet.Config{Site: id, Broker: brokerURL, Session: 1, Outbox: noRows{}, Relay: s.door, Shared: shared,
		Stamp: func() flex.Stamp { return flex.Stamp{At: time.Now(), Clock: flex.ClockSynced} }, Log: quiet()}
	if change != nil {
		change(&cfg)
	}
	s.fleet = fleet.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.fleet.Run(ctx) })
	wg.Go(func() { _ = s.door.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	until(t, "the site is connected", func() bool { return s.fleet.Status().Connected })
	return s
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// sender posts over kept connections.
func sender() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}
}

func send(c *http.Client, r *Relay, where string, body []byte, header http.Header) (int, http.Header, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+r.Addr().String()+where, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, nil
}

func mustPost(t testing.TB, r *Relay, where, body string) (int, http.Header) {
	t.Helper()
	status, header, err := send(sender(), r, where, []byte(body), nil)
	if err != nil {
		t.Fatal(err)
	}
	return status, header
}

// mustPostFrom posts for a sender that a proxy names.
func mustPostFrom(t testing.TB, r *Relay, from string) (int, http.Header) {
	t.Helper()
	status, header, err := send(sender(), r, path, []byte("a"), http.Header{"X-Forwarded-For": {from}})
	if err != nil {
		t.Fatal(err)
	}
	return status, header
}

func ask(t testing.TB, r *Relay, where string) (int, string) {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s%s", r.HealthAddr(), where))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
