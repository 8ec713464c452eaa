package ingress

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// begin opens a connection, sends the text and leaves it there.
func begin(t *testing.T, w *Webhook, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, text)
	return c
}

// at counts the connections at a stage.
func (c *crowd) at(state stage) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.conns {
		if g.state == state {
			n++
		}
	}
	return n
}

func (c *crowd) large() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.conns {
		if g.large {
			n++
		}
	}
	return n
}

// Whoever sends slowly makes room for who is quick, and what has arrived whole
// is never given up for another.
func TestSlowBodiesMakeRoom(t *testing.T) {
	held, in := &fakeIntake{hold: make(chan struct{})}, &fakeIntake{}
	w, _ := open(t, in, func(c *WebhookConfig) { c.MaxConns, c.Routes = 8, map[string]Intake{"/held": held} })
	status := make(chan int, 1)
	go func() {
		resp, err := http.Post("http://"+w.Addr().String()+"/held", "text/plain", strings.NewReader("x"))
		if err != nil {
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	for w.crowd.at(handled) == 0 {
		time.Sleep(time.Millisecond)
	}
	for round := range 3 {
		for range 10 {
			begin(t, w, "POST /webhooks/piclo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
		}
		for deadline := time.Now().Add(5 * time.Second); w.crowd.at(reading) < 7 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		for range 10 {
			begin(t, w, "POST /webhooks/piclo HTTP/1.1\r\nHo")
		}
		if resp, _ := call(t, w, "POST", "/webhooks/piclo", strings.NewReader("x")); resp.StatusCode != http.StatusAccepted {
			t.Errorf("round %d: a quick one gets %d", round, resp.StatusCode)
		}
	}
	close(held.hold)
	if got := <-status; got != http.StatusAccepted {
		t.Errorf("the one under way gets %d", got)
	}
}

// A source that has its share of connections is told so and not cut, over TLS
// and up to the server's own bound; another source still finds a place then.
func TestASourceWithItsShareIsToldSo(t *testing.T) {
	held := &fakeIntake{hold: make(chan struct{})}
	cert, key := writePair(t, t.TempDir(), 1)
	w, _ := open(t, held, func(c *WebhookConfig) { c.CertFile, c.KeyFile = cert, key })
	w.crowd.shared = func(string) bool { return false }
	crowded := func(want int) {
		t.Helper()
		count := func() int { w.crowd.mu.Lock(); defer w.crowd.mu.Unlock(); return len(w.crowd.conns) }
		for deadline := time.Now().Add(20 * time.Second); count() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d connections, want %d", count(), want)
			}
		}
	}
	share := make(chan int, maxConns/2)
	for range cap(share) {
		go func() { share <- postFrom(w, "127.0.0.1") }()
	}
	for deadline := time.Now().Add(20 * time.Second); w.crowd.at(handled) < cap(share) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	told := make(chan int, maxConns-cap(share))
	for range cap(told) {
		go func() { told <- postFrom(w, "127.0.0.1") }()
	}
	for range cap(told) {
		if got := <-told; got != http.StatusServiceUnavailable {
			t.Errorf("beyond the share: %d", got)
		}
	}
	crowded(cap(share))
	for range maxConns - cap(share) {
		begin(t, w, "")
	}
	crowded(maxConns)
	if got := postFrom(w, "127.0.0.1"); got != 0 {
		t.Errorf("beyond the server's bound: %d", got)
	}
	other := make(chan int, 1)
	go func() { other <- postFrom(w, "127.0.0.2") }()
	for deadline := time.Now().Add(5 * time.Second); w.crowd.at(handled) <= cap(share) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	close(held.hold)
	if got := <-other; got != http.StatusAccepted {
		t.Errorf("another source: %d", got)
	}
	for range cap(share) {
		if got := <-share; got != http.StatusAccepted {
			t.Errorf("within the share: %d", got)
		}
	}
}

// postFrom posts on a TLS connection of its own from an address of the loopback
// and gives the status, 0 when it was cut.
func postFrom(w *Webhook, source string) int {
	dial := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Post("https://"+w.Addr().String()+"/webhooks/piclo", "text/plain", strings.NewReader("x"))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// The few places for large bodies are not kept by who sends slowly, and a small
// body of unknown length needs none.
func TestSlowLargeBodiesMakeRoom(t *testing.T) {
	w, _ := open(t, &fakeIntake{}, nil)
	for range largeAtOnce + 2 {
		begin(t, w, fmt.Sprintf("POST /webhooks/piclo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", maxBody, strings.Repeat("x", smallBody+1)))
	}
	for deadline := time.Now().Add(5 * time.Second); w.crowd.large() < largeAtOnce && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for name, body := range map[string]io.Reader{
		"small, of unknown length": io.MultiReader(strings.NewReader("x")),
		"large":                    bytes.NewReader(bytes.Repeat([]byte("x"), maxBody)),
		"large, of unknown length": io.MultiReader(bytes.NewReader(bytes.Repeat([]byte("x"), maxBody))),
	} {
		if resp, _ := call(t, w, "POST", "/webhooks/piclo", body); resp.StatusCode != http.StatusAccepted {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
		if n := w.crowd.large(); n > largeAtOnce {
			t.Errorf("%s: %d large bodies at once", name, n)
		}
	}
}

func TestWhoHasToGoFirst(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name   string
		guests map[string]guest
		want   string
	}{
		{"a slow one before an idle one", map[string]guest{"slow": {state: reading, since: now.Add(-2 * time.Second)}, "idle": {since: now.Add(-time.Minute)}}, "slow"},
		{"the one that has been there longest of those that may be quick", map[string]guest{"a": {since: now.Add(-time.Second / 3)}, "b": {state: reading, since: now.Add(-time.Second / 2)}, "c": {since: now}}, "b"},
		{"an idle one before one that only began", map[string]guest{"new": {state: reading, since: now}, "idle": {since: now.Add(-time.Minute)}}, "idle"},
		{"the slowest", map[string]guest{"a": {state: reading, since: now.Add(-time.Second / 2)}, "b": {state: reading, since: now}}, "a"},
		{"one beyond its share before a slow one", map[string]guest{"over": {since: now, over: true}, "slow": {state: reading, since: now.Add(-time.Minute)}}, "over"},
		{"nobody who has sent all", map[string]guest{"a": {state: handled, since: now.Add(-time.Hour)}}, ""},
	} {
		c, names := newCrowd(1, func(string) bool { return true }), map[net.Conn]string{nil: ""}
		for name, g := range tc.guests {
			conn, other := net.Pipe()
			_ = other.Close()
			names[conn], c.conns[conn] = name, &g
		}
		if got := names[c.leaver(now)]; got != tc.want {
			t.Errorf("%s: %q goes, want %q", tc.name, got, tc.want)
		}
	}
}
