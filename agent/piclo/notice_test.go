package piclo

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// payloadFor is a good payload with some of its text replaced.
func payloadFor(base string, replace ...string) string {
	s := fmt.Sprintf(`{"event":"fp_dispatch_instruction_collection","data_url":"%s/dispatch/v1/instructions/?set=1","instruction_count":2,"iat":%d}`,
		base, testNow.Unix())
	out := strings.NewReplacer(replace...).Replace(s)
	return out
}

func TestGoodNotificationsInEveryWrapping(t *testing.T) {
	srv := newFakeMarket(t)
	m := open(t, srv.URL)
	token := sign(t, "RS256", makeKeys().market, payloadFor(srv.URL))
	sum := sha256.Sum256([]byte(token))
	for name, body := range map[string]string{
		"raw":                   token,
		"raw with a line break": token + "\r\n",
		"a JSON text":           `"` + token + `"`,
		"field payload":         `{"payload":"` + token + `"}`,
		"field token":           `{ "kind": 1, "token":"` + token + `"}`,
		"field jwt":             `{"jwt":"` + token + `"}`,
		"second field":          `{"payload":{"a":1},"data":"` + token + `"}`,
	} {
		n, err := m.Verify(t.Context(), flex.Envelope{Door: flex.DoorWebhook, Received: testNow, Body: []byte(body)})
		if err != nil || n.Count != 2 || n.DataURL != srv.URL+"/dispatch/v1/instructions/?set=1" || !n.IssuedAt.Equal(testNow) {
			t.Errorf("%s: %+v, %v", name, n, err)
			continue
		}
		if string(n.ID) != hex.EncodeToString(sum[:]) || n.State != flex.NoticeVerified || n.Door != flex.DoorWebhook || !n.Received.Equal(testNow) {
			t.Errorf("%s: %+v", name, n)
		}
	}
	if srv.count("/dispatch/v1/instructions/") != 0 || srv.count("/webhook/v1/public-key/") != 1 {
		t.Errorf("asked: %v", srv.asked)
	}
}

// hostile is one notification that must be refused.
type hostile struct {
	name string
	body string
	want flex.Reason
}

func forgedNotifications(t testing.TB, base string) []hostile {
	k := makeKeys()
	payload := payloadFor(base)
	good := sign(t, "RS256", k.market, payload)
	p := strings.Split(good, ".")
	head := func(h string) string { return b64(h) + "." + p[1] + "." + p[2] }
	mac := func(secret string) string {
		in := b64(`{"alg":"HS256","typ":"JWT"}`) + "." + p[1]
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte(in))
		return in + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	other := strings.Split(sign(t, "RS256", k.market, `{"a":1}`), ".")
	return []hostile{
		{"empty", "", flex.ReasonMalformed},
		{"blank", " \r\n", flex.ReasonMalformed},
		{"plain JSON, unsigned", payload, flex.ReasonMalformed},
		{"a JSON list", "[" + quoted(good) + "]", flex.ReasonMalformed},
		{"broken JSON", `{"payload":"` + good, flex.ReasonMalformed},
		{"two payloads", `{"payload":"` + good + `","payload":"` + good + `"}`, flex.ReasonMalformed},
		{"payload not text", `{"payload":7}`, flex.ReasonMalformed},
		{"JSON serialization", `{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`, flex.ReasonMalformed},
		{"unknown field", `{"message":"` + good + `"}`, flex.ReasonMalformed},
		{"form encoded", "payload=" + good, flex.ReasonMalformed},
		{"XML", "<jws>" + good + "</jws>", flex.ReasonMalformed},
		{"binary", "\x00\xff\xfe.\x01.\x02", flex.ReasonMalformed},
		{"detached", p[0] + ".." + p[2], flex.ReasonSignatureInvalid},
		{"two parts", p[0] + "." + p[1], flex.ReasonMalformed},
		{"four parts", good + "." + p[2], flex.ReasonMalformed},
		{"encrypted token", good + ".a.b", flex.ReasonMalformed},
		{"padded", good + "==", flex.ReasonMalformed},
		{"unicode look-alike", strings.Replace(good, "e", "е", 1), flex.ReasonMalformed},
		{"line break inside", good[:20] + "\n" + good[20:], flex.ReasonMalformed},
		{"larger than the door's bound", strings.Repeat("a", maxBody+1), flex.ReasonTooLarge},
		{"larger than any token", strings.Repeat("a", 300<<10) + "." + p[1] + "." + p[2], flex.ReasonMalformed},
		{"alg none", b64(`{"alg":"none"}`) + "." + p[1] + ".", flex.ReasonSignatureInvalid},
		{"alg None with a signature", head(`{"alg":"None"}`), flex.ReasonSignatureInvalid},
		{"alg missing", head(`{}`), flex.ReasonMalformed},
		{"alg twice", head(`{"alg":"RS256","alg":"none"}`), flex.ReasonMalformed},
		{"HMAC with the public key", mac(pemOf(t, &k.market.PublicKey)), flex.ReasonSignatureInvalid},
		{"HMAC with nothing", mac(""), flex.ReasonSignatureInvalid},
		{"signature cut off", p[0] + "." + p[1] + ".", flex.ReasonSignatureInvalid},
		{"embedded key", head(`{"alg":"RS256","jwk":{"kty":"RSA"}}`), flex.ReasonSignatureInvalid},
		{"key by URL", head(`{"alg":"RS256","jku":"` + base + `/"}`), flex.ReasonSignatureInvalid},
		{"certificate by URL", head(`{"alg":"RS256","x5u":"http://127.0.0.1:1/"}`), flex.ReasonSignatureInvalid},
		{"certificate chain", head(`{"alg":"RS256","x5c":["AA"]}`), flex.ReasonSignatureInvalid},
		{"critical extension", head(`{"alg":"RS256","crit":["exp"]}`), flex.ReasonSignatureInvalid},
		{"payload not encoded", head(`{"alg":"RS256","b64":false}`), flex.ReasonSignatureInvalid},
		{"kid is a path", head(`{"alg":"RS256","kid":"../../dev/null"}`), flex.ReasonSignatureInvalid},
		{"kid is SQL", head(`{"alg":"RS256","kid":"' or 1=1"}`), flex.ReasonSignatureInvalid},
		{"kid is a list", head(`{"alg":"RS256","kid":[]}`), flex.ReasonMalformed},
		{"other algorithm of the same key", head(`{"alg":"PS256"}`), flex.ReasonSignatureInvalid},
		{"elliptic algorithm, RSA key", sign(t, "ES256", k.ec, payload), flex.ReasonSignatureInvalid},
		{"stranger's key", sign(t, "RS256", k.stranger, payload), flex.ReasonSignatureInvalid},
		{"payload exchanged", p[0] + "." + other[1] + "." + p[2], flex.ReasonSignatureInvalid},
		{"signature exchanged", p[0] + "." + p[1] + "." + other[2], flex.ReasonSignatureInvalid},
		{"one bit of the payload", p[0] + "." + b64(strings.Replace(payload, "2", "3", 1)) + "." + p[2], flex.ReasonSignatureInvalid},
		{"truncated", good[:len(good)-2], flex.ReasonSignatureInvalid},
	}
}

