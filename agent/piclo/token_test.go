package piclo

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// issuer is a market inside the fake clock: it hands out tokens and accepts
// the last one.
type issuer struct {
	mu     sync.Mutex
	life   time.Duration // 0: the token does not say
	skew   time.Duration // of the market's clock against ours
	status int           // for token requests, 0: good
	after  string        // Retry-After
	delay  time.Duration
	asked  int
	last   string
	reject bool // the API says 401 whatever the token
	gets   int
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer := func(code int, body string) (*http.Response, error) {
		h := http.Header{}
		if i.after != "" {
			h.Set("Retry-After", i.after)
		}
		return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	if r.Method == http.MethodGet {
		i.gets++
		if i.reject || r.Header.Get("Authorization") != "Bearer "+i.last {
			return answer(http.StatusUnauthorized, "")
		}
		return answer(http.StatusOK, "[]")
	}
	i.asked++
	time.Sleep(i.delay)
	if i.status != 0 {
		return answer(i.status, `{"detail":"secret"}`)
	}
	claims := fmt.Sprintf(`{"n":%d}`, i.asked)
	if now := time.Now().Add(i.skew); i.life > 0 {
		claims = fmt.Sprintf(`{"n":%d,"iat":%d,"exp":%d}`, i.asked, now.Unix(), now.Add(i.life).Unix())
	}
	i.last = "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	return answer(http.StatusOK, `{"token":"`+i.last+`"}`)
}

func openWith(t *testing.T, rt http.RoundTripper) *Market {
	t.Helper()
	m, err := Open(Config{
		BaseURL: "https://market.example", ClientID: "site", APIKey: func() (string, error) { return "secret", nil },
		HTTP: &http.Client{Transport: rt}, Wall: fixedWall{testNow, flex.ClockSynced},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// poll lists once and gives how many tokens were asked for so far.
func (i *issuer) poll(t *testing.T, m *Market) (int, error) {
	_, _, err := m.List(t.Context(), time.Time{})
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked, err
}

func TestATokenIsRenewedEarly(t *testing.T) {
	for name, c := range map[string]struct {
		life, skew, keeps, renews time.Duration
	}{
		"an hour: at 80 %":                 {time.Hour, 0, 47 * time.Minute, 49 * time.Minute},
		"three minutes: a minute before":   {3 * time.Minute, 0, 115 * time.Second, 125 * time.Second},
		"a minute: at its half":            {time.Minute, 0, 28 * time.Second, 32 * time.Second},
		"not said: as if ten minutes":      {0, 0, 7 * time.Minute, 9 * time.Minute},
		"the market's clock a day behind":  {time.Hour, -24 * time.Hour, 47 * time.Minute, 49 * time.Minute},
		"the market's clock a year ahead":  {time.Hour, 8760 * time.Hour, 47 * time.Minute, 49 * time.Minute},
		"a year: as if a day, renewed 80%": {8760 * time.Hour, 0, 19 * time.Hour, 20 * time.Hour},
	} {
		clocktest.Bubble(t, func(t *testing.T) {
			rt := &issuer{life: c.life, skew: c.skew}
			m := openWith(t, rt)
			if n, err := rt.poll(t, m); n != 1 || err != nil {
				t.Fatalf("%s: first: %d tokens, %v", name, n, err)
			}
			time.Sleep(c.keeps)
			if n, err := rt.poll(t, m); n != 1 || err != nil {
				t.Errorf("%s: after %v: %d tokens, %v", name, c.keeps, n, err)
			}
			time.Sleep(c.renews - c.keeps)
			if n, err := rt.poll(t, m); n != 2 || err != nil {
				t.Errorf("%s: after %v: %d tokens, %v", name, c.renews, n, err)
			}
		})
	}
}

func TestWhileRenewalFailsTheOldTokenServesToItsEnd(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		rt := &issuer{life: time.Hour}
		m := openWith(t, rt)
		if _, err := rt.poll(t, m); err != nil {
			t.Fatal(err)
		}
		rt.status = http.StatusBadGateway
		time.Sleep(50 * time.Minute)
		if n, err := rt.poll(t, m); err != nil || n != 2 {
			t.Fatalf("renewal due: %d, %v", n, err)
		}
		if n, err := rt.poll(t, m); err != nil || n != 2 {
			t.Fatalf("asked again at once: %d, %v", n, err)
		}
		time.Sleep(11 * time.Minute)
		var retry *flex.RetryError
		if _, err := rt.poll(t, m); !errors.As(err, &retry) {
			t.Fatalf("after its end: %v", err)
		}
	})
}

func TestManyCallersShareOneTokenRequest(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		rt := &issuer{life: time.Hour, delay: time.Second}
		m := openWith(t, rt)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := rt.poll(t, m); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if rt.asked != 1 {
			t.Errorf("%d token requests", rt.asked)
		}
	})
}

