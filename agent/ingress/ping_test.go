package ingress

import (
	"context"
	"flexd/agent/clock/clocktest"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAProbeProvesThatTheAddressLeadsHere(t *testing.T) {
	in := &fakeIntake{}
	w, _ := open(t, in, nil)
	other, _ := open(t, in, nil)
	at := func(w *Webhook) string { return "http://" + w.Addr().String() + "/webhooks/piclo" }
	through := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { // a proxy
		req, _ := http.NewRequestWithContext(r.Context(), r.Method, at(w), r.Body)
		req.Header = r.Header.Clone()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		defer resp.Body.Close()
		rw.Header().Set(pongHeader, resp.Header.Get(pongHeader))
		rw.WriteHeader(resp.StatusCode)
	}))
	defer through.Close()
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer stranger.Close()
	moved := httptest.NewServer(http.RedirectHandler(at(w), http.StatusFound))
	defer moved.Close()
	for _, tc := range []struct{ name, at, want string }{
		{"itself", at(w), ""},
		{"through a proxy", through.URL, ""},
		{"another flexd", at(other), "another flexd"},
		{"somebody else", stranger.URL, "somebody else"},
		{"a redirect", moved.URL, "redirected"},
		{"another path", strings.Replace(at(w), "piclo", "other", 1), "404"},
		{"nobody", "http://127.0.0.1:1/", "refused"},
		{"no address", "::", "not a web address"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := w.Probe(t.Context(), tc.at, http.DefaultClient)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	if len(in.got) != 0 {
		t.Errorf("%d pings reached intake", len(in.got))
	}
}

// failing is a transport that gets no further than an error.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

func TestAProbeSaysPlainlyWhyNobodyAnswers(t *testing.T) {
	w, _ := open(t, &fakeIntake{}, nil)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	named := secure.Client() // knows the authority, and asks for another name
	named.Transport.(*http.Transport).TLSClientConfig.ServerName = "flex.example.net"
	for _, tc := range []struct {
		name, at string
		client   *http.Client
		want     string
	}{
		{"the name is not known", "https://flex.invalid/", &http.Client{Transport: failing{&net.DNSError{Err: "no such host", Name: "flex.invalid", IsNotFound: true}}}, "flex.invalid cannot be resolved"},
		{"nobody listens", "http://127.0.0.1:1/", http.DefaultClient, "refused"},
		{"a certificate for another name", secure.URL, named, "is not for"},
		{"a certificate that nobody signed", secure.URL, &http.Client{Transport: &http.Transport{}}, "not from an authority"},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), http.DefaultClient, "TLS"},
		{"a firewall that drops", "https://flex.invalid/", &http.Client{Transport: failing{context.DeadlineExceeded}}, "in time"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := w.Probe(t.Context(), tc.at, tc.client); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// A post whose headers hold what the market signed is no ping, although its
// body is empty.
func TestAnEmptyPostWithASignedHeaderIsNoPing(t *testing.T) {
	for name, tc := range map[string]struct {
		header, value string
		ping          bool
	}{
		"a compact JWS":   {"X-Jws-Signature", "eyJhbGciOiJSUzI1NiJ9.e30.AA", false},
		"a detached JWS":  {"Signature-Of-Ours", "eyJhbGciOiJSUzI1NiJ9..AA", false},
		"a JWS in JSON":   {"X-Jws-Signature", `{"payload":"e30","signature":"AA"}`, false},
		"an access token": {"Authorization", "eyJhbGciOiJSUzI1NiJ9.e30.AA", true},
		"a bearer":        {"X-Forwarded-Authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.AA", true},
		"nothing":         {"X-Trace", "1.2.3", true},
	} {
		in := &fakeIntake{}
		w, _ := open(t, in, func(c *WebhookConfig) { c.Signed = HoldsJWS })
		req, _ := http.NewRequest(http.MethodPost, "http://"+w.Addr().String()+"/webhooks/piclo", http.NoBody)
		req.Header.Set(tc.header, tc.value)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if (resp.StatusCode == http.StatusOK) != tc.ping || (len(in.got) == 0) != tc.ping {
			t.Errorf("%s: %d, %d envelopes", name, resp.StatusCode, len(in.got))
		}
	}
}

func TestEveryPathLeadsToItsOwn(t *testing.T) {
	a, b := &fakeIntake{}, &fakeIntake{}
	w, _ := open(t, a, func(c *WebhookConfig) { c.Routes = map[string]Intake{"/b": b} })
	for path, status := range map[string]int{"/webhooks/piclo": 202, "/b": 202, "/c": 404} {
		if resp, _ := call(t, w, "POST", path, strings.NewReader("x")); resp.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, status)
		}
	}
	if len(a.got) != 1 || len(b.got) != 1 {
		t.Errorf("%d and %d envelopes", len(a.got), len(b.got))
	}
}

func TestThePollerIsQuickWhereInstructionsAreLikely(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		l := &fakeLister{}
		open := time.Now().Add(2 * time.Hour)
		shut := open.Add(time.Hour)
		p := NewPoller(PollerConfig{Intake: l, Health: &fakeHealth{}, Log: quiet(), Every: 30 * time.Minute, NearEvery: 45 * time.Second,
			Near: func(now time.Time) (bool, time.Time) {
				switch {
				case now.Before(open):
					return false, open
				case now.Before(shut):
					return true, shut
				}
				return false, time.Time{}
			}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(2*time.Hour - time.Second)
		synctest.Wait()
		if n := l.count(); n > 7 {
			t.Errorf("%d polls in two hours at rest", n)
		}
		before := l.count()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if l.count() == before {
			t.Error("a wait reached past the beginning")
		}
		before = l.count()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := l.count() - before; n < 60 || n > 110 {
			t.Errorf("%d polls in an hour near", n)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		before = l.count()
		p.Wake() // somebody has lost something
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if n := l.count() - before; n < 1+pollEager || n > 2+pollEager {
			t.Errorf("%d polls after a wake-up", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOnlyANonceIsAnswered(t *testing.T) {
	key := newPingKey()
	for _, tc := range []struct {
		name, nonce string
		answered    bool
	}{
		{"the shortest", strings.Repeat("a1", 8), true},
		{"the longest", strings.Repeat("a1", 32), true},
		{"none", "", false},
		{"too short", strings.Repeat("a1", 7), false},
		{"too long", strings.Repeat("a1", 33), false},
		{"an odd number of digits", strings.Repeat("a", 17), false},
		{"no hex", strings.Repeat("xy", 8), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := pong(key, tc.nonce)
			if (got != "") != tc.answered {
				t.Errorf("pong %q", got)
			}
			if got != "" && got == pong(newPingKey(), tc.nonce) {
				t.Error("another process gives the same answer")
			}
		})
	}
}
