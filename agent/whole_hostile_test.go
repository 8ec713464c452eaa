package agent_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/drivers/sim"
)

// attack is one hostile delivery; it returns the door's answer.
type attack struct {
	name string
	send func() int
}

// hostile sends attacks to a running flexd.
type hostile struct {
	*site
	good   string // a token that was accepted, of an instruction that is over
	public []byte // the market's public key as it is served
	canary *httptest.Server
	heard  atomic.Int64 // requests to the canary
}

// evil is a correct instruction that only a hostile notification points to:
// whoever follows one shows it in watts.
const evil = "evil"

func TestHostileDeliveriesChangeNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}})
	h := &hostile{site: s}
	h.canary = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.heard.Add(1)
		_, _ = io.WriteString(w, "[]")
	}))
	defer h.canary.Close()
	s.process()
	s.serving()
	h.prepare()
	attacks := slices.Concat(h.forged(), h.misshapen(), h.signed(), h.further())
	codes := map[int]int{}
	for _, a := range attacks {
		code := looked(a.send)
		codes[code]++
		if !refusing(code) && !(code == http.StatusOK && ping(a.name)) {
			t.Errorf("%s is answered %d", a.name, code)
		}
	}
	t.Logf("%d hostile deliveries, answers %v", len(attacks), codes)
	kinds := map[string]bool{}
	for _, a := range attacks {
		kinds[a.name] = true
	}
	if len(kinds) < leastAttacks {
		t.Errorf("only %d kinds of attacks", len(kinds))
	}
	t.Logf("%d kinds", len(kinds))
	n := h.impossible()
	t.Logf("%d impossible instructions", n)
	h.redirected()
	h.unharmed()
}

// refusing tells whether an answer refuses for good or for now. 503: the key
// in hand does not fit and a newer one may not be asked for yet; 501 and 505
// are the library's words for HTTP that it does not speak.
func refusing(code int) bool {
	switch code {
	case http.StatusServiceUnavailable, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return true
	}
	return code/100 == 4 && code != http.StatusTooManyRequests
}

// ping tells whether a delivery carries nothing and may be answered like a
// question whether the door is there.
func ping(name string) bool { return name == "GET" || name == `body ""` }

// looked sends again what was only counted: each one is to be looked at.
func looked(send func() int) int {
	code := send()
	for end := time.Now().Add(5 * time.Second); code == http.StatusTooManyRequests && time.Now().Before(end); code = send() {
		time.Sleep(100 * time.Millisecond)
	}
	return code
}

// prepare gets what an attacker could know.
func (h *hostile) prepare() {
	h.t.Helper()
	over := ask("over", "0.00400", "export", time.Now().Add(-time.Minute), time.Now().Add(-30*time.Second))
	d := h.instruct(over)
	h.good = d.Token
	must(h.t, h.market.List(ask(evil, "0.00400", "export", second(0), second(10*time.Minute))))
	var token struct {
		Token string `json:"token"`
	}
	body, _ := json.Marshal(map[string]string{"client_id": h.market.ClientID(), "api_key": h.market.APIKey()})
	resp, err := http.Post(h.market.URL()+"/authtoken/v1/", "application/json", bytes.NewReader(body))
	must(h.t, err)
	defer resp.Body.Close()
	must(h.t, json.NewDecoder(resp.Body).Decode(&token))
	req, err := http.NewRequest(http.MethodGet, h.market.URL()+"/webhook/v1/public-key/", nil)
	must(h.t, err)
	req.Header.Set("Authorization", "Bearer "+token.Token)
	key, err := http.DefaultClient.Do(req)
	must(h.t, err)
	defer key.Body.Close()
	h.public, err = io.ReadAll(key.Body)
	must(h.t, err)
	if !bytes.Contains(h.public, []byte("PUBLIC KEY")) {
		h.t.Fatalf("the key is served as %s", h.public)
	}
}

