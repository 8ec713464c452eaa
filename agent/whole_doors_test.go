package agent_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// strangeMarket is a market written for this test alone: it signs by hand and
// shares no code with flexd nor with its demonstration.
type strangeMarket struct {
	*httptest.Server
	key *rsa.PrivateKey

	mu    sync.Mutex
	down  map[string]bool // by the beginning of the path: 503
	asked map[string]int
	list  []map[string]any
	ob    []map[string]any
	asset []map[string]any
}

func newStrangeMarket(t *testing.T) *strangeMarket {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	m := &strangeMarket{key: key, down: map[string]bool{}, asked: map[string]int{}}
	m.ob = []map[string]any{{"id": "c-7", "operator": "SPEN", "asset_ids": []string{assetID}, "capacity": "0.01", "direction": "export",
		"start_date": time.Now().AddDate(0, 0, -2).Format(time.DateOnly), "end_date": time.Now().AddDate(0, 0, 3).Format(time.DateOnly),
		"service_days": []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, "bank_holidays": "include", "start_time": "00:00", "end_time": "24:00"}}
	m.asset = []map[string]any{{"id": assetID, "active_export_capacity": "0.05", "active_import_capacity": "0.05"}}
	m.Server = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(m.Close)
	return m
}

func (m *strangeMarket) set(fn func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn()
}

func (m *strangeMarket) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[r.URL.Path]++
	for prefix, down := range m.down {
		if down && strings.HasPrefix(r.URL.Path, prefix) {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
	}
	var out any
	switch p := r.URL.Path; {
	case p == "/authtoken/v1/":
		exp := fmt.Sprintf(`{"exp":%d}`, time.Now().Add(time.Hour).Unix())
		out = map[string]string{"token": "e30." + base64.RawURLEncoding.EncodeToString([]byte(exp)) + ".AA"}
	case p == "/webhook/v1/public-key/":
		der, _ := x509.MarshalPKIXPublicKey(&m.key.PublicKey)
		out = map[string]string{"public_key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
	case p == "/obligations/v1/":
		out = m.ob
	case strings.HasPrefix(p, "/assets/v1/obligations/"):
		out = m.asset
	case strings.HasPrefix(p, "/assets/v1/"):
		for _, a := range m.asset {
			if p == fmt.Sprintf("/assets/v1/%s/", a["id"]) {
				out = a
			}
		}
	case strings.HasPrefix(p, "/dispatch/v1/instructions/"):
		out = m.list
	}
	if out == nil {
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

// order lists one instruction, in two hours for a minute unless changed.
func (m *strangeMarket) order(id string, more map[string]any) {
	start := second(2 * time.Hour)
	in := map[string]any{"id": id, "type": "start", "obligation_id": "c-7", "asset_ids": []string{assetID}, "capacity": "0.003", "direction": "export",
		"start": start.Format(time.RFC3339), "end": start.Add(time.Minute).Format(time.RFC3339)}
	for k, v := range more {
		in[k] = v
	}
	m.set(func() { m.list = append(m.list, in) })
}

func (m *strangeMarket) pointer() string {
	return fmt.Sprintf(`{"event":"fp_dispatch_instruction_collection","data_url":%q,"instruction_count":1}`, m.URL+"/dispatch/v1/instructions/")
}

// sign makes the three parts of a JWS with RS256.
func (m *strangeMarket) sign(payload string) (head, body, signature string) {
	b64 := base64.RawURLEncoding.EncodeToString
	head, body = b64([]byte(`{"alg":"RS256","typ":"JWT"}`)), b64([]byte(payload))
	sum := sha256.Sum256([]byte(head + "." + body))
	sig, _ := rsa.SignPKCS1v15(nil, m.key, crypto.SHA256, sum[:])
	return head, body, b64(sig)
}

func (m *strangeMarket) compact(payload string) string {
	return strings.Join([]string{first(m.sign(payload)), second2(m.sign(payload)), third(m.sign(payload))}, ".")
}

func first(a, _, _ string) string   { return a }
func second2(_, b, _ string) string { return b }
func third(_, _, c string) string   { return c }

func post(t *testing.T, door string, header http.Header, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, door, bytes.NewReader([]byte(body)))
	must(t, err)
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// A signed notification is taken through the running door wherever a profile
// lets it stand, and an empty post remains a ping where nothing is signed.
func TestEveryPlaceOfThePayloadThroughTheDoor(t *testing.T) {
	t.Parallel()
	header := func(v string) http.Header { return http.Header{"X-Jws-Signature": {v}} }
	for name, tc := range map[string]struct {
		profile string
		send    func(m *strangeMarket) (http.Header, string)
	}{
		"the body": {"", func(m *strangeMarket) (http.Header, string) { return nil, m.compact(m.pointer()) }},
		"a field":  {"", func(m *strangeMarket) (http.Header, string) { return nil, `{"jwt":"` + m.compact(m.pointer()) + `"}` }},
		"BOM first": {"", func(m *strangeMarket) (http.Header, string) {
			return nil, "\ufeff{\"jwt\":\"" + m.compact(m.pointer()) + "\"}"
		}},
		"a header, and no body": {"notification: {location: [header]}", func(m *strangeMarket) (http.Header, string) {
			return header(m.compact(m.pointer())), ""
		}},
		"a header over the body": {"notification: {location: [header], serialization: detached}", func(m *strangeMarket) (http.Header, string) {
			h, _, s := m.sign(m.pointer())
			return header(h + ".." + s), m.pointer()
		}},
		"JSON in the body": {"notification: {location: [body], serialization: json}", func(m *strangeMarket) (http.Header, string) {
			h, p, s := m.sign(m.pointer())
			return nil, fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, p, s)
		}},
		"nothing signed": {"notification: {signature: none, count: []}", func(m *strangeMarket) (http.Header, string) { return nil, m.pointer() }},
		"nothing signed, and no place for an operator's signature": {"notification: {signature: none, count: []}\ninstruction: {signature: []}", func(m *strangeMarket) (http.Header, string) { return nil, m.pointer() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newStrangeMarket(t)
			s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{})}, noBroker: true, marketURL: m.URL, poll: "1h", profile: tc.profile})
			s.inside()
			s.await(5*time.Second, "the first list was read", func() (read bool) {
				m.set(func() { read = m.asked["/dispatch/v1/instructions/"] > 0 })
				return read
			})
			if code := post(t, s.door, nil, ""); code != http.StatusOK {
				t.Errorf("an empty post: %d", code)
			}
			m.order("i1", nil)
			h, body := tc.send(m)
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				code := post(t, s.door, h, body)
				if code == http.StatusAccepted {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("answered %d", code)
				}
			}
			s.await(5*time.Second, "scheduled", func() bool { return s.state("i1") == flex.Scheduled })
		})
	}
}

