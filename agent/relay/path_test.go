package relay

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/ingress"
	"flexd/longtest"
)

// anyBody is random: bytes, JSON with odd keys and floats, CRLF, or text.
func anyBody(r *rand.Rand, i int) []byte {
	n := 1 + r.IntN(2000)
	if i%50 == 0 {
		n = 20000 + r.IntN(80000)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d|", i) // each is its own
	switch i % 4 {
	case 0:
		for range n {
			b.WriteByte(byte(r.UintN(256)))
		}
	case 1:
		fmt.Fprintf(&b, "{\"z\":%g,\r\n \"a\":1.0e+%d, \"\\u00e9\": \"é\U0001F50C\",\t\"a\":%d}\r\n", r.NormFloat64(), r.IntN(300), r.Int64())
	case 2:
		b.WriteString(strings.Repeat("eyJhbGciOiJSUzI1NiJ9.", 1+n/40))
	default:
		for range n / 4 {
			b.WriteRune(rune(r.IntN(0xd800)))
		}
	}
	return b.Bytes()
}

func TestBodiesArriveByteForByte(t *testing.T) {
	const senders = 16
	bodies := longtest.Pick(2_000, 10_000)
	b := startBroker(t)
	var routes []Route
	sites := make([]*site, 10) // each takes a hundred a second
	for i := range sites {
		id := fmt.Sprintf("house-%d", i)
		sites[i] = startSite(t, "mqtt://"+b.addr, id, "", nil)
		routes = append(routes, Route{"/" + id, []string{"flexd/v1/" + id + "/down/relay"}})
	}
	relays := make([]*Relay, 2) // two in parallel, as behind a balancer
	for i := range relays {
		relays[i], _ = launch(t, settings(t, "mqtt://"+b.addr, func(c *Config) { c.Routes = routes }))
		until(t, "the relay is connected", relays[i].proven)
	}
	sent := make([][]byte, bodies)
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range sent {
		sent[i] = anyBody(r, i)
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	for range senders {
		wg.Go(func() {
			c := sender()
			defer c.CloseIdleConnections()
			for i := next.Add(1) - 1; int(i) < bodies; i = next.Add(1) - 1 {
				h := http.Header{"X-Number": {fmt.Sprint(i)}, "X-Odd": {"caf\xe9 <&> \"q\"", "two\tparts"}}
				for try := 0; ; try++ {
					status, _, err := send(c, relays[i%2], routes[int(i)/2%len(routes)].Path, sent[i], h)
					if err == nil && status == http.StatusAccepted {
						break
					}
					if try > 20 {
						t.Errorf("body %d: status %d, %v", i, status, err)
						return
					}
				}
			}
		})
	}
	began := time.Now()
	wg.Wait()
	t.Logf("%d posts in %v", bodies, time.Since(began))
	for i, body := range sent {
		var env flex.Envelope
		until(t, fmt.Sprintf("body %d arrives as it was", i), func() (ok bool) {
			env, ok = sites[i/2%len(sites)].has(string(body))
			return ok
		})
		if got := env.Header["X-Number"]; len(got) != 1 || got[0] != fmt.Sprint(i) {
			t.Fatalf("body %d has header %q", i, got)
		}
		if got := env.Header["X-Odd"]; len(got) != 2 || got[0] != "caf\xe9 <&> \"q\"" || got[1] != "two\tparts" {
			t.Fatalf("body %d has header %q", i, got)
		}
		if env.Door != flex.DoorRelay || env.Source != relays[i%2].ID() {
			t.Fatalf("body %d came by %s from %s", i, env.Door, env.Source)
		}
	}
	for _, s := range sites {
		st := s.door.Status()
		if st.Refused+st.Malformed+st.Limited != 0 || len(st.Relays) != 2 || st.Relays[0].Missing+st.Relays[1].Missing != 0 {
			t.Errorf("status %+v", st)
		}
	}
}

// TestNothingAnsweredIsLost cuts the relay's link in the midst of a burst:
// whatever was answered 202 arrives. What a broker loses when it is killed, or
// when a site comes back, is the broker's: see TestMosquitto.
func TestNothingAnsweredIsLost(t *testing.T) {
	b := startBroker(t)
	up := startWire(t, b.addr)
	s := startSite(t, "mqtt://"+b.addr, "house-7", "", nil)
	r, _ := launch(t, settings(t, "mqtt://"+up.addr(), nil))
	until(t, "the relay is connected", r.proven)
	answered, refused := burst(t, r, 1500, func(i int) {
		if i%300 == 0 {
			up.cut()
		}
	})
	if len(answered) < 100 || refused == 0 {
		t.Errorf("%d answered, %d refused: the cuts cut nothing, or all", len(answered), refused)
	}
	for _, body := range answered {
		until(t, body+" was answered 202 and arrives", func() bool { _, ok := s.has(body); return ok })
	}
}

// burst posts n bodies by several senders and gives those that were answered
// 202, and how many were put off.
func burst(t *testing.T, r *Relay, n int64, each func(i int)) (answered []string, refused int64) {
	t.Helper()
	var mu sync.Mutex
	var next, off atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := sender()
			defer c.CloseIdleConnections()
			for i := next.Add(1); i <= n; i = next.Add(1) {
				body := fmt.Sprintf("body %d", i)
				status, h, err := send(c, r, path, []byte(body), nil)
				switch {
				case err != nil:
					t.Errorf("no answer: %v", err)
				case status == http.StatusAccepted:
					mu.Lock()
					answered = append(answered, body)
					mu.Unlock()
				case status == http.StatusServiceUnavailable && h.Get("Retry-After") != "":
					off.Add(1)
					time.Sleep(5 * time.Millisecond)
				default:
					t.Errorf("status %d, Retry-After %q", status, h.Get("Retry-After"))
				}
				each(int(i))
			}
		})
	}
	wg.Wait()
	t.Logf("%d answered, %d put off", len(answered), off.Load())
	return answered, off.Load()
}

