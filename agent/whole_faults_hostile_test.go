package agent_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"flexd/agent/demo"
)

// leastAttacks is how many kinds of hostile deliveries must be told apart.
const leastAttacks = 150

// further are more hostile deliveries: headers that ask for another way to
// verify, JWS in other forms, HTTP that is wrong, claims of every wrong kind.
func (h *hostile) further() []attack {
	return slices.Concat(h.headers(), h.forms(), h.bodies(), h.wire(), h.claimed(), h.addresses())
}

// headers are protected headers over claims that point to the evil
// instruction, signed with a key of the attacker's own, or not at all.
func (h *hostile) headers() []attack {
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	must(h.t, err)
	jwk := map[string]any{"kty": "RSA", "e": "AQAB", "n": b64(own.N.Bytes())}
	signed := func(header map[string]any) string {
		text := b64(header) + "." + b64(h.claims())
		sum := sha256.Sum256([]byte(text))
		sig, err := rsa.SignPKCS1v15(rand.Reader, own, crypto.SHA256, sum[:])
		must(h.t, err)
		return text + "." + b64(sig)
	}
	var out []attack
	for _, with := range []map[string]any{
		{"jwk": jwk}, {"jku": h.canary.URL + "/keys"}, {"x5u": h.canary.URL + "/cert"}, {"x5c": []string{"MIIB"}}, {"x5t": "AAAA"}, {"x5t#S256": "AAAA"},
		{"kid": "../../../../etc/passwd"}, {"kid": "' OR 1=1 --"}, {"kid": ""}, {"kid": nil}, {"kid": 5}, {"kid": []string{"a"}}, {"kid": strings.Repeat("k", 20_000)}, {"kid": h.canary.URL},
		{"crit": []string{"exp"}}, {"crit": []string{}}, {"crit": nil}, {"crit": "b64"}, {"crit": []string{"b64"}, "b64": false}, {"b64": false}, {"zip": "DEF"}, {"enc": "A256GCM"}, {"typ": "JWE"}, {"cty": "JWT"},
		{"alg": "none"}, {"alg": "None"}, {"alg": "nOnE"}, {"alg": ""}, {"alg": nil}, {"alg": 5}, {"alg": []string{"RS256"}}, {"alg": "HS256"}, {"alg": "HS512"}, {"alg": "RS1"}, {"alg": "rs256"}, {"alg": "RS256 "},
		{"alg": "ES256"}, {"alg": "ES256K"}, {"alg": "PS256"}, {"alg": "EdDSA"}, {"alg": "RSA-OAEP"}, {"alg": "dir"}, {"alg": "RS256\x00"},
	} {
		header := map[string]any{"alg": "RS256"}
		maps.Copy(header, with)
		text, _ := json.Marshal(with)
		token := signed(header)
		out = append(out, attack{fmt.Sprintf("own key under %.60s", text), h.token(token)})
		if _, is := with["alg"]; is {
			parts := strings.Split(token, ".")
			out = append(out, attack{fmt.Sprintf("no signature under %.60s", text), h.token(parts[0] + "." + parts[1] + ".")})
		}
	}
	return out
}

