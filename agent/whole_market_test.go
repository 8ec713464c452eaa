package agent_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"flexd/drivers/sim"
)

// otherMarket is a marketplace written apart from the simulated one, with
// another JOSE library.
type otherMarket struct {
	t      *testing.T
	alg    jose.SignatureAlgorithm
	server *httptest.Server

	mu           sync.Mutex
	private      crypto.Signer
	keyID        string
	keys         func() []byte // the public key as it is served
	shape        string
	instructions []map[string]any
}

func newOtherMarket(t *testing.T, alg jose.SignatureAlgorithm, shape string) *otherMarket {
	m := &otherMarket{t: t, alg: alg, shape: shape}
	m.rotate("first")
	mux := http.NewServeMux()
	text := func(pattern string, body func() []byte) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+m.bearer() {
				http.Error(w, "who are you", http.StatusUnauthorized)
				return
			}
			_, _ = w.Write(body())
		})
	}
	mux.HandleFunc("POST /authtoken/v1/{$}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		if !bytes.Contains(body, []byte(`"demo-key"`)) {
			http.Error(w, "who are you", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"token": %q}`, m.bearer())
	})
	today := time.Now()
	obligations := fmt.Sprintf(`[{"id":"ob-7","competition_id":"c-7","bid_id":"b-7","operator":"NGED","asset_ids":[%q],"capacity":"0.00800","direction":"export",
		"start_date":%q,"end_date":%q,"service_days":["mon","tue","wed","thu","fri","sat","sun"],"bank_holidays":"include","start_time":"00:00","end_time":"00:00","max_runtime":"02:00:00","surprise":{"a":[1]}}]`,
		assetID, today.AddDate(0, 0, -2).Format(time.DateOnly), today.AddDate(0, 0, 2).Format(time.DateOnly))
	asset := fmt.Sprintf(`{"id":%q,"name":"a","status":"operational","active_export_capacity":"0.01","active_import_capacity":"0.01"}`, assetID)
	text("GET /obligations/v1/{$}", func() []byte { return []byte(obligations) })
	text("GET /assets/v1/obligations/ob-7/{$}", func() []byte { return []byte("[" + asset + "]") })
	text("GET /assets/v1/"+assetID+"/{$}", func() []byte { return []byte(asset) })
	text("GET /competitions/v1/c-7/{$}", func() []byte { return []byte(`{"id":"c-7","name":"c","operator":"NGED","direction":"export"}`) })
	text("GET /webhook/v1/public-key/{$}", func() []byte { m.mu.Lock(); defer m.mu.Unlock(); return m.keys() })
	text("GET /dispatch/v1/instructions/{$}", func() []byte {
		m.mu.Lock()
		defer m.mu.Unlock()
		out, _ := json.Marshal(m.instructions)
		return out
	})
	m.server = httptest.NewServer(mux)
	t.Cleanup(m.server.Close)
	return m
}

// bearer is a token with a time to live, signed with nothing that flexd knows.
func (m *otherMarket) bearer() string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"HS256","typ":"JWT"}`) + "." + part(`{"exp":4102444800}`) + "." + part("x")
}

// rotate makes a new key.
func (m *otherMarket) rotate(id string) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	switch m.alg {
	case jose.ES256:
		m.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, m.private, err = ed25519.GenerateKey(rand.Reader)
	default:
		m.private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	must(m.t, err)
	m.keyID = id
	key := jose.JSONWebKey{Key: m.private.Public(), KeyID: id, Algorithm: string(m.alg), Use: "sig"}
	m.keys = func() (out []byte) {
		switch m.shape {
		case "JWKS":
			out, _ = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
		case "JWK":
			out, _ = json.Marshal(key)
		default:
			der, _ := x509.MarshalPKIXPublicKey(m.private.Public())
			out = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
		return out
	}
}

// notify lists one instruction and posts a signed notification to a door.
func (m *otherMarket) notify(door string, in map[string]any) int {
	m.t.Helper()
	m.mu.Lock()
	m.instructions = []map[string]any{in}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: m.alg, Key: jose.JSONWebKey{Key: m.private, KeyID: m.keyID}}, nil)
	m.mu.Unlock()
	must(m.t, err)
	claims, _ := json.Marshal(map[string]any{"event": "fp_dispatch_instruction_collection", "data_url": m.server.URL + "/dispatch/v1/instructions/?set=" + fmt.Sprint(in["id"]),
		"instruction_count": 1, "iat": time.Now().Unix(), "extra": true})
	signed, err := signer.Sign(claims)
	must(m.t, err)
	body, err := signed.CompactSerialize()
	must(m.t, err)
	resp, err := http.Post(door, "application/jwt", bytes.NewReader([]byte(body)))
	must(m.t, err)
	defer resp.Body.Close()
	return resp.StatusCode
}

// A market that nobody here wrote, whatever it signs with and however it
// shows its key; and the key may change without a word.
func TestAnotherMarketIsUnderstood(t *testing.T) {
	for _, c := range []struct {
		alg   jose.SignatureAlgorithm
		shape string
	}{{jose.ES256, "JWKS"}, {jose.PS256, "JWK"}, {jose.EdDSA, "PEM"}, {jose.RS512, "PEM"}} {
		t.Run(string(c.alg)+" "+c.shape, func(t *testing.T) {
			t.Parallel()
			m := newOtherMarket(t, c.alg, c.shape)
			s := newSite(t, siteOptions{marketURL: m.server.URL, batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}})
			s.inside()
			bat := s.devices[0]
			m.rotate("second")
			start := second(time.Second)
			end := start.Add(2 * time.Second)
			code := m.notify(s.door, map[string]any{"id": "x1", "obligation_id": "ob-7", "asset_ids": []string{assetID}, "capacity": "0.00444",
				"start": start.Format(time.RFC3339), "end": end.Format("2006-01-02T15:04:05.000+00:00"), "operator": "NGED", "unknown": []int{1, 2}})
			if code/100 != 2 {
				t.Fatalf("a good notification under a new key is answered %d", code)
			}
			s.await(6*time.Second, "watts", func() bool { return math.Abs(bat.Power()-4440) <= 1 })
			s.over(bat, 5*time.Second, "x1", "completed")
			s.wantLadder("x1", "admitted", "scheduled", "active", "completed")
		})
	}
}