func TestA401BringsOneNewTokenAndOneRetry(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		rt := &issuer{life: time.Hour}
		m := openWith(t, rt)
		if _, err := rt.poll(t, m); err != nil {
			t.Fatal(err)
		}
		rt.last = "revoked by the market"
		if n, err := rt.poll(t, m); err != nil || n != 2 {
			t.Fatalf("revoked: %d tokens, %v", n, err)
		}
		rt.reject, rt.gets = true, 0
		var status *StatusError
		if n, err := rt.poll(t, m); !errors.As(err, &status) || status.Code != 401 || n != 3 || rt.gets != 2 {
			t.Fatalf("always 401: %d tokens, %d requests, %v", n, rt.gets, err)
		}
	})
}

func TestRefusedCredentialsAreNotHammeredAndNotShown(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		rt := &issuer{status: http.StatusUnauthorized}
		m := openWith(t, rt)
		for range 100 {
			_, err := rt.poll(t, m)
			var retry *flex.RetryError
			if !errors.As(err, &retry) || !strings.Contains(err.Error(), "market.api_key") || strings.Contains(err.Error(), "secret") {
				t.Fatalf("%v", err)
			}
			time.Sleep(time.Second)
		}
		if rt.asked != 2 {
			t.Errorf("%d requests in 100 s", rt.asked)
		}
		rt.status = 0
		time.Sleep(credentialWait)
		if _, err := rt.poll(t, m); err != nil {
			t.Errorf("after they were mended: %v", err)
		}
	})
}

func TestTheMarketsWaitIsHonoured(t *testing.T) {
	for after, want := range map[string]time.Duration{
		"7": 7 * time.Second, "": busyRetry, "soon": busyRetry, "-5": busyRetry, "0": time.Second, "86400": 5 * time.Minute, "999999": 5 * time.Minute,
	} {
		clocktest.Bubble(t, func(t *testing.T) {
			rt := &issuer{status: http.StatusTooManyRequests, after: after}
			_, err := rt.poll(t, openWith(t, rt))
			var retry *flex.RetryError
			if !errors.As(err, &retry) || retry.After != want {
				t.Errorf("Retry-After %q: %v", after, err)
			}
		})
	}
	h := http.Header{}
	h.Set("Date", "Mon, 02 Mar 2026 12:00:00 GMT")
	h.Set("Retry-After", "Mon, 02 Mar 2026 12:02:00 GMT")
	if got := retryAfter(h, time.Second); got != 2*time.Minute {
		t.Errorf("as a date: %v", got)
	}
}

func TestUnusableTokenAnswers(t *testing.T) {
	for _, body := range []string{``, `{}`, `[]`, `{"token":7}`, `{"token":""}`, `{"token":"a\r\nX: y"}`, `{"token":"` + strings.Repeat("x", maxTokenText+1) + `"}`, `<html>`} {
		m := openWith(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		}))
		if _, _, err := m.List(t.Context(), time.Time{}); err == nil {
			t.Errorf("%.20s was used", body)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