// forms are a good token in forms that are none, and forms of JWS that were
// not agreed.
func (h *hostile) forms() []attack {
	parts := strings.Split(h.good, ".")
	head, body, sig := parts[0], parts[1], parts[2]
	evilBody := b64(h.claims())
	object := func(v any) func() int {
		text, err := json.Marshal(v)
		must(h.t, err)
		return h.json(string(text))
	}
	standard := func(s string) string {
		raw, err := base64.RawURLEncoding.DecodeString(s)
		must(h.t, err)
		return base64.StdEncoding.EncodeToString(raw) + "="
	}
	twice := func(key string) string {
		return b64([]byte(`{"alg":"RS256",` + key + `:"a",` + key + `:"b"}`))
	}
	return []attack{
		{"JWS JSON, another payload", object(map[string]any{"payload": evilBody, "signatures": []any{map[string]any{"protected": head, "signature": sig}}})},
		{"JWS JSON, flattened, another payload", object(map[string]any{"payload": evilBody, "protected": head, "signature": sig})},
		{"JWS JSON without signatures", object(map[string]any{"payload": evilBody, "signatures": []any{}})},
		{"JWS JSON, algorithm in the unprotected header", object(map[string]any{"payload": evilBody, "header": map[string]any{"alg": "none"}, "signature": ""})},
		{"detached payload", h.token(head + ".." + sig)},
		{"four parts", h.token(head + "." + evilBody + "." + sig + "." + sig)},
		{"five parts, as a JWE", h.token(head + "." + sig + "." + sig + "." + evilBody + "." + sig)},
		{"two tokens in one list", object([]string{h.good, h.good})},
		{"a token in a nested object", object(map[string]any{"payload": map[string]any{"payload": h.good}})},
		{"a good token and an evil one", object(map[string]any{"token": head + "." + evilBody + "." + sig, "extra": h.good})},
		{"padding in the signature", h.token(head + "." + evilBody + "." + sig + "==")},
		{"the standard alphabet", h.token(standard(head) + "." + standard(evilBody) + "." + standard(sig))},
		{"blanks inside", h.token(head + ". " + evilBody + " ." + sig)},
		{"line breaks inside", h.token(head + ".\r\n" + evilBody + ".\r\n" + sig)},
		{"a byte order mark", h.token("\ufeff" + head + "." + evilBody + "." + sig)},
		{"a zero at the end", h.token(head + "." + evilBody + "." + sig + "\x00")},
		{"repeated alg", h.token(twice(`"alg"`) + "." + evilBody + "." + sig)},
		{"repeated kid", h.token(twice(`"kid"`) + "." + evilBody + "." + sig)},
		{"a header that is a list", h.token(b64([]any{"RS256"}) + "." + evilBody + "." + sig)},
		{"a header that is null", h.token(b64([]byte("null")) + "." + evilBody + "." + sig)},
		{"a header that is empty", h.token("." + evilBody + "." + sig)},
		{"a header of 100 kB", h.token(b64(map[string]any{"alg": "RS256", "x": strings.Repeat("x", 100_000)}) + "." + evilBody + "." + sig)},
		{"the parts in another order", h.token(body + "." + head + "." + sig)},
		{"the signature of another algorithm's length", h.token(head + "." + evilBody + "." + b64(make([]byte, 64)))},
		{"a signature larger than the modulus", h.token(head + "." + evilBody + "." + b64(bytes.Repeat([]byte{0xff}, 256)))},
		{"a signature of one", h.token(head + "." + evilBody + "." + b64(append(make([]byte, 255), 1)))},
		{"upper case", h.token(strings.ToUpper(h.good))},
		{"reversed case of one letter", h.token(head + "." + body[:4] + flip(body[4:5]) + body[5:] + "." + sig)},
	}
}

// flip gives another letter of the alphabet.
func flip(s string) string {
	if s == "A" {
		return "B"
	}
	return "A"
}

// bodies are bodies that carry nothing, whatever they say they are.
func (h *hostile) bodies() []attack {
	kind := func(kind, body string) func() int {
		return func() int { return h.post(http.MethodPost, h.door, kind, []byte(body)) }
	}
	return []attack{
		{"a form", kind("application/x-www-form-urlencoded", "payload=evil")},
		{"a multipart form", kind("multipart/form-data; boundary=x", "--x\r\n\r\nevil\r\n--x--")},
		{"XML with an entity", kind("application/xml", `<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>`)},
		{"YAML", kind("application/yaml", "payload: !!python/object/apply:os.system ['id']")},
		{"a bare instruction", kind("application/json", string(listed(h.t, ask(evil, "0.00400", "export", second(0), second(time.Minute)))))},
		{"bare claims", kind("application/json", func() string { t, _ := json.Marshal(h.claims()); return string(t) }())},
		{"prototype keys", kind("application/json", `{"__proto__":{"payload":"a.b.c"},"constructor":{"payload":"a.b.c"}}`)},
		{"repeated payload", kind("application/json", `{"payload":"a.b.c","payload":"d.e.f"}`)},
		{"ten thousand keys", kind("application/json", "{"+strings.Repeat(`"k":1,`, 10_000)+`"payload":"a.b.c"}`)},
		{"deep objects", kind("application/json", strings.Repeat(`{"payload":`, 50_000))},
		{"wrong UTF-8", kind("application/json", "{\"payload\":\"\xff\xfe.\xff.\xff\"}")},
		{"surrogates", kind("application/json", `{"payload":"\ud800.\udc00.\ud800"}`)},
		{"a huge number", kind("application/json", `{"payload":1e999999}`)},
		{"many digits", kind("application/json", `{"payload":`+strings.Repeat("9", 200_000)+`}`)},
		{"a page", kind("text/html", "<script>alert(1)</script>")},
		{"binary", kind("application/octet-stream", string(bytes.Repeat([]byte{0}, 4096)))},
		{"a content type of 10 kB", kind("application/"+strings.Repeat("x", 10_000), "a.b.c")},
	}
}