// A market that begins to point to another address of its house is not
// followed there, and a person is told what to change; nobody asks the new
// address for anything, least of all with the account's token.
func TestAMarketThatPointsToAnotherAddress(t *testing.T) {
	t.Parallel()
	m := newStrangeMarket(t)
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{})}, marketURL: m.URL, poll: "1h"})
	s.process()
	s.serving()
	m.order("i1", nil)
	far := strings.ReplaceAll(m.pointer(), m.URL, "https://api.evil.example")
	if code := post(t, s.door, nil, m.compact(far)); code != http.StatusBadRequest {
		t.Errorf("far away is answered %d", code)
	}
	if out, _ := s.command("status"); strings.Contains(out, "market.origins") {
		t.Errorf("what points far away sends a person there: %s", out)
	}
	near := strings.ReplaceAll(m.pointer(), m.URL, "https://api.piclomax.com")
	if code := post(t, s.door, nil, m.compact(near)); code != http.StatusBadRequest {
		t.Errorf("near is answered %d", code)
	}
	out, _ := s.command("status")
	for _, want := range []string{"api.piclomax.com", "market.origins"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	s.await(5*time.Second, "the fleet hears it", func() bool {
		return slices.ContainsFunc(s.ear.once("event"), func(h heard) bool { return h.Code == "market_moved" })
	})
	s.await(5*time.Second, "the list at the old address is read meanwhile", func() bool { return s.state("i1") == flex.Scheduled })
}

// A stop may come before the start that it is about, of a lower revision even.
// Both are shown, and the start is acknowledged as any that is refused.
func TestAStopBeforeItsStartIsShown(t *testing.T) {
	t.Parallel()
	m := newStrangeMarket(t)
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{})}, marketURL: m.URL, poll: "1h"})
	s.process()
	s.serving()
	m.order("i1", map[string]any{"type": "stop", "revision": 5})
	post(t, s.door, nil, m.compact(m.pointer()))
	s.await(10*time.Second, "the stop is shown", func() bool {
		out, code := s.command("show", "i1")
		return code == 4 && strings.Contains(out, "before any start of it came")
	})
	m.set(func() { m.list = nil })
	m.order("i1", map[string]any{"revision": 3})
	post(t, s.door, nil, m.compact(m.pointer()+" "))
	s.await(10*time.Second, "the start is acknowledged", func() bool { return s.ear.has("i1", "refused") })
	if reason := s.ear.reason("i1"); reason != "stopped" {
		t.Errorf("it is acknowledged with %q", reason)
	}
	text, _ := s.command("show", "i1")
	raw, _ := s.command("show", "i1", "--json")
	list, _ := s.command("instructions")
	for where, out := range map[string]string{"show": text, "--json": raw, "instructions": list} {
		if !strings.Contains(out, "refused") || !strings.Contains(out, "stopped") {
			t.Errorf("%s tells %s", where, out)
		}
	}
}
