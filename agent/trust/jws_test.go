package trust

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func allKeys() []Key {
	k := makeKeys()
	return []Key{
		{ID: "r", Public: &k.rsa.PublicKey}, {ID: "e2", Public: &k.p256.PublicKey},
		{ID: "e3", Public: &k.p384.PublicKey}, {ID: "e5", Public: &k.p521.PublicKey}, {ID: "ed", Public: k.ed.Public()},
	}
}

func TestEveryAllowedAlgorithmVerifiesWhatAnotherLibrarySigned(t *testing.T) {
	k := makeKeys()
	signers := map[string]any{"ES256": k.p256, "ES384": k.p384, "ES512": k.p521, "EdDSA": k.ed}
	for _, alg := range Algorithms() {
		if alg == "Ed25519" {
			continue // that library does not know the name yet: form_test.go
		}
		signer := signers[alg]
		if signer == nil {
			signer = k.rsa
		}
		for _, kid := range []string{"", "r", "unknown"} {
			token := sign(t, alg, signer, kid, `{"a":1}`)
			payload, h, err := VerifyCompact(token, allKeys(), Algorithms())
			if err != nil || string(payload) != `{"a":1}` || h.Alg != alg || h.KeyID != kid {
				t.Errorf("%s with kid %q: payload %q, header %+v, error %v", alg, kid, payload, h, err)
			}
		}
	}
}

// flip changes one bit of the token at the given part.
func flip(token []byte, part int) []byte {
	parts := bytes.Split(bytes.Clone(token), []byte("."))
	raw, _ := base64.RawURLEncoding.DecodeString(string(parts[part]))
	raw[len(raw)/2] ^= 1
	parts[part] = []byte(base64.RawURLEncoding.EncodeToString(raw))
	return bytes.Join(parts, []byte("."))
}

func TestAlteredTokensAreRefused(t *testing.T) {
	k := makeKeys()
	good := map[string][]byte{
		"RS256": sign(t, "RS256", k.rsa, "", `{"a":1}`), "PS384": sign(t, "PS384", k.rsa, "", `{"a":1}`),
		"ES256": sign(t, "ES256", k.p256, "", `{"a":1}`), "EdDSA": sign(t, "EdDSA", k.ed, "", `{"a":1}`),
	}
	for alg, token := range good {
		for part := range 3 {
			if _, _, err := VerifyCompact(flip(token, part), allKeys(), Algorithms()); err == nil {
				t.Errorf("%s: accepted with part %d altered", alg, part)
			}
		}
	}
}