func TestRoutesLeadToTheirSites(t *testing.T) {
	b := startBroker(t)
	url := "mqtt://" + b.addr
	one, two := startSite(t, url, "house-1", "club", nil), startSite(t, url, "house-2", "club", nil)
	r, _ := launch(t, settings(t, url, func(c *Config) {
		c.Routes = []Route{{"/both", []string{"flexd/v1/house-1/down/relay", "flexd/v1/house-2/down/relay"}},
			{"/site/house-1", []string{"flexd/v1/house-1/down/relay"}}, {"/club", []string{"flexd/v1/shared/club/relay"}}}
	}))
	until(t, "the relay is connected", r.proven)
	for _, c := range []struct {
		path string
		a, b bool
	}{{"/both", true, true}, {"/site/house-1", true, false}, {"/club", true, true}} {
		if status, _ := mustPost(t, r, c.path, c.path); status != http.StatusAccepted {
			t.Fatalf("%s: status %d", c.path, status)
		}
		for s, want := range map[*site]bool{one: c.a, two: c.b} {
			if want {
				until(t, c.path+" arrives", func() bool { _, ok := s.has(c.path); return ok })
			}
		}
	}
	if _, ok := two.has("/site/house-1"); ok {
		t.Error("a request for one site came to the other")
	}
	if status, _ := mustPost(t, r, "/site/house-2", "x"); status != http.StatusNotFound {
		t.Errorf("a path that is not listed: %d", status)
	}
}

func TestWithoutABrokerTheSenderIsToldToComeBack(t *testing.T) {
	b := startBroker(t)
	r, _ := launch(t, settings(t, "mqtt://"+b.addr, nil))
	until(t, "the relay is connected", r.proven)
	if status, text := ask(t, r, "/healthz"); status != 200 || !strings.Contains(text, "connected since") {
		t.Errorf("healthz %d %s", status, text)
	}
	if status, _ := mustPost(t, r, path, "a"); status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
	b.stop()
	until(t, "healthz says so", func() bool { s, _ := ask(t, r, "/healthz"); return s == 503 })
	if s, text := ask(t, r, "/readyz"); s != 503 || !strings.Contains(text, "broker") {
		t.Errorf("readyz %d %s", s, text)
	}
	status, h := mustPost(t, r, path, "b")
	if status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", status, h.Get("Retry-After"))
	}
	_, text := ask(t, r, "/metrics")
	for _, want := range []string{`flexd_relay_requests_total{status="202",why="acknowledged"} 1`, `flexd_relay_requests_total{status="503",why="broker_away"} 1`,
		"flexd_relay_connected 0", `flexd_relay_publishes_total{result="acknowledged"} 1`, `flexd_relay_publish_seconds_bucket{le="+Inf"} 1`, "flexd_relay_connections_total 1"} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the metrics do not say %s:\n%s", want, text)
		}
	}
}

