package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// runMarket serves a market until the test ends.
func runMarket(t *testing.T, cfg MarketConfig) *Market {
	t.Helper()
	m, err := NewMarket(cfg)
	if err != nil {
		t.Fatal(err)
	}
	keep(t, m.Run)
	return m
}

// keep runs a task until the test ends.
func keep(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func ask(t *testing.T, method, url, token string, body any) (int, []byte, http.Header) {
	t.Helper()
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.NewReader(b)
	}
	r, err := http.NewRequest(method, url, text)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, nil, nil
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, got, answer.Header
}

func login(t *testing.T, m *Market) string {
	t.Helper()
	status, body, _ := ask(t, "POST", m.URL()+"/authtoken/v1/", "", map[string]string{"client_id": m.ClientID(), "api_key": m.APIKey()})
	var got struct{ Token string }
	if err := json.Unmarshal(body, &got); status != 200 || err != nil || got.Token == "" {
		t.Fatalf("no token: %d %s", status, body)
	}
	return got.Token
}

func TestEveryAddressAnswersAsDescribed(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	o := m.Contract(time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC))
	if err := m.List(o.Dispatch("i1", "0.00300", time.Now(), time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	token := login(t, m)
	for _, row := range []struct {
		name, path, token string
		status            int
		contains          string
	}{
		{"obligations are a bare array", "/obligations/v1/", token, 200, `[{"id":"ob7Qx2M"`},
		{"filtered by competition", "/obligations/v1/?competition_id=other", token, 200, `[]`},
		{"filtered by bid", "/obligations/v1/?bid_id=b1dF00d", token, 200, `ob7Qx2M`},
		{"filtered by time: over before", "/obligations/v1/?since=2026-03-18", token, 200, `[]`},
		{"filtered by time: the last day", "/obligations/v1/?since=2026-03-17", token, 200, `ob7Qx2M`},
		{"filtered by time: begins after", "/obligations/v1/?to=2026-03-07T00:00:00Z", token, 200, `[]`},
		{"a date that is none", "/obligations/v1/?since=tomorrow", token, 400, `detail`},
		{"a competition", "/competitions/v1/c3Kd91A/", token, 200, `"service_type":"secure"`},
		{"an unknown competition", "/competitions/v1/nope/", token, 404, `detail`},
		{"an asset, capacities as text", "/assets/v1/z8mpC6x/", token, 200, `"active_export_capacity":"0.01000"`},
		{"an obligation's assets", "/assets/v1/obligations/ob7Qx2M/", token, 200, `[{"id":"z8mpC6x"`},
		{"an unknown obligation's assets", "/assets/v1/obligations/nope/", token, 404, `detail`},
		{"the public key", "/webhook/v1/public-key/", token, 200, "-----BEGIN PUBLIC KEY-----"},
		{"all instructions", "/dispatch/v1/instructions/", token, 200, `[{"id":"i1","revision":1,"type":"start"`},
		{"an unknown set", "/dispatch/v1/instructions/?set=9", token, 404, `detail`},
		{"no slash at the end", "/obligations/v1", token, 404, `slash`},
		{"no token", "/obligations/v1/", "", 401, `detail`},
		{"no token for the key", "/webhook/v1/public-key/", "", 401, `detail`},
		{"another's token", "/obligations/v1/", "e30.e30.e30", 401, `detail`},
		{"an address that is none", "/secrets/v1/", token, 404, `detail`},
		{"the token address only takes POST", "/authtoken/v1/", token, 405, `detail`},
	} {
		t.Run(row.name, func(t *testing.T) {
			status, body, _ := ask(t, "GET", m.URL()+row.path, row.token, nil)
			if status != row.status || !strings.Contains(string(body), row.contains) {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	if status, _, _ := ask(t, "DELETE", m.URL()+"/obligations/v1/", token, nil); status != 405 {
		t.Errorf("DELETE answered %d", status)
	}
	if n := m.Requests()["GET /competitions/v1/c3Kd91A/"]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestTokensEnd(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	m, err := NewMarket(MarketConfig{TokenLife: time.Minute, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	server := httptest.NewServer(m)
	defer server.Close()
	get := func(token string) int {
		status, _, _ := ask(t, "GET", server.URL+"/obligations/v1/", token, nil)
		return status
	}
	issue := func() string {
		_, body, _ := ask(t, "POST", server.URL+"/authtoken/v1/", "", map[string]string{"client_id": "demo-client", "api_key": "demo-key"})
		var got struct{ Token string }
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		return got.Token
	}
	first := issue()
	if get(first) != 200 {
		t.Error("a fresh token is refused")
	}
	now = now.Add(61 * time.Second)
	if get(first) != 401 {
		t.Error("an expired token is accepted")
	}
	second := issue()
	if err := m.RevokeTokens(); err != nil {
		t.Fatal(err)
	}
	if get(second) != 401 {
		t.Error("a revoked token is accepted")
	}
	for _, bad := range []any{map[string]string{"client_id": "demo-client", "api_key": "wrong"}, map[string]string{}} {
		if status, _, _ := ask(t, "POST", server.URL+"/authtoken/v1/", "", bad); status != 401 {
			t.Errorf("%v: %d", bad, status)
		}
	}
}

// subscriber keeps what a webhook receives.
type subscriber struct {
	*httptest.Server
	got    chan *http.Request
	bodies chan []byte
}

func subscribe(t *testing.T, m *Market, status int) *subscriber {
	s := &subscriber{got: make(chan *http.Request, 10), bodies: make(chan []byte, 10)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.got <- r
		s.bodies <- body
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	m.Subscribe(s.URL + "/webhooks/piclo")
	return s
}

func TestNotificationIsSignedAndSelectsExactlyItsInstructions(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	o := m.Contract(time.Now())
	s := subscribe(t, m, 204)
	token := login(t, m)
	if err := m.List(o.Dispatch("other", "0.001", time.Now(), time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		in := o.Dispatch("mine", "0.00300", time.Now(), time.Now().Add(time.Hour))
		if err := m.List(in); err != nil {
			t.Fatal(err)
		}
		d, err := m.Publish(t.Context(), Notice{IDs: []string{"mine"}, JSON: asJSON})
		if err != nil || d.Status != 204 {
			t.Fatal(d, err)
		}
		r, body := <-s.got, <-s.bodies
		text := string(body)
		if asJSON {
			var wrapped struct{ Payload string }
			if err := json.Unmarshal(body, &wrapped); err != nil || r.Header.Get("Content-Type") != "application/json" {
				t.Fatal(err, r.Header)
			}
			text = wrapped.Payload
		} else if r.Header.Get("Content-Type") != "application/jose" {
			t.Error(r.Header)
		}
		_, pem, _ := ask(t, "GET", m.URL()+"/webhook/v1/public-key/", token, nil)
		key, err := jwt.ParseRSAPublicKeyFromPEM(pem)
		if err != nil {
			t.Fatal(err)
		}
		claims := jwt.MapClaims{}
		if _, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return key, nil }, jwt.WithValidMethods([]string{"RS256"})); err != nil {
			t.Fatal(err)
		}
		if claims["event"] != Event || claims["instruction_count"] != 1.0 || claims["data_url"] != d.DataURL {
			t.Errorf("claims %v", claims)
		}
		_, listed, _ := ask(t, "GET", d.DataURL, token, nil)
		var got []Instruction
		if err := json.Unmarshal(listed, &got); err != nil || len(got) != 1 || got[0].ID != "mine" {
			t.Errorf("%s: %s", d.DataURL, listed)
		}
		if status, _, _ := ask(t, "GET", d.DataURL+"&since=2026-01-01", token, nil); status != 404 {
			t.Error("the address takes additional parameters")
		}
	}
}

func TestStopKeepsTheIDAndRaisesTheRevision(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	o := m.Contract(time.Now())
	subscribe(t, m, 200)
	if _, err := m.Instruct(t.Context(), o.Dispatch("i1", "0.003", time.Now(), time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	d, err := m.Stop(t.Context(), "i1")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := ask(t, "GET", d.DataURL, login(t, m), nil)
	var got []Instruction
	if err := json.Unmarshal(body, &got); err != nil || len(got) != 1 || got[0].Type != "stop" || got[0].Revision != 2 || got[0].ID != "i1" {
		t.Errorf("%s", body)
	}
	if _, err := m.Stop(t.Context(), "nope"); err == nil {
		t.Error("stopped what was never listed")
	}
}

func TestNoticesCanBeSpoilt(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	o := m.Contract(time.Now())
	s := subscribe(t, m, 200)
	if err := m.List(o.Dispatch("i1", "0.003", time.Now(), time.Now().Add(time.Hour)), o.Dispatch("i2", "0.003", time.Now(), time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	key := &m.key.PublicKey
	verify := func(text string) (jwt.MapClaims, error) {
		claims := jwt.MapClaims{}
		_, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return key, nil })
		return claims, err
	}
	many := 7
	d, err := m.Publish(t.Context(), Notice{IDs: []string{"i1"}, Count: &many, DataURL: "http://169.254.169.254/", Claims: map[string]any{"aud": "x"}})
	claims, bad := verify(d.Token)
	if err != nil || bad != nil || claims["instruction_count"] != 7.0 || claims["data_url"] != "http://169.254.169.254/" || claims["aud"] != "x" {
		t.Error(claims, err, bad)
	}
	<-s.bodies
	if d, err = m.Publish(t.Context(), Notice{IDs: []string{"i1"}, Forge: true}); err != nil {
		t.Error(err)
	}
	if _, err := verify(d.Token); err == nil {
		t.Error("a forged notice verifies")
	}
	<-s.bodies
	if _, err = m.Publish(t.Context(), Notice{IDs: []string{"i1"}, Alter: func(b []byte) []byte { return b[:10] }}); err != nil {
		t.Error(err)
	}
	if body := <-s.bodies; len(body) != 10 {
		t.Errorf("%d bytes arrived", len(body))
	}
	if d, err = m.Publish(t.Context(), Notice{IDs: []string{"i1"}, Drop: true}); err != nil || d.Status != 0 || len(s.bodies) != 0 {
		t.Error("a dropped notice arrived", d, err)
	}
	if err := m.RotateKey(); err != nil {
		t.Fatal(err)
	}
	if d, err = m.Publish(t.Context(), Notice{IDs: []string{"i1", "i2"}}); err != nil {
		t.Error(err)
	}
	if _, err := verify(d.Token); err == nil {
		t.Error("the old key still verifies after a rotation")
	}
	m.Hide(1)
	_, body, _ := ask(t, "GET", d.DataURL, login(t, m), nil)
	if !strings.Contains(string(body), `"i1"`) || strings.Contains(string(body), `"i2"`) {
		t.Errorf("hidden: %s", body)
	}
}

func TestRefusedNotificationIsToldButStaysListed(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	o := m.Contract(time.Now())
	subscribe(t, m, 503)
	d, err := m.Instruct(t.Context(), o.Dispatch("i1", "0.003", time.Now(), time.Now().Add(time.Hour)))
	if !errors.Is(err, ErrNotAccepted) || d.Status != 503 {
		t.Error(d, err)
	}
	if status, body, _ := ask(t, "GET", d.DataURL, login(t, m), nil); status != 200 || !strings.Contains(string(body), "i1") {
		t.Errorf("%d %s", status, body)
	}
}

func TestMarketFaults(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	m.Contract(time.Now())
	token := login(t, m)
	get := func(path string) (int, http.Header) {
		status, _, h := ask(t, "GET", m.URL()+path, token, nil)
		return status, h
	}
	m.SetFault("/", Fault{Status: 500})
	m.SetFault("/obligations/", Fault{Status: 429, Header: map[string]string{"Retry-After": "3"}, Times: 1})
	if status, h := get("/obligations/v1/"); status != 429 || h.Get("Retry-After") != "3" {
		t.Error(status, h)
	}
	if status, _ := get("/obligations/v1/"); status != 500 {
		t.Errorf("%d after the fault is spent", status)
	}
	m.SetFault("/", Fault{Drop: true})
	if status, _ := get("/obligations/v1/"); status != 0 {
		t.Errorf("%d while it drops", status)
	}
	m.SetFault("/", Fault{})
	if status, _ := get("/obligations/v1/"); status != 200 {
		t.Errorf("%d when healed", status)
	}
}
