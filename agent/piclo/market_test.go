package piclo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"flexd/agent/flex"
)

// testKeys are made once: RSA keys are slow to find.
type testKeys struct {
	market, stranger *rsa.PrivateKey
	ec               *ecdsa.PrivateKey
}

var makeKeys = sync.OnceValue(func() testKeys {
	var k testKeys
	k.market, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.stranger, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return k
})

// sign uses another library than the product.
func sign(t testing.TB, alg string, key any, payload string) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func pemOf(t testing.TB, pub any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// fixedWall is a clock that stands still.
type fixedWall struct {
	at    time.Time
	trust flex.ClockTrust
}

func (w fixedWall) Now() (time.Time, flex.ClockTrust) { return w.at, w.trust }

var testNow = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// fakeMarket answers over real TCP and counts what it is asked.
type fakeMarket struct {
	*httptest.Server
	mu      sync.Mutex
	asked   map[string]int
	queries []string
	tokens  int
	good    string // the token that is accepted
	answers map[string]func(w http.ResponseWriter, r *http.Request)
}

func newFakeMarket(t testing.TB) *fakeMarket {
	m := &fakeMarket{asked: map[string]int{}, answers: map[string]func(http.ResponseWriter, *http.Request){}}
	m.text("/webhook/v1/public-key/", `{"public_key":`+quoted(pemOf(t, &makeKeys().market.PublicKey))+`}`)
	m.Server = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(m.Close)
	return m
}

func quoted(s string) string { raw, _ := json.Marshal(s); return string(raw) }

func (m *fakeMarket) text(path, body string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[path] = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func (m *fakeMarket) on(path string, h func(http.ResponseWriter, *http.Request)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[path] = h
}

func (m *fakeMarket) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.asked[r.URL.Path]++
	m.queries = append(m.queries, r.URL.RawQuery)
	answer := m.answers[r.URL.Path]
	good := m.good
	m.mu.Unlock()
	if r.URL.Path == "/authtoken/v1/" {
		m.issue(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+good || good == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if answer == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	answer(w, r)
}

func (m *fakeMarket) issue(w http.ResponseWriter, r *http.Request) {
	var in struct {
		ClientID string `json:"client_id"`
		APIKey   string `json:"api_key"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || in.ClientID != "site" || in.APIKey != "secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	m.mu.Lock()
	m.tokens++
	m.good = fmt.Sprintf("token-%d", m.tokens)
	good := m.good
	m.mu.Unlock()
	fmt.Fprintf(w, `{"token":%q}`, good)
}

func (m *fakeMarket) count(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[path]
}

func open(t testing.TB, base string) *Market {
	t.Helper()
	m, err := Open(Config{
		BaseURL: base, ClientID: "site", APIKey: func() (string, error) { return "secret\n", nil },
		Wall: fixedWall{testNow, flex.ClockSynced},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFetchFollowsPagesAndKeepsTheRawReply(t *testing.T) {
	srv := newFakeMarket(t)
	srv.on("/dispatch/v1/instructions/", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("page") {
		case "":
			fmt.Fprint(w, `{"results":[{"id":"a","capacity":"0.05","start":"2026-03-02T16:00:00Z"}],"next":"?page=2"}`)
		case "2":
			fmt.Fprintf(w, `{"results":[{"id":"b"},{"noid":1},7],"next":"%s/dispatch/v1/instructions/?page=3"}`, srv.URL)
		default:
			fmt.Fprint(w, `{"results":[],"next":null}`)
		}
	})
	m := open(t, srv.URL)
	got, raw, err := m.Fetch(t.Context(), srv.URL+"/dispatch/v1/instructions/?set=1")
	if err != nil || len(got) != 2 || got[0].ID != "a" || got[1].ID != "b" || got[0].Capacity != 50_000 {
		t.Fatalf("%+v, %v", got, err)
	}
	if !json.Valid(raw) || !strings.Contains(string(raw), `"noid"`) {
		t.Errorf("raw reply: %s", raw)
	}
}

func TestForeignAndEndlessPagesAreNotFollowed(t *testing.T) {
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the foreign server was asked") }))
	defer evil.Close()
	for name, next := range map[string]string{
		"foreign origin": evil.URL + "/dispatch/v1/instructions/",
		"other path":     "/authtoken/v1/",
		"itself":         "",
		"not text":       "7",
	} {
		srv := newFakeMarket(t)
		srv.on("/dispatch/v1/instructions/", func(w http.ResponseWriter, r *http.Request) {
			link := quoted(next)
			if name == "itself" {
				link = quoted("http://" + r.Host + r.URL.String())
			} else if name == "not text" {
				link = next
			}
			fmt.Fprintf(w, `{"results":[{"id":"a"}],"next":%s}`, link)
		})
		got, _, err := open(t, srv.URL).List(t.Context(), testNow)
		if err == nil || len(got) != 1 {
			t.Errorf("%s: %d instructions, error %v", name, len(got), err)
		}
	}
}

func TestRepliesThatAreRefused(t *testing.T) {
	for name, h := range map[string]func(http.ResponseWriter, *http.Request){
		"not JSON":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"no list":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"detail":"x"}`) },
		"only junk": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[1,null,"x",{}]`) },
		"endless":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxReply+10)) },
		"too many elements": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "["+strings.Repeat(`{"id":"a"},`, maxElements)+`{"id":"b"}]`)
		},
		"redirect away": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.2:9/", http.StatusFound)
		},
	} {
		srv := newFakeMarket(t)
		srv.on("/dispatch/v1/instructions/", h)
		if got, _, err := open(t, srv.URL).List(t.Context(), testNow); err == nil || len(got) != 0 {
			t.Errorf("%s: %d instructions, error %v", name, len(got), err)
		}
	}
}

func TestObligationsAssetsAndCompetitionsAreFetchedByTheirPaths(t *testing.T) {
	srv := newFakeMarket(t)
	srv.text("/obligations/v1/", `[`+goodObligation+`,{"id":"bad"}]`)
	srv.text("/assets/v1/z8mpC6x/", `{"id":"z8mpC6x","active_export_capacity":"0.05"}`)
	srv.text("/assets/v1/obligations/ob1/", `[{"id":"z8mpC6x","max_import_capacity":"0.02"}]`)
	srv.text("/competitions/v1/c1/", `{"id":"c1","name":"n","operator":"SPEN","direction":"export"}`)
	m := open(t, srv.URL)
	obs, err := m.Obligations(t.Context(), testNow, testNow.AddDate(0, 0, 7))
	if len(obs) != 1 || err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("obligations: %+v, %v", obs, err)
	}
	if q := srv.queries[len(srv.queries)-1]; q != "since=2026-03-02&to=2026-03-09" {
		t.Errorf("query %q", q)
	}
	if a, err := m.Asset(t.Context(), "z8mpC6x"); err != nil || a.Export != 50_000 {
		t.Errorf("asset: %+v, %v", a, err)
	}
	if as, err := m.ObligationAssets(t.Context(), "ob1"); err != nil || len(as) != 1 || as[0].Import != 20_000 || as[0].Obligations[0] != "ob1" {
		t.Errorf("obligated assets: %+v, %v", as, err)
	}
	if c, err := m.Competition(t.Context(), "c1"); err != nil || c.Direction != flex.Export || c.Operator != "SPEN" {
		t.Errorf("competition: %+v, %v", c, err)
	}
	for _, id := range []flex.AssetID{"", "..", "a/b", `a\b`, "a%2fb", "a;b", "a\x00"} {
		if _, err := m.Asset(t.Context(), id); err == nil {
			t.Errorf("asset %q was asked for", id)
		}
	}
	if _, err := m.Asset(t.Context(), "unknown"); err == nil {
		t.Error("an unknown asset was found")
	}
}

func TestBaseURLsAreCheckedBeforeAnythingIsSent(t *testing.T) {
	for base, ok := range map[string]bool{
		"https://api.picloflex.com": true, "https://api.picloflex.com/": true, "https://x.example/sandbox/": true,
		"http://127.0.0.1:8000": true, "http://localhost:1": true, "http://[::1]:1": true,
		"http://api.picloflex.com": false, "http://127.0.0.1.evil.example": false, "ftp://x": false, "api.picloflex.com": false,
		"https://user:pw@x.example": false, "https://x.example/?a=b": false, "https://x.example/#f": false, "": false,
		"https://x.example/a/../b": false, "https://x.example/%2e": false,
	} {
		if _, err := parseOrigin("market.base_url", base, false); (err == nil) != ok {
			t.Errorf("%q: %v", base, err)
		}
	}
	if _, err := parseOrigin("market.base_url", "http://10.0.0.5", true); err != nil {
		t.Errorf("insecure: %v", err)
	}
}