// TestASilentDenialIsNoAcknowledgement: brokers acknowledge what they drop.
func TestASilentDenialIsNoAcknowledgement(t *testing.T) {
	b := startBroker(t)
	b.deny.Store(true)
	r, _ := launch(t, settings(t, "mqtt://"+b.addr, nil))
	until(t, "connected", func() bool { up, _, _ := r.link.status(); return up })
	status, h := mustPost(t, r, path, "a")
	if status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" {
		t.Errorf("status %d: the broker drops what it acknowledges", status)
	}
	if s, text := ask(t, r, "/readyz"); s != 503 || !strings.Contains(text, "proven") {
		t.Errorf("readyz %d %s", s, text)
	}
	b.deny.Store(false)
	until(t, "the topic is proven once the broker allows it", r.proven)
	if status, _ := mustPost(t, r, path, "b"); status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
}

func TestSleepersKeepNobodyOut(t *testing.T) {
	b := startBroker(t)
	r, _ := launch(t, settings(t, "mqtt://"+b.addr, nil))
	until(t, "the relay is connected", r.proven)
	for range 400 {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write([]byte("POST " + path + " HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	}
	if status, _ := mustPost(t, r, path, "a"); status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
}

func TestLimits(t *testing.T) {
	b := startBroker(t)
	proxied := func(c *Config) {
		c.Limits.PerSource, c.Limits.MaxBody = 5, 1000
		c.Webhook.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	r, _ := launch(t, settings(t, "mqtt://"+b.addr, proxied))
	until(t, "the relay is connected", r.proven)
	if status, _ := mustPost(t, r, path, strings.Repeat("x", 1001)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d", status)
	}
	limited := 0
	for range 40 {
		if status, h := mustPostFrom(t, r, "203.0.113.9"); status == 503 && h.Get("Retry-After") != "" {
			limited++
		}
	}
	if limited < 10 {
		t.Errorf("%d of 40 were put off, 5 a second are allowed", limited)
	}
	for range 40 {
		if status, _ := mustPost(t, r, path, "a"); status != http.StatusAccepted {
			t.Fatalf("one of the many whom a proxy does not name gets %d", status)
		}
	}
	whole, _ := launch(t, settings(t, "mqtt://"+b.addr, func(c *Config) { c.Limits.PerSecond = 5 }))
	until(t, "the relay is connected", whole.proven)
	limited = 0
	for range 40 {
		if status, _ := mustPost(t, whole, path, "a"); status == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited < 10 {
		t.Errorf("%d of 40 were refused, 5 a second are allowed", limited)
	}
}

// TestBeatsTellTheLastLoss: the last envelope before a pause is dropped on the
// way, and the beat gives it away.
func TestBeatsTellTheLastLoss(t *testing.T) {
	b := startBroker(t)
	r, stop := launch(t, settings(t, "mqtt://"+b.addr, nil))
	until(t, "the relay is connected", r.proven)
	if status, _ := mustPost(t, r, path, "before the site listens"); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	until(t, "the broker has let it go", func() bool { return b.posts.Load() == 1 })
	s := startSite(t, "mqtt://"+b.addr, "house-7", "", nil)
	until(t, "the missing number is counted", func() bool {
		st := s.door.Status()
		return len(st.Relays) == 1 && st.Relays[0].Seq == 1 && st.Relays[0].Missing == 1
	})
	until(t, "the site polls", func() bool { return s.gaps.Load() >= 2 }) // once for the connection, once for the number
	stop()
	until(t, "a relay that ends in order is forgotten", func() bool { return len(s.door.Status().Relays) == 0 })
}

var _ ingress.Intake = (*site)(nil)
