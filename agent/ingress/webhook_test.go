package ingress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
)

type fakeIntake struct {
	mu   sync.Mutex
	err  error
	got  []flex.Envelope
	boom bool
	hold chan struct{}
}

func (f *fakeIntake) Accept(_ context.Context, env flex.Envelope) error {
	if f.hold != nil {
		<-f.hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.boom {
		panic("a fault")
	}
	f.got = append(f.got, env)
	return f.err
}

func (f *fakeIntake) answer(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

type fakeHealth struct {
	mu    sync.Mutex
	items map[string]bool
}

func (h *fakeHealth) set(code string, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.items == nil {
		h.items = map[string]bool{}
	}
	h.items[code] = on
}
func (h *fakeHealth) Raise(code, _, _ string) { h.set(code, true) }
func (h *fakeHealth) Clear(code, _ string)    { h.set(code, false) }
func (h *fakeHealth) has(code string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.items[code]
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open serves on a loopback port until the test ends.
func open(t testing.TB, in Intake, change func(*WebhookConfig)) (*Webhook, *fakeHealth) {
	t.Helper()
	h := &fakeHealth{}
	cfg := WebhookConfig{Listen: "127.0.0.1:0", Path: "/webhooks/piclo", Intake: in, Health: h, Log: quiet()}
	if change != nil {
		change(&cfg)
	}
	w := NewWebhook(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	select {
	case <-w.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("Run = %v", err)
	}
	return w, h
}

// call makes one request on its own connection.
func call(t testing.TB, w *Webhook, method, path string, body io.Reader) (*http.Response, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	req, err := http.NewRequest(method, "http://"+w.Addr().String()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp, string(text)
}

func TestStatusFollowsTheVerdict(t *testing.T) {
	in := &fakeIntake{}
	w, _ := open(t, in, func(c *WebhookConfig) { c.FailPerSecond = 1000 })
	for _, tc := range []struct {
		name   string
		err    error
		status int
		retry  string
	}{
		{"on disk", nil, 202, ""},
		{"a wrong signature is 401", flex.Refuse(flex.ReasonSignatureInvalid, "secret-detail"), 401, ""},
		{"no signature is 401", flex.Refuse(flex.ReasonSignatureMissing, "secret-detail"), 401, ""},
		{"from the future is 401", flex.Refuse(flex.ReasonStaleTime, "secret-detail"), 401, ""},
		{"no key is 503", flex.Refuse(flex.ReasonNoKey, "secret-detail"), 503, "5"},
		{"no key with a known wait is 503", &flex.RetryError{After: time.Minute, Err: flex.Refuse(flex.ReasonNoKey, "secret-detail")}, 503, "60"},
		{"malformed is 400", flex.Refuse(flex.ReasonMalformed, "secret-detail"), 400, ""},
		{"an unknown event is 400", flex.Refuse(flex.ReasonEvent, "secret-detail"), 400, ""},
		{"a foreign URL is 400", flex.Refuse(flex.ReasonForeignURL, "secret-detail"), 400, ""},
		{"a wrapped refusal counts", fmt.Errorf("x: %w", flex.Refuse(flex.ReasonSignatureInvalid, "secret-detail")), 401, ""},
		{"a failing store is 503", errors.New("secret-detail"), 503, "5"},
		{"a known wait is passed on", &flex.RetryError{After: 90 * time.Second, Err: errors.New("secret-detail")}, 503, "90"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in.answer(tc.err)
			resp, text := call(t, w, "POST", "/webhooks/piclo", strings.NewReader("x"))
			if resp.StatusCode != tc.status || resp.Header.Get("Retry-After") != tc.retry {
				t.Errorf("status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
			}
			if strings.Contains(text, "secret-detail") || len(text) < 3 {
				t.Errorf("text = %q", text)
			}
		})
	}
	if env := in.got[0]; env.Door != flex.DoorWebhook || env.Source != "127.0.0.1" || string(env.Body) != "x" || env.Received.IsZero() {
		t.Errorf("envelope = %+v", env)
	}
}

func TestBounds(t *testing.T) {
	in := &fakeIntake{}
	w, _ := open(t, in, nil)
	full := bytes.Repeat([]byte("x"), maxBody)
	for _, tc := range []struct {
		name, method, path string
		body               io.Reader
		status             int
	}{
		{"another path", "POST", "/webhooks/piclo/", strings.NewReader("x"), 404},
		{"the root", "GET", "/", nil, 404},
		{"another method", "PUT", "/webhooks/piclo", strings.NewReader("x"), 405},
		{"a look", "GET", "/webhooks/piclo", nil, 200},
		{"an empty ping", "POST", "/webhooks/piclo", nil, 200},
		{"exactly 1 MiB", "POST", "/webhooks/piclo", bytes.NewReader(full), 202},
		{"one byte more", "POST", "/webhooks/piclo", bytes.NewReader(append(full, 'x')), 413},
		{"one byte more without a length", "POST", "/webhooks/piclo", io.MultiReader(bytes.NewReader(full), strings.NewReader("x")), 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if resp, _ := call(t, w, tc.method, tc.path, tc.body); resp.StatusCode != tc.status {
				t.Errorf("status = %d, want %d", resp.StatusCode, tc.status)
			}
		})
	}
	if len(in.got) != 1 {
		t.Errorf("%d reached intake, want 1", len(in.got))
	}
	t.Run("too many headers", func(t *testing.T) {
		if s := raw(t, w, "POST /webhooks/piclo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"+strings.Repeat("A: b\r\n", 100)+"\r\n"); s != 431 {
			t.Errorf("status = %d", s)
		}
	})
	t.Run("too large headers", func(t *testing.T) {
		if s := raw(t, w, "POST /webhooks/piclo HTTP/1.1\r\nHost: x\r\nA: "+strings.Repeat("b", 30<<10)+"\r\n\r\n"); s != 431 {
			t.Errorf("status = %d", s)
		}
	})
	t.Run("compressed", func(t *testing.T) {
		if s := raw(t, w, "POST /webhooks/piclo HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"); s != 415 {
			t.Errorf("status = %d", s)
		}
	})
}

// raw sends bytes and gives the status of the answer; 0 when there is none.
func raw(t *testing.T, w *Webhook, text string) int {
	t.Helper()
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, text)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestSlowBodyIsCutOff(t *testing.T) {
	in := &fakeIntake{}
	w, _ := open(t, in, func(c *WebhookConfig) { c.ReadTime = 200 * time.Millisecond })
	began := time.Now()
	if s := raw(t, w, "POST /webhooks/piclo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"); s != 408 && s != 0 {
		t.Errorf("slow body: status = %d", s)
	}
	if s := raw(t, w, "POST /webhooks/piclo HTTP/1.1\r\nHos"); s >= 200 && s < 300 {
		t.Errorf("slow header: status = %d", s)
	}
	if took := time.Since(began); took > 5*time.Second || len(in.got) != 0 {
		t.Errorf("held for %v, %d reached intake", took, len(in.got))
	}
}

func TestPanicIsAnsweredAndTheDoorStaysOpen(t *testing.T) {
	in := &fakeIntake{boom: true}
	w, _ := open(t, in, nil)
	if resp, _ := call(t, w, "POST", "/webhooks/piclo", strings.NewReader("x")); resp.StatusCode != 503 {
		t.Errorf("status = %d", resp.StatusCode)
	}
	in.boom = false
	if resp, _ := call(t, w, "POST", "/webhooks/piclo", strings.NewReader("x")); resp.StatusCode != 202 {
		t.Errorf("afterwards status = %d", resp.StatusCode)
	}
}

func TestRates(t *testing.T) {
	t.Run("over all", func(t *testing.T) {
		w, _ := open(t, &fakeIntake{}, func(c *WebhookConfig) { c.PerSecond = 3 })
		var last *http.Response
		for range 5 {
			last, _ = call(t, w, "POST", "/webhooks/piclo", strings.NewReader("x"))
		}
		if last.StatusCode != 429 || last.Header.Get("Retry-After") != "1" {
			t.Errorf("status = %d", last.StatusCode)
		}
	})
}

func TestFailuresRefillAndStayBounded(t *testing.T) {
	f := newFailures(10)
	now := time.Now()
	a, _ := sourceOf("192.0.2.1:5")
	for range 10 {
		f.note(a, now)
	}
	if !f.blocked(a, now) || f.blocked(a, now.Add(150*time.Millisecond)) {
		t.Error("a bucket of ten refills ten per second")
	}
	for n := range 5000 {
		src, _ := sourceOf(fmt.Sprintf("[2001:db8:%x::1]:1", n))
		f.note(src, now)
	}
	if len(f.sources) > maxSources {
		t.Errorf("%d sources", len(f.sources))
	}
	x, _ := sourceOf("[2001:db8::1]:1")
	y, _ := sourceOf("[2001:db8::2%eth0]:9")
	if x != y {
		t.Errorf("%v and %v are one customer", x, y)
	}
}

func TestSleepersMakeRoom(t *testing.T) {
	in := &fakeIntake{}
	w, _ := open(t, in, func(c *WebhookConfig) { c.MaxConns = 4 })
	for range 12 {
		c, err := net.Dial("tcp", w.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if resp, _ := call(t, w, "POST", "/webhooks/piclo", strings.NewReader("x")); resp.StatusCode != 202 {
		t.Errorf("status = %d", resp.StatusCode)
	}
}

// writePair makes a self-signed pair with the serial number.
func writePair(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(crand.Reader, tpl, tpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func serialOf(t *testing.T, w *Webhook, maxVersion uint16) (int64, error) {
	c, err := tls.Dial("tcp", w.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: maxVersion})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestCertificateIsTakenUpWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, 1)
	w, h := open(t, &fakeIntake{}, func(c *WebhookConfig) { c.CertFile, c.KeyFile, c.CertCheck = cert, key, time.Nanosecond })
	if n, err := serialOf(t, w, 0); err != nil || n != 1 {
		t.Fatalf("serial %d, %v", n, err)
	}
	if _, err := serialOf(t, w, tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if err := os.WriteFile(cert, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := serialOf(t, w, 0); err != nil || n != 1 || !h.has(CodeCertificate) {
		t.Errorf("with a broken file: serial %d, %v, raised %v", n, err, h.has(CodeCertificate))
	}
	writePair(t, dir, 2)
	if n, err := serialOf(t, w, 0); err != nil || n != 2 || h.has(CodeCertificate) || !h.has(CodeCertificateEnds) {
		t.Errorf("serial %d, %v, items %v", n, err, h.items)
	}
}

func TestRequestUnderWayFinishesAtTheEnd(t *testing.T) {
	in := &fakeIntake{hold: make(chan struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := NewWebhook(WebhookConfig{Listener: listener, Path: "/p", Intake: in, Health: &fakeHealth{}, Log: quiet()})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-w.Ready()
	status := make(chan int, 1)
	go func() {
		resp, err := http.Post("http://"+w.Addr().String()+"/p", "text/plain", strings.NewReader("x"))
		if err != nil {
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	in.hold <- struct{}{} // the request has arrived
	cancel()
	if s := <-status; s != 202 {
		t.Errorf("status = %d", s)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func BenchmarkWebhookAccept(b *testing.B) {
	w, _ := open(b, &fakeIntake{}, func(c *WebhookConfig) { c.PerSecond = 1 << 30 })
	body := strings.Repeat("x", 1200)
	client := &http.Client{}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		resp, err := client.Post("http://"+w.Addr().String()+"/webhooks/piclo", "application/jose", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 202 {
			b.Fatal(resp.StatusCode)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