// post sends any bytes with any method.
func (h *hostile) post(method, url, kind string, body []byte) int {
	req, err := http.NewRequestWithContext(h.t.Context(), method, url, bytes.NewReader(body))
	must(h.t, err)
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return http.StatusBadRequest // the door hung up on it
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func (h *hostile) token(text string) func() int {
	return func() int { return h.post(http.MethodPost, h.door, "application/jose", []byte(text)) }
}

func b64(v any) string {
	raw, ok := v.([]byte)
	if !ok {
		raw, _ = json.Marshal(v)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// claims point to the evil instruction.
func (h *hostile) claims() map[string]any {
	return map[string]any{"event": demo.Event, "data_url": h.market.URL() + "/dispatch/v1/instructions/", "instruction_count": 1, "iat": time.Now().Unix()}
}

// forged are tokens that the market has not signed.
func (h *hostile) forged() []attack {
	parts := strings.Split(h.good, ".")
	head, body, sig := parts[0], parts[1], parts[2]
	mac := func(header map[string]any, key []byte) string {
		text := b64(header) + "." + b64(h.claims())
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return text + "." + b64(m.Sum(nil))
	}
	wrap := struct {
		Key string `json:"public_key"`
	}{}
	_ = json.Unmarshal(h.public, &wrap)
	out := []attack{
		{"a key nobody published", h.publish(demo.Notice{IDs: []string{evil}, Forge: true})},
		{"the same as JSON", h.publish(demo.Notice{IDs: []string{evil}, Forge: true, JSON: true})},
		{"another payload under a good signature", h.token(head + "." + b64(h.claims()) + "." + sig)},
		{"another header under a good signature", h.token(b64(map[string]any{"alg": "RS256", "kid": "x"}) + "." + body + "." + sig)},
		{"a signature cut short", h.token(head + "." + body + "." + sig[:len(sig)-8])},
		{"a signature made longer", h.token(h.good + "AAAA")},
		{"no signature", h.token(head + "." + body + ".")},
		{"a signature of zeroes", h.token(head + "." + body + "." + b64(make([]byte, 256)))},
		{"the public key's PEM as an HMAC key", h.token(mac(map[string]any{"alg": "HS256"}, []byte(wrap.Key)))},
		{"the key's answer as an HMAC key", h.token(mac(map[string]any{"alg": "HS256"}, h.public))},
		{"an empty HMAC key", h.token(mac(map[string]any{"alg": "HS256"}, nil))},
		{"a key of its own in the header", h.token(mac(map[string]any{"alg": "HS256", "jwk": map[string]any{"kty": "oct", "k": ""}}, nil))},
		{"a key at a URL", h.token(mac(map[string]any{"alg": "RS256", "jku": h.canary.URL + "/keys"}, nil))},
		{"a certificate at a URL", h.token(mac(map[string]any{"alg": "RS256", "x5u": h.canary.URL + "/cert"}, nil))},
		{"a key id that is a path", h.token(mac(map[string]any{"alg": "RS256", "kid": "../../../../etc/passwd"}, nil))},
		{"a critical header", h.token(mac(map[string]any{"alg": "RS256", "crit": []string{"b64"}, "b64": false}, nil))},
	}
	for _, alg := range []any{"none", "None", "nOnE", "", nil, 7, "RS1", "ES256K", "PS256", "EdDSA"} {
		out = append(out, attack{fmt.Sprintf("algorithm %v", alg), h.token(b64(map[string]any{"alg": alg}) + "." + b64(h.claims()) + ".")})
	}
	for i, at := range []int{len(head) / 2, len(head) + 20, len(h.good) - 20} {
		flipped := []byte(h.good)
		flipped[at] ^= 1
		out = append(out, attack{fmt.Sprintf("bit flipped in part %d", i), h.token(string(flipped))})
	}
	return out
}

// misshapen are bodies that are no notification at all.
func (h *hostile) misshapen() []attack {
	out := []attack{
		{"GET", func() int { return h.post(http.MethodGet, h.door, "", nil) }},
		{"PUT", func() int { return h.post(http.MethodPut, h.door, "application/jose", []byte(h.good)) }},
		{"another path", func() int { return h.post(http.MethodPost, h.door+"/../admin", "application/jose", []byte(h.good)) }},
		{"one byte too many", h.token(strings.Repeat("A", 1<<20+1))},
		{"4 MiB", h.token(strings.Repeat("A", 4<<20))},
		{"a claim of 900 kB", h.token(strings.Repeat("e30", 100_000) + "." + strings.Repeat("A", 500_000) + "." + "AAAA")},
		{"deep JSON", h.json(strings.Repeat("[", 200_000))},
	}
	for _, text := range []string{"", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "\x00\xff\xfe", "<xml/>", h.good + "." + h.good, h.good[:len(h.good)/2]} {
		out = append(out, attack{fmt.Sprintf("body %.12q", text), h.token(text)})
	}
	for _, text := range []string{"null", "5", "[]", "{}", `{"payload":null}`, `{"payload":5}`, `{"payload":["x"]}`, `{"payload":{"a":1}}`, `{"payload":""}`, `{"payload":"x"`, `"` + h.good[:20] + `"`} {
		out = append(out, attack{fmt.Sprintf("JSON %.20q", text), h.json(text)})
	}
	return out
}

func (h *hostile) json(text string) func() int {
	return func() int { return h.post(http.MethodPost, h.door, "application/json", []byte(text)) }
}

func (h *hostile) publish(n demo.Notice) func() int {
	return func() int {
		d, err := h.market.Publish(h.t.Context(), n)
		if err != nil && d.Status == 0 {
			h.t.Errorf("cannot send: %v", err)
		}
		return d.Status
	}
}

// signed are notifications with the market's own signature that no honest
// market sends.
func (h *hostile) signed() []attack {
	var out []attack
	base := h.market.URL()
	host := strings.TrimPrefix(base, "http://")
	away := strings.TrimPrefix(h.canary.URL, "http://")
	for _, url := range []string{
		h.canary.URL + "/dispatch/v1/instructions/?set=1", "https://" + host + "/dispatch/v1/instructions/", "http://" + host + "@" + away + "/dispatch/v1/instructions/",
		"http://user:pass@" + host + "/dispatch/v1/instructions/", base + "/dispatch/v1/instructions/../../../assets/v1/x/", base + "/dispatch/v1/instructions/%2e%2e/%2e%2e/",
		base + "/dispatch/v1/instructions/..%2f..%2f", base + `/dispatch/v1/instructions/..\..\`, base + "/obligations/v1/", "//" + away + "/dispatch/v1/instructions/",
		"/dispatch/v1/instructions/", "file:///etc/passwd", "javascript:alert(1)", "http://" + away + "#" + base + "/dispatch/v1/instructions/",
		"http://" + away + `\@` + host + "/dispatch/v1/instructions/", "http://[::ffff:127.0.0.1]" + host[strings.Index(host, ":"):] + "/dispatch/v1/instructions/",
		"http://127.0.0.1:1/dispatch/v1/instructions/", base + "/dispatch/v1/instructions/\r\nX: y", base + "/dispatch/v1/instructionsX/", strings.Repeat("a", 100_000),
	} {
		out = append(out, attack{fmt.Sprintf("data_url %.60q", url), h.publish(demo.Notice{IDs: []string{evil}, DataURL: url})})
	}
	hour := time.Now().Add(time.Hour).Unix()
	for _, c := range []map[string]any{
		{"event": "other"}, {"event": 5}, {"event": nil}, {"event": []string{demo.Event}}, {"data_url": nil}, {"data_url": 5}, {"data_url": []string{"x"}}, {"data_url": map[string]any{}},
		{"instruction_count": "many"}, {"instruction_count": -1}, {"instruction_count": 1.5}, {"instruction_count": 1e12}, {"instruction_count": []int{1}},
		{"iat": hour}, {"iat": "soon"}, {"exp": 1}, {"exp": "later"}, {"nbf": hour},
	} {
		text, _ := json.Marshal(c)
		out = append(out, attack{"claim " + string(text), h.publish(demo.Notice{IDs: []string{evil}, Claims: c})})
	}
	return out
}

// impossible lists instructions that nobody can carry out and points to them
// with good notifications, which are accepted.
func (h *hostile) impossible() int {
	h.t.Helper()
	good, err := json.Marshal(ask("x", "0.00400", "export", second(0), second(10*time.Minute)))
	must(h.t, err)
	n := 0
	for _, change := range []string{
		`{"capacity":"abc"}`, `{"capacity":-0.004}`, `{"capacity":"-0.004"}`, `{"capacity":"NaN"}`, `{"capacity":"1e3"}`, `{"capacity":null}`, `{"capacity":"0.5"}`, `{"capacity":["0.004"]}`,
		`{"capacity":"99999999999999999999"}`, `{"direction":"sideways"}`, `{"direction":5}`, `{"direction":"import"}`, `{"asset_ids":[]}`, `{"asset_ids":["nobody"]}`, `{"asset_ids":[5]}`, `{"asset_ids":{"a":"z8mpC6x"}}`,
		`{"obligation_id":"nobody"}`, `{"obligation_id":7}`, `{"type":"explode"}`, `{"type":9}`, `{"start":"tomorrow"}`, `{"start":null}`, `{"start":17}`, `{"start":"2999-01-01T00:00:00Z","end":"2999-01-02T00:00:00Z"}`,
		`{"end":"1999-01-01T00:00:00Z"}`, `{"end":5}`, `{"revision":"one"}`, `{"revision":-3}`, `{"revision":1e30}`, `{"id":""}`, `{"id":null}`, `{"id":["a"]}`,
	} {
		n++
		var in, with map[string]any
		parse(h.t, string(good), &in)
		in["id"] = fmt.Sprintf("bad-%d", n)
		parse(h.t, change, &with)
		for k, v := range with {
			in[k] = v
		}
		raw, err := json.Marshal(in)
		must(h.t, err)
		id := fmt.Sprintf("bad-%d", n)
		h.market.ListRaw(id, raw)
		if code := looked(h.publish(demo.Notice{IDs: []string{id}})); code/100 != 2 {
			h.t.Errorf("a good notification of %s is answered %d", change, code)
		}
	}
	for _, raw := range []string{"5", "null", `"x"`, "[]", "{}"} {
		n++
		id := fmt.Sprintf("bad-%d", n)
		h.market.ListRaw(id, json.RawMessage(raw))
		looked(h.publish(demo.Notice{IDs: []string{id}}))
	}
	return n
}

// redirected lets the market's own address lead elsewhere.
func (h *hostile) redirected() {
	h.market.SetFault("/dispatch/v1/instructions/", demo.Fault{Status: http.StatusFound, Header: map[string]string{"Location": h.canary.URL + "/dispatch/v1/instructions/"}})
	asked := func() int { return h.market.Requests()["GET /dispatch/v1/instructions/"] }
	before := asked()
	looked(h.publish(demo.Notice{IDs: []string{evil}}))
	h.await(10*time.Second, "the redirected address is asked", func() bool { return asked() > before })
}

// unharmed checks that nothing has happened, and that the door still serves.
func (h *hostile) unharmed() {
	h.t.Helper()
	bat := h.devices[0]
	quiet(h.t, bat, 3*time.Second)
	if n := len(bat.Writes()); n > 0 {
		h.t.Errorf("%d writes to the battery", n)
	}
	if n := h.heard.Load(); n > 0 {
		h.t.Errorf("a foreign address was fetched %d times", n)
	}
	if st, err := h.status(); err != nil || !st.Ready {
		h.t.Errorf("flexd does not serve any more: %v", err)
	}
	// The address that redirected is given up before the good one comes.
	h.market.ListRaw(evil, json.RawMessage(`{"id":"evil"}`))
	h.market.SetFault("/dispatch/v1/instructions/", demo.Fault{})
	start := second(time.Second)
	h.await(5*time.Second, "a good notification is taken", func() bool {
		_, err := h.market.Instruct(h.t.Context(), ask("good", "0.00250", "export", start, start.Add(2*time.Second)))
		return err == nil
	})
	h.await(8*time.Second, "the watts of the good one", func() bool { return math.Abs(bat.Power()-2500) <= 1 })
	h.over(bat, 5*time.Second, "good", "completed")
	h.wantLadder("good", "admitted", "scheduled", "active", "completed")
}
