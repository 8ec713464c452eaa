package ingress

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func first(remote string, _ bool) string { return remote }

func TestTheSourceIsWhatATrustedProxySays(t *testing.T) {
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
	for _, tc := range []struct{ name, peer, header, value, want string }{
		{"no proxy, the peer counts", "192.0.2.7:1000", "X-Forwarded-For", "1.2.3.4", "192.0.2.7"},
		{"a proxy of ours", "10.0.0.1:1000", "X-Forwarded-For", "1.2.3.4", "1.2.3.4"},
		{"the nearest that is not ours", "10.0.0.1:1000", "X-Forwarded-For", "6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"},
		{"what a stranger put in front counts for nothing", "10.0.0.1:1000", "X-Forwarded-For", "10.1.1.1, 1.2.3.4", "1.2.3.4"},
		{"only proxies", "10.0.0.1:1000", "X-Forwarded-For", "10.1.1.1", "10.0.0.1"},
		{"nothing said", "10.0.0.1:1000", "X-Other", "1.2.3.4", "10.0.0.1"},
		{"nonsense", "10.0.0.1:1000", "X-Forwarded-For", "a; drop table, 💥", "10.0.0.1"},
		{"nonsense nearer than an address", "10.0.0.1:1000", "X-Forwarded-For", "1.2.3.4, unknown", "10.0.0.1"},
		{"with a port", "10.0.0.1:1000", "X-Forwarded-For", "1.2.3.4:4711", "1.2.3.4"},
		{"RFC 7239", "10.0.0.1:1000", "Forwarded", `for=6.6.6.6, for="[2001:db8:cafe::17]:4711";proto=https;by=10.0.0.1`, "2001:db8:cafe::17"},
		{"RFC 7239, hidden", "10.0.0.1:1000", "Forwarded", "for=_hidden", "10.0.0.1"},
		{"an IPv6 proxy", "[2001:db8:1::1]:1000", "X-Forwarded-For", "2001:db8:2::9", "2001:db8:2::9"},
		{"a mapped address", "[::ffff:10.0.0.1]:1000", "X-Forwarded-For", "::ffff:1.2.3.4", "1.2.3.4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: tc.peer, Header: http.Header{}}
			r.Header.Set(tc.header, tc.value)
			if _, got := sourceOf(first(trusted.source(r))); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestTwoHeadersThatDisagreeAreNotBelieved(t *testing.T) {
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tc := range []struct{ name, forwarded, xff, want string }{
		{"both say the same", "for=1.2.3.4", "1.2.3.4", "1.2.3.4"},
		{"the sender wrote one in another's name", "for=203.0.113.9", "1.2.3.4", "10.0.0.1"},
		{"the sender wrote nonsense", "for=_x", "1.2.3.4", "10.0.0.1"},
		{"the sender wrote a proxy", "for=10.2.2.2", "1.2.3.4", "10.0.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: "10.0.0.1:1000", Header: http.Header{"Forwarded": {tc.forwarded}, "X-Forwarded-For": {tc.xff}}}
			if _, got := sourceOf(first(trusted.source(r))); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// A proxy's failing senders are held back one by one.
func TestFailuresCountAgainstWhomTheProxyNames(t *testing.T) {
	in := &fakeIntake{}
	in.answer(flex.Refuse(flex.ReasonSignatureInvalid, "no"))
	w, _ := open(t, in, func(c *WebhookConfig) {
		c.FailPerSecond, c.TrustedProxies = 2, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	post := func(from string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.Addr().String()+"/webhooks/piclo", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", from)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	held := 0
	for range 20 {
		if post("203.0.113.9") == http.StatusTooManyRequests {
			held++
		}
	}
	if held < 10 {
		t.Errorf("%d of 20 were held back", held)
	}
	if got := post("198.51.100.1"); got != http.StatusUnauthorized {
		t.Errorf("another sender behind the same proxy gets %d", got)
	}
}

// Behind a proxy that nobody named all senders have one address: what strangers
// send must not shut the market out.
func TestAFloodThroughAnUnnamedProxyDoesNotShutTheDoor(t *testing.T) {
	in := &fakeIntake{}
	in.answer(flex.Refuse(flex.ReasonSignatureInvalid, "no"))
	w, _ := open(t, in, func(c *WebhookConfig) { c.FailPerSecond = 2 })
	for range 30 {
		if resp, _ := call(t, w, "POST", "/webhooks/piclo", strings.NewReader("x")); resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a forgery gets %d", resp.StatusCode)
		}
	}
	in.answer(nil)
	if resp, _ := call(t, w, "POST", "/webhooks/piclo", strings.NewReader("x")); resp.StatusCode != http.StatusAccepted {
		t.Errorf("the market gets %d", resp.StatusCode)
	}
	if !in.got[0].Shared {
		t.Error("the rooms behind the door are not told that the address stands for many")
	}
}

// What cannot be judged, since the keys were asked for a moment ago, counts as
// well: a flood must not go on for free.
func TestAFloodThatCannotBeJudgedIsHeldBack(t *testing.T) {
	in := &fakeIntake{}
	in.answer(&flex.RetryError{After: time.Second, Err: flex.Refuse(flex.ReasonNoKey, "no")})
	w, _ := open(t, in, func(c *WebhookConfig) {
		c.FailPerSecond, c.TrustedProxies = 2, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	post := func(from string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.Addr().String()+"/webhooks/piclo", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", from)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	held := 0
	for range 20 {
		if post("203.0.113.9") == http.StatusTooManyRequests {
			held++
		}
	}
	in.answer(nil)
	if got := post("198.51.100.1"); held < 10 || got != http.StatusAccepted {
		t.Errorf("%d of 20 were held back, and another sender gets %d", held, got)
	}
}

func TestWhichAddressesMayStandForMany(t *testing.T) {
	named := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	for _, tc := range []struct {
		peer string
		tls  bool
		want bool
	}{
		{"127.0.0.1:9", true, true},
		{"[::1]:9", true, true},
		{"10.1.2.3:9", true, true},
		{"[::ffff:192.168.0.9]:9", true, true},
		{"100.64.0.1:9", true, true},
		{"[fd00::1]:9", true, true},
		{"203.0.113.5:9", true, true}, // a proxy of ours that named nobody
		{"198.51.100.1:9", true, false},
		{"198.51.100.1:9", false, true}, // without TLS of our own there is a proxy
		{"@", false, true},
	} {
		if got := sharedBy(named, tc.tls)(tc.peer); got != tc.want {
			t.Errorf("%s with TLS %v: shared %v", tc.peer, tc.tls, got)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("1.2.3.4, 10.0.0.1", "for=1.2.3.4;by=x")
	f.Add("[::1]:99,,", `for="[::1]`)
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, xff, fwd string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {xff}}}
		if fwd != "" {
			r.Header["Forwarded"] = []string{fwd}
		}
		if _, got := sourceOf(first(trusted.source(r))); got == "" {
			t.Error("no source at all")
		}
	})
}