// signedButWrong are payloads under a good signature.
func signedButWrong(base string) []hostile {
	at := func(d time.Duration) string { return fmt.Sprint(testNow.Add(d).Unix()) }
	iat := fmt.Sprintf(`"iat":%d`, testNow.Unix())
	url := func(u string) string {
		return payloadFor(base, base+"/dispatch/v1/instructions/?set=1", u)
	}
	host := strings.TrimPrefix(base, "http://")
	return []hostile{
		{"not JSON", "hello", flex.ReasonMalformed},
		{"empty payload", "", flex.ReasonMalformed},
		{"a list", "[]", flex.ReasonMalformed},
		{"null", "null", flex.ReasonMalformed},
		{"not UTF-8", "{\"event\":\"\xff\"}", flex.ReasonMalformed},
		{"text after the object", payloadFor(base) + "{}", flex.ReasonMalformed},
		{"data_url twice", payloadFor(base, `"iat"`, `"data_url":"http://evil.example/","iat"`), flex.ReasonMalformed},
		{"nested without bound", `{"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, flex.ReasonMalformed},
		{"larger than a payload", payloadFor(base, `"iat"`, `"x":"`+strings.Repeat("x", maxSignedSize)+`","iat"`), flex.ReasonTooLarge},
		{"other event", payloadFor(base, "fp_dispatch_instruction_collection", "fp_other"), flex.ReasonEvent},
		{"event in other case", payloadFor(base, "fp_dispatch", "FP_dispatch"), flex.ReasonEvent},
		{"no event", payloadFor(base, `"event"`, `"evnt"`), flex.ReasonMalformed},
		{"event is a list", payloadFor(base, `"fp_dispatch_instruction_collection"`, `["fp_dispatch_instruction_collection"]`), flex.ReasonMalformed},
		{"issued in the future", payloadFor(base, iat, `"iat":`+at(2*time.Minute)), flex.ReasonStaleTime},
		{"expired", payloadFor(base, iat, iat+`,"exp":`+at(-2*time.Minute)), flex.ReasonStaleTime},
		{"not yet valid", payloadFor(base, iat, iat+`,"nbf":`+at(2*time.Minute)), flex.ReasonStaleTime},
		{"iat is text", payloadFor(base, iat, `"iat":"now"`), flex.ReasonMalformed},
		{"exp is absurd", payloadFor(base, iat, `"exp":1e308`), flex.ReasonMalformed},
		{"count negative", payloadFor(base, `"instruction_count":2`, `"instruction_count":-1`), flex.ReasonMalformed},
		{"count huge", payloadFor(base, `"instruction_count":2`, `"instruction_count":99999999999999999999`), flex.ReasonMalformed},
		{"count above the bound", payloadFor(base, `"instruction_count":2`, `"instruction_count":10001`), flex.ReasonMalformed},
		{"count with a part", payloadFor(base, `"instruction_count":2`, `"instruction_count":15e-1`), flex.ReasonMalformed},
		{"count is text", payloadFor(base, `"instruction_count":2`, `"instruction_count":"two"`), flex.ReasonMalformed},
		{"count is a fraction", payloadFor(base, `"instruction_count":2`, `"instruction_count":1.5`), flex.ReasonMalformed},
		{"count is true", payloadFor(base, `"instruction_count":2`, `"instruction_count":true`), flex.ReasonMalformed},
		{"no data_url", payloadFor(base, `"data_url"`, `"url"`), flex.ReasonMalformed},
		{"data_url empty", url(""), flex.ReasonMalformed},
		{"data_url is a list", payloadFor(base, `"data_url":"`, `"data_url":["`, `?set=1"`, `"]`), flex.ReasonMalformed},
		{"foreign host", url("http://evil.example/dispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"other scheme", url("https://" + host + "/dispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"file", url("file:///etc/passwd"), flex.ReasonForeignURL},
		{"no scheme", url("//" + host + "/dispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"relative", url("/dispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"other port", url("http://127.0.0.1:1/dispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"host as a user", url("http://" + host + "@evil.example/dispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"user information", url("http://a:b@" + host + "/dispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"other path", url(base + "/authtoken/v1/"), flex.ReasonForeignURL},
		{"path without its slash", url(base + "/dispatch/v1/instructions"), flex.ReasonForeignURL},
		{"path that only begins alike", url(base + "/dispatch/v1/instructions-evil/"), flex.ReasonForeignURL},
		{"dot segments", url(base + "/dispatch/v1/instructions/../../../authtoken/v1/"), flex.ReasonForeignURL},
		{"encoded dot segments", url(base + "/dispatch/v1/instructions/%2e%2E/x/"), flex.ReasonForeignURL},
		{"encoded slash", url(base + "/dispatch/v1/instructions/..%2f..%2fx"), flex.ReasonForeignURL},
		{"encoded twice", url(base + "/dispatch/v1/instructions/%252e%252e/"), flex.ReasonForeignURL},
		{"backslash", url(base + `/dispatch/v1/instructions/..\\..\\x`), flex.ReasonForeignURL},
		{"encoded backslash", url(base + "/dispatch/v1/instructions/..%5cx"), flex.ReasonForeignURL},
		{"path parameter", url(base + "/dispatch/v1/instructions/..;/x/"), flex.ReasonForeignURL},
		{"empty segment", url(base + "/dispatch/v1/instructions//x"), flex.ReasonForeignURL},
		{"fragment", url(base + "/dispatch/v1/instructions/#x"), flex.ReasonForeignURL},
		{"line break in it", url(base + `/dispatch/v1/instructions/?a=\r\nHost:x`), flex.ReasonForeignURL},
		{"blank in it", url(base + "/dispatch/v1/instructions/ x"), flex.ReasonForeignURL},
		{"unicode in it", url(base + "/dispatch/v1/instructions/\u2025/x"), flex.ReasonForeignURL},
		{"unicode host", url("http://127.0.0.1\uff0eevil.example/dispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"encoded prefix", url(base + "/%64ispatch/v1/instructions/"), flex.ReasonForeignURL},
		{"encoded zero", url(base + "/dispatch/v1/instructions/%00"), flex.ReasonForeignURL},
		{"endless", url(base + "/dispatch/v1/instructions/?x=" + strings.Repeat("x", maxURL)), flex.ReasonForeignURL},
	}
}

func TestForgedNotificationsAreRefusedAndFetchNothing(t *testing.T) {
	srv := newFakeMarket(t)
	for _, c := range forgedNotifications(t, srv.URL) {
		// A market opened anew may fetch its key, so that each gets a verdict.
		_, err := open(t, srv.URL).Verify(t.Context(), flex.Envelope{Body: []byte(c.body)})
		if r, ok := flex.RefusalOf(err); !ok || r.Reason != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	onlyKeysWereAsked(t, srv)
}

func TestSignedNonsenseIsRefusedAndFetchesNothing(t *testing.T) {
	srv := newFakeMarket(t)
	m := open(t, srv.URL)
	for _, c := range signedButWrong(srv.URL) {
		body := sign(t, "RS256", makeKeys().market, c.body)
		_, err := m.Verify(t.Context(), flex.Envelope{Body: []byte(body)})
		if r, ok := flex.RefusalOf(err); !ok || r.Reason != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	onlyKeysWereAsked(t, srv)
}

func onlyKeysWereAsked(t *testing.T, srv *fakeMarket) {
	t.Helper()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for path := range srv.asked {
		if path != "/webhook/v1/public-key/" && path != "/authtoken/v1/" {
			t.Errorf("%s was asked for", path)
		}
	}
}

func TestAFloodOfForgeriesGetsOneVerdictAndOneFetch(t *testing.T) {
	srv := newFakeMarket(t)
	m := open(t, srv.URL)
	verify := func(body string) error {
		_, err := m.Verify(t.Context(), flex.Envelope{Body: []byte(body)})
		return err
	}
	good, forged := sign(t, "RS256", makeKeys().market, payloadFor(srv.URL)), sign(t, "RS256", makeKeys().stranger, payloadFor(srv.URL))
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	if r, ok := flex.RefusalOf(verify(forged)); !ok || r.Reason != flex.ReasonSignatureInvalid {
		t.Fatalf("first forgery: %v", r)
	}
	for range 100 {
		err := verify(forged)
		var retry *flex.RetryError
		if r, ok := flex.RefusalOf(err); !ok || r.Reason != flex.ReasonNoKey || !errors.As(err, &retry) || retry.After <= 0 {
			t.Fatalf("later forgery: %v", err)
		}
	}
	if err := verify(good); err != nil || srv.count("/webhook/v1/public-key/") != 2 {
		t.Errorf("good one: %v after %d key fetches", err, srv.count("/webhook/v1/public-key/"))
	}
}

func TestWithoutAKeyNothingIsJudged(t *testing.T) {
	srv := newFakeMarket(t)
	srv.text("/webhook/v1/public-key/", "maintenance")
	_, err := open(t, srv.URL).Verify(t.Context(), flex.Envelope{Body: []byte(sign(t, "RS256", makeKeys().market, payloadFor(srv.URL)))})
	if r, ok := flex.RefusalOf(err); !ok || r.Reason != flex.ReasonNoKey {
		t.Errorf("%v", err)
	}
}

func TestAnUntrustedClockRefusesNoNotificationForItsTime(t *testing.T) {
	srv := newFakeMarket(t)
	m := open(t, srv.URL)
	m.wall = fixedWall{time.Unix(1000, 0), flex.ClockUntrusted}
	body := sign(t, "RS256", makeKeys().market, payloadFor(srv.URL))
	if _, err := m.Verify(t.Context(), flex.Envelope{Body: []byte(body)}); err != nil {
		t.Error(err)
	}
}

func FuzzFindToken(f *testing.F) {
	p, err := LoadProfile("")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("a.b.c"))
	f.Add([]byte(`{"payload":"a.b.c"}`))
	f.Add([]byte(`{"payload":{"a":[1,2]},"token":"..","jwt":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		found, err := p.locate(nil, body)
		if err != nil {
			if _, ok := flex.RefusalOf(err); !ok {
				t.Fatalf("no refusal: %v", err)
			}
			return
		}
		if _, _, err := trust.VerifyForm(found.Signed, nil, trust.Algorithms()); err == nil {
			t.Fatalf("verified without a key: %q", found.Token)
		}
	})
}

func FuzzNotice(f *testing.F) {
	p, err := LoadProfile("")
	if err != nil {
		f.Fatal(err)
	}
	at, err := (&Profile{}).parseOrigins("https://api.picloflex.com", nil, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(payloadFor("https://api.picloflex.com")))
	for _, c := range signedButWrong("https://api.picloflex.com") {
		if len(c.body) < 4096 {
			f.Add([]byte(c.body))
		}
	}
	prefix := []byte("https://api.picloflex.com/dispatch/v1/instructions/")
	f.Fuzz(func(t *testing.T, payload []byte) {
		n, err := p.notice(payload, testNow, flex.ClockSynced, at)
		if err == nil && (!bytes.HasPrefix([]byte(n.DataURL), prefix) && !strings.HasPrefix(n.DataURL, "https://api.picloflex.com:443/dispatch/v1/instructions/") && !strings.EqualFold(n.DataURL[:len("https://api.picloflex.com")], "https://api.picloflex.com") || n.Count < 0) {
			t.Fatalf("accepted %+v", n)
		}
	})
}