func TestHostileTokensAreRefusedWithTheRightError(t *testing.T) {
	k := makeKeys()
	good := string(sign(t, "RS256", k.rsa, "", `{"a":1}`))
	parts := strings.Split(good, ".")
	head := func(h string) string { return b64(h) + "." + parts[1] + "." + parts[2] }
	mac := func(header string, secret []byte) string {
		in := b64(header) + "." + parts[1]
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(in))
		return in + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	cases := map[string]struct {
		token string
		want  error
	}{
		"empty":                              {"", ErrMalformed},
		"one part":                           {"abc", ErrMalformed},
		"two parts":                          {parts[0] + "." + parts[1], ErrMalformed},
		"four parts":                         {good + ".x", ErrMalformed},
		"trailing line break":                {good + "\n", ErrMalformed},
		"line break inside":                  {good[:10] + "\n" + good[10:], ErrMalformed},
		"padding":                            {good + "==", ErrMalformed},
		"standard alphabet":                  {parts[0] + "." + parts[1] + ".+/+/", ErrMalformed},
		"loose trailing bits":                {parts[0] + "." + parts[1] + ".QR", ErrMalformed},
		"header no object":                   {head(`[]`), ErrMalformed},
		"header null":                        {head(`null`), ErrMalformed},
		"header not JSON":                    {head(`{`), ErrMalformed},
		"header with two algorithms":         {head(`{"alg":"none","alg":"RS256"}`), ErrMalformed},
		"header with text after":             {head(`{"alg":"RS256"}{}`), ErrMalformed},
		"header not UTF-8":                   {head("{\"alg\":\"RS256\",\"x\":\"\xff\"}"), ErrMalformed},
		"header deeper than anybody needs":   {head(`{"alg":"RS256","x":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`), ErrMalformed},
		"no algorithm":                       {head(`{}`), ErrMalformed},
		"algorithm is a number":              {head(`{"alg":256}`), ErrMalformed},
		"kid is an object":                   {head(`{"alg":"RS256","kid":{}}`), ErrMalformed},
		"kid is huge":                        {head(`{"alg":"RS256","kid":"` + strings.Repeat("k", 300) + `"}`), ErrMalformed},
		"none":                               {head(`{"alg":"none"}`), ErrForbidden},
		"none in other case":                 {head(`{"alg":"NoNe"}`), ErrForbidden},
		"none without signature":             {b64(`{"alg":"none"}`) + "." + parts[1] + ".", ErrForbidden},
		"good algorithm without signature":   {parts[0] + "." + parts[1] + ".", ErrForbidden},
		"HMAC with the public key as PEM":    {mac(`{"alg":"HS256"}`, pemOf(t, &k.rsa.PublicKey)), ErrForbidden},
		"lower-case algorithm":               {head(`{"alg":"rs256"}`), ErrForbidden},
		"algorithm outside the list":         {head(`{"alg":"ES256K"}`), ErrForbidden},
		"embedded key":                       {head(`{"alg":"RS256","jwk":{}}`), ErrForbidden},
		"key by URL":                         {head(`{"alg":"RS256","jku":"https://evil.example/"}`), ErrForbidden},
		"certificate by URL":                 {head(`{"alg":"RS256","x5u":"https://evil.example/"}`), ErrForbidden},
		"embedded certificate":               {head(`{"alg":"RS256","x5c":[]}`), ErrForbidden},
		"unknown critical extension":         {head(`{"alg":"RS256","crit":["x"],"x":1}`), ErrForbidden},
		"payload not encoded":                {head(`{"alg":"RS256","b64":false,"crit":["b64"]}`), ErrForbidden},
		"signed by a stranger":               {string(sign(t, "RS256", k.otherRSA, "r", "{}")), ErrSignature},
		"RSA signature under an EC header":   {head(`{"alg":"ES256"}`), ErrSignature},
		"RSA signature under EdDSA":          {head(`{"alg":"EdDSA"}`), ErrSignature},
		"signature of another token":         {parts[0] + "." + b64(`{"a":2}`) + "." + parts[2], ErrSignature},
		"truncated signature":                {good[:len(good)-2], ErrSignature},
		"zero signature for an EC key":       {b64(`{"alg":"ES256"}`) + "." + parts[1] + "." + b64(strings.Repeat("\x00", 64)), ErrSignature},
		"larger than any notification":       {strings.Repeat("a", maxToken) + good, ErrMalformed},
		"header larger than any header":      {head(`{"alg":"RS256","x":"` + strings.Repeat("x", maxHeader) + `"}`), ErrMalformed},
		"PKCS1 signature under a PSS header": {head(`{"alg":"PS256"}`), ErrSignature},
	}
	for name, c := range cases {
		if _, _, err := VerifyCompact([]byte(c.token), allKeys(), Algorithms()); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestTheKeyDecidesWhichAlgorithmsFitIt(t *testing.T) {
	k := makeKeys()
	for _, c := range []struct {
		key  Key
		alg  string
		want bool
	}{
		{Key{Public: &k.rsa.PublicKey}, "PS512", true},
		{Key{Public: &k.rsa.PublicKey, Alg: "RS256"}, "PS256", false},
		{Key{Public: &k.p256.PublicKey}, "ES384", false},
		{Key{Public: &k.p384.PublicKey}, "ES384", true},
		{Key{Public: &k.p521.PublicKey}, "ES256", false},
		{Key{Public: &k.p521.PublicKey}, "ES512", true},
		{Key{Public: &k.p384.PublicKey}, "ES512", false},
		{Key{Public: k.ed.Public()}, "EdDSA", true},
		{Key{Public: []byte("secret")}, "HS256", false},
		{Key{}, "none", false},
	} {
		if got := c.key.Fits(c.alg); got != c.want {
			t.Errorf("%T with %s: %v", c.key.Public, c.alg, got)
		}
	}
}

func TestAnAlgorithmMustBeAllowedByTheCaller(t *testing.T) {
	k := makeKeys()
	token := sign(t, "RS256", k.rsa, "", "{}")
	if _, _, err := VerifyCompact(token, allKeys(), []string{"ES256"}); !errors.Is(err, ErrForbidden) {
		t.Errorf("got %v", err)
	}
	if _, _, err := VerifyCompact([]byte(b64(`{"alg":"HS256"}`)+".e30.QUFB"), allKeys(), []string{"HS256"}); !errors.Is(err, ErrForbidden) {
		t.Errorf("a caller allowed HMAC: got %v", err)
	}
}

func FuzzVerifyCompact(f *testing.F) {
	k := makeKeys()
	f.Add(sign(f, "ES256", k.p256, "e2", `{"iat":1}`))
	f.Add(sign(f, "EdDSA", k.ed, "", `{}`))
	f.Add([]byte("e30.e30.e30"))
	f.Add([]byte(b64(`{"alg":"RS256","crit":[]}`) + ".."))
	keys := allKeys()
	f.Fuzz(func(t *testing.T, token []byte) {
		payload, h, err := VerifyCompact(token, keys, Algorithms())
		if err == nil && (h.Alg == "" || bytes.Count(token, []byte(".")) != 2) {
			t.Fatalf("accepted %q as %q", token, payload)
		}
	})
}