// wire are requests that are wrong as HTTP.
func (h *hostile) wire() []attack {
	raw := func(text string) func() int {
		return func() int {
			c, err := net.DialTimeout("tcp", strings.TrimPrefix(strings.TrimSuffix(h.door, "/webhooks/piclo"), "http://"), 2*time.Second)
			must(h.t, err)
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(8 * time.Second))
			_, _ = io.WriteString(c, text)
			if t, ok := c.(*net.TCPConn); ok {
				_ = t.CloseWrite() // nothing more will come
			}
			head := make([]byte, 12)
			code := http.StatusBadRequest // hung up on
			if _, err := io.ReadFull(c, head); err == nil {
				_, _ = fmt.Sscanf(string(head), "HTTP/1.1 %d", &code)
			}
			return code
		}
	}
	const post = "POST /webhooks/piclo HTTP/1.1\r\nHost: x\r\n"
	out := []attack{
		{"two lengths", raw(post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\na.b.c")},
		{"length and chunks", raw(post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na.b.c\r\n0\r\n\r\n")},
		{"a negative length", raw(post + "Content-Length: -5\r\n\r\na.b.c")},
		{"a length of text", raw(post + "Content-Length: many\r\n\r\na.b.c")},
		{"a length beyond numbers", raw(post + "Content-Length: 99999999999999999999\r\n\r\na.b.c")},
		{"a body that ends early", raw(post + "Content-Length: 500\r\n\r\na.b.c")},
		{"an unknown coding", raw(post + "Transfer-Encoding: xchunked\r\n\r\na.b.c")},
		{"a chunk of no size", raw(post + "Transfer-Encoding: chunked\r\n\r\nzz\r\na.b.c\r\n0\r\n\r\n")},
		{"a chunk beyond numbers", raw(post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\na.b.c")},
		{"no host", raw("POST /webhooks/piclo HTTP/1.1\r\nContent-Length: 5\r\n\r\na.b.c")},
		{"two hosts", raw("POST /webhooks/piclo HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 5\r\n\r\na.b.c")},
		{"a header of 100 kB", raw(post + "X-A: " + strings.Repeat("x", 100_000) + "\r\nContent-Length: 5\r\n\r\na.b.c")},
		{"a thousand headers", raw(post + strings.Repeat("X-A: b\r\n", 1000) + "Content-Length: 5\r\n\r\na.b.c")},
		{"a folded header", raw(post + "X-A: b\r\n c\r\nContent-Length: 5\r\n\r\na.b.c")},
		{"a blank before the colon", raw(post + "Content-Length : 5\r\n\r\na.b.c")},
		{"a method that is none", raw("P\x00ST /webhooks/piclo HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"a version that is none", raw("POST /webhooks/piclo HTTP/9.9\r\nHost: x\r\n\r\n")},
		{"HTTP/2 without having asked", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
		{"TLS on the plain door", raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")},
		{"a tunnel", raw("CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"a proxy's request", raw("POST http://evil.example/webhooks/piclo2 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na.b.c")},
		{"a smuggled second request", raw(post + "Content-Length: 5\r\n\r\na.b.cPOST /admin HTTP/1.1\r\nHost: x\r\n\r\n")},
	}
	for _, path := range []string{"/", "/admin", "/v1/stop", "/v1/status", "/webhooks/piclo/", "/webhooks//piclo", "/WEBHOOKS/PICLO", "/webhooks/piclo/../../etc/passwd", "/webhooks/./x", "/webhooks/piclo%00", "/debug/pprof/", "/metrics"} {
		out = append(out, attack{"path " + path, raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na.b.c")})
	}
	for _, method := range []string{"DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
		out = append(out, attack{"method " + method, func() int { return h.post(method, h.door, "application/jose", []byte(h.good)) }})
	}
	for _, coding := range []string{"gzip", "deflate", "br", "gzip, gzip"} {
		out = append(out, attack{"coding " + coding, func() int {
			r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.door, strings.NewReader(h.good))
			must(h.t, err)
			r.Header.Set("Content-Encoding", coding)
			resp, err := http.DefaultClient.Do(r)
			must(h.t, err)
			defer resp.Body.Close()
			return resp.StatusCode
		}})
	}
	return out
}

// claimed are claims under the market's own signature that no honest market
// makes.
func (h *hostile) claimed() []attack {
	var out []attack
	now := time.Now()
	for _, c := range []map[string]any{
		{"iat": now.Add(2 * time.Minute).Unix()}, {"iat": now.Add(time.Hour).UnixMilli()}, {"iat": 1e300}, {"iat": map[string]any{}}, {"iat": []int{1}}, {"iat": true},
		{"exp": now.Add(-2 * time.Minute).Unix()}, {"exp": 0}, {"exp": -1}, {"exp": []int{1}}, {"exp": true}, {"nbf": now.AddDate(1, 0, 0).Unix()}, {"nbf": "now"},
		{"event": ""}, {"event": " " + demo.Event}, {"event": strings.ToUpper(demo.Event)}, {"event": demo.Event + "_v2"}, {"event": map[string]any{}}, {"event": true},
		{"data_url": ""}, {"data_url": " "}, {"data_url": true}, {"data_url": []any{}}, {"instruction_count": true}, {"instruction_count": map[string]any{}}, {"instruction_count": 10_001},
		{"instruction_count": -1e300}, {"instruction_count": "1; DROP TABLE"},
		{"padding": strings.Repeat("x", 70_000)},
	} {
		text, _ := json.Marshal(c)
		out = append(out, attack{fmt.Sprintf("signed %.60s", text), h.publish(demo.Notice{IDs: []string{evil}, Claims: c})})
	}
	return out
}

// addresses are data_urls under the market's own signature that lead, or
// might lead, elsewhere.
func (h *hostile) addresses() []attack {
	base := h.market.URL()
	host := strings.TrimPrefix(base, "http://")
	port := host[strings.LastIndex(host, ":"):]
	away := strings.TrimPrefix(h.canary.URL, "http://")
	const path = "/dispatch/v1/instructions/"
	var out []attack
	for _, url := range []string{
		"http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal" + path, "http://0.0.0.0" + port + path, "http://[::1]" + port + path, "http://2130706433" + port + path, "http://0x7f.1" + port + path,
		"http://0177.0.0.1" + port + path, "http://127.1" + port + path, "http://localhost" + port + path, "http://127.0.0.1.evil.example" + port + path, "http://" + host + ".evil.example" + path,
		"http://evil.example/" + host + path, "http://" + away + "/?" + base + path, "http://" + away + "/;" + base + path, "http:" + path, "http:///" + path, "http:/" + host + path, "HTTP://" + away + path,
		"ftp://" + host + path, "gopher://" + host + path, "unix:///run/flexd.sock", "data:application/json,[]", "ws://" + host + path, "http+unix://x" + path,
		base + path + "%2e%2e%2f", base + path + "..;/", base + path + "%252e%252e/", base + path + "%00", base + path + "\t", base + path + " ", base + path + "x y", base + path + "\u2028",
		base + "/dispatch/v1/instructions", base + "/dispatch//v1/instructions/", base + "/DISPATCH/V1/INSTRUCTIONS/", base + "/authtoken/v1/", base + "/webhook/v1/public-key/", base + "/dispatch/v1/instructions\\", base + "//" + away + path,
		base + ":80" + path, "http://" + host + "\u3002evil.example" + path, "http://" + host + "#@" + away + path, "http://" + host + "?@" + away + path, "http://user@" + host + path, "http://:@" + host + path,
		base + path + strings.Repeat("x", 5000), base + path + strings.Repeat("../", 100),
	} {
		out = append(out, attack{fmt.Sprintf("data_url %.70q", url), h.publish(demo.Notice{IDs: []string{evil}, DataURL: url})})
	}
	return out
}
