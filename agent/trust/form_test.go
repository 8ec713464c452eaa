package trust

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// forms writes one signed token down in every form.
func forms(token []byte) map[string]Signed {
	p := strings.Split(string(token), ".")
	payload, _ := base64.RawURLEncoding.DecodeString(p[1])
	one := `{"protected":"` + p[0] + `","signature":"` + p[2] + `"}`
	return map[string]Signed{
		"compact":                {Form: FormCompact, Token: token},
		"flattened":              JSON([]byte(`{"payload":"` + p[1] + `",` + one[1:])),
		"general":                JSON([]byte(`{"payload":"` + p[1] + `","signatures":[` + one + `]}`)),
		"detached compact":       Detached([]byte(p[0]+".."+p[2]), payload),
		"detached in JSON":       Detached([]byte(one), payload),
		"detached, general JSON": Detached([]byte(`{"signatures":[`+one+`]}`), payload),
	}
}

func TestEveryFormVerifiesWhatAnotherLibrarySigned(t *testing.T) {
	k := makeKeys()
	for alg, key := range map[string]any{"RS256": k.rsa, "PS512": k.rsa, "ES384": k.p384, "EdDSA": k.ed} {
		for name, s := range forms(sign(t, alg, key, "r", `{"a":1}`)) {
			payload, h, err := VerifyForm(s, allKeys(), Algorithms())
			if err != nil || string(payload) != `{"a":1}` || h.Alg != alg || h.KeyID != "r" {
				t.Errorf("%s %s: %q %+v %v", alg, name, payload, h, err)
			}
		}
	}
}

func TestWhatGoJoseWritesInJSONAndDetachedIsUnderstood(t *testing.T) {
	k := makeKeys()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.p256}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	apart, err := jws.DetachedCompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	multi, err := jose.NewMultiSigner([]jose.SigningKey{{Algorithm: jose.ES256, Key: k.p256}, {Algorithm: jose.ES512, Key: k.p521}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	several, err := multi.Sign([]byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Signed{
		"flattened": JSON([]byte(jws.FullSerialize())), "general": JSON([]byte(several.FullSerialize())),
		"detached": Detached([]byte(apart), []byte(`{"a":1}`)),
	} {
		if payload, _, err := VerifyForm(s, allKeys(), []string{"ES256"}); err != nil || string(payload) != `{"a":1}` {
			t.Errorf("%s: %q %v", name, payload, err)
		}
	}
}

func TestEveryFormRefusesWhatTheCompactOneRefuses(t *testing.T) {
	k := makeKeys()
	p := strings.Split(string(sign(t, "RS256", k.rsa, "", `{"a":1}`)), ".")
	head := func(h string) []byte { return []byte(b64(h) + "." + p[1] + "." + p[2]) }
	m := hmac.New(sha256.New, pemOf(t, &k.rsa.PublicKey))
	m.Write([]byte(b64(`{"alg":"HS256"}`) + "." + p[1]))
	mac := b64(`{"alg":"HS256"}`) + "." + p[1] + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	for name, c := range map[string]struct {
		token []byte
		want  error
	}{
		"none":                       {head(`{"alg":"none"}`), ErrForbidden},
		"None":                       {head(`{"alg":"None"}`), ErrForbidden},
		"HMAC with the public key":   {[]byte(mac), ErrForbidden},
		"unknown critical header":    {head(`{"alg":"RS256","crit":["x"],"x":1}`), ErrForbidden},
		"payload not encoded":        {head(`{"alg":"RS256","b64":false,"crit":["b64"]}`), ErrForbidden},
		"payload not encoded, alone": {head(`{"alg":"RS256","b64":false}`), ErrForbidden},
		"embedded key":               {head(`{"alg":"RS256","jwk":{}}`), ErrForbidden},
		"key by address":             {head(`{"alg":"RS256","jku":"https://evil.example"}`), ErrForbidden},
		"certificate by address":     {head(`{"alg":"RS256","x5u":"https://evil.example"}`), ErrForbidden},
		"embedded certificate":       {head(`{"alg":"RS256","x5c":[]}`), ErrForbidden},
		"no signature":               {[]byte(p[0] + "." + p[1] + "."), ErrForbidden},
		"two algorithms":             {head(`{"alg":"none","alg":"RS256"}`), ErrMalformed},
		"no algorithm":               {head(`{}`), ErrMalformed},
		"kid is null":                {head(`{"alg":"RS256","kid":null}`), ErrMalformed},
		"algorithm of another key":   {head(`{"alg":"ES256"}`), ErrSignature},
		"signed by a stranger":       {sign(t, "RS256", k.otherRSA, "r", `{"a":1}`), ErrSignature},
		"header altered":             {head(`{"alg":"RS256","a":1}`), ErrSignature},
		"signature altered":          {flip([]byte(strings.Join(p, ".")), 2), ErrSignature},
		"payload altered":            {flip([]byte(strings.Join(p, ".")), 1), ErrSignature},
	} {
		for form, s := range forms(c.token) {
			if _, _, err := VerifyForm(s, allKeys(), Algorithms()); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: got %v, want %v", name, form, err, c.want)
			}
		}
	}
}

func TestHostileJSONForms(t *testing.T) {
	k := makeKeys()
	p := strings.Split(string(sign(t, "RS256", k.rsa, "", `{"a":1}`)), ".")
	q := strings.Split(string(sign(t, "ES256", k.p256, "", `{"a":1}`)), ".")
	unknown := []string{b64(`{"alg":"ES256K"}`), p[1], p[2]}
	part := func(p []string, more string) string {
		return `{"protected":"` + p[0] + `","signature":"` + p[2] + `"` + more + `}`
	}
	general := func(sigs ...string) Signed {
		return JSON([]byte(`{"payload":"` + p[1] + `","signatures":[` + strings.Join(sigs, ",") + `]}`))
	}
	flat := func(more string) Signed { return JSON([]byte(`{"payload":"` + p[1] + `",` + part(p, more)[1:])) }
	none := []string{b64(`{"alg":"none"}`), "", "AA"}
	for name, c := range map[string]struct {
		s    Signed
		want error
	}{
		"a member that nobody knows passes":    {flat(`,"extra":{}`), nil},
		"an unprotected kid is only a hint":    {flat(`,"header":{"kid":"nobody"}`), nil},
		"one usable among others":              {general(part(unknown, ""), part(p, "")), nil},
		"two usable":                           {general(part(p, ""), part(q, "")), ErrForbidden},
		"the same signature twice":             {general(part(p, ""), part(p, "")), ErrForbidden},
		"none usable":                          {general(part(unknown, "")), ErrForbidden},
		"a good one beside an unsigned one":    {general(part(p, ""), part(none, "")), ErrForbidden},
		"a good one beside a malformed one":    {general(part(p, ""), `{"protected":1}`), ErrMalformed},
		"no signatures":                        {general(), ErrMalformed},
		"a hundred signatures":                 {general(strings.Split(strings.Repeat(part(p, "")+"|", 99)+part(p, ""), "|")...), ErrMalformed},
		"signatures are no list":               {JSON([]byte(`{"payload":"","signatures":{}}`)), ErrMalformed},
		"general and flattened":                {JSON([]byte(`{"payload":"` + p[1] + `","signatures":[` + part(p, "") + `],` + part(p, "")[1:])), ErrMalformed},
		"payload twice":                        {flat(`,"payload":"e30"`), ErrMalformed},
		"payload twice, escaped":               {flat(`,"p\u0061yload":"e30"`), ErrMalformed},
		"names in other case do not count":     {JSON([]byte(`{"Payload":"` + p[1] + `",` + part(p, "")[1:])), ErrMalformed},
		"no payload":                           {JSON([]byte(part(p, ""))), ErrMalformed},
		"payload is null":                      {JSON([]byte(`{"payload":null,` + part(p, "")[1:])), ErrMalformed},
		"unprotected algorithm":                {flat(`,"header":{"alg":"RS256"}`), ErrMalformed},
		"unprotected algorithm alone":          {JSON([]byte(`{"payload":"e30","header":{"alg":"RS256"},` + part([]string{b64(`{}`), "", p[2]}, "")[1:])), ErrForbidden},
		"unprotected key":                      {flat(`,"header":{"jwk":{}}`), ErrForbidden},
		"unprotected address of a key":         {flat(`,"header":{"jku":"https://evil.example"}`), ErrForbidden},
		"unprotected critical header":          {flat(`,"header":{"crit":["x"]}`), ErrForbidden},
		"unprotected header is a list":         {flat(`,"header":[]`), ErrMalformed},
		"unprotected header is null":           {flat(`,"header":null`), ErrMalformed},
		"unprotected kid is a number":          {flat(`,"header":{"kid":1}`), ErrMalformed},
		"a name in both headers":               {JSON([]byte(`{"payload":"e30","header":{"typ":"x"},` + part([]string{b64(`{"alg":"RS256","typ":"x"}`), "", p[2]}, "")[1:])), ErrMalformed},
		"line break in the payload":            {JSON([]byte(`{"payload":"` + p[1] + `\n",` + part(p, "")[1:])), ErrMalformed},
		"something after it":                   {JSON([]byte(string(flat("").Token) + "{}")), ErrMalformed},
		"a compact one where JSON is agreed":   {JSON([]byte(strings.Join(p, "."))), ErrMalformed},
		"JSON where a compact one is agreed":   {Compact(flat("").Token), ErrMalformed},
		"detached with a payload inside":       {Detached(flat("").Token, []byte(`{"a":1}`)), ErrMalformed},
		"detached compact with payload inside": {Detached([]byte(strings.Join(p, ".")), []byte(`{"a":1}`)), ErrMalformed},
		"detached without its payload":         {Detached([]byte(p[0]+".."+p[2]), nil), ErrMalformed},
		"detached with too many parts":         {Detached([]byte(p[0]+".."+p[2]+".x"), []byte(`{"a":1}`)), ErrMalformed},
		"detached with one part":               {Detached([]byte(p[0]), []byte(`{"a":1}`)), ErrMalformed},
		"detached with another payload":        {Detached([]byte(p[0]+".."+p[2]), []byte(`{"a":2}`)), ErrSignature},
		"detached with a blank more":           {Detached([]byte(p[0]+".."+p[2]), []byte(`{"a":1} `)), ErrSignature},
		"detached with a huge payload":         {Detached([]byte(p[0]+".."+p[2]), make([]byte, maxToken+1)), ErrMalformed},
		"compact with a payload apart":         {Signed{Form: FormCompact, Token: []byte(strings.Join(p, ".")), Payload: []byte("x")}, ErrMalformed},
		"a form that is not one":               {Signed{Form: "xml", Token: []byte(strings.Join(p, "."))}, ErrMalformed},
	} {
		if _, _, err := VerifyForm(c.s, allKeys(), Algorithms()); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func FuzzVerifyForm(f *testing.F) {
	k := makeKeys()
	for name, s := range forms(sign(f, "ES256", k.p256, "e2", `{}`)) {
		f.Add(name[0], s.Token, s.Payload)
	}
	f.Add(byte('f'), []byte(`{"payload":"e30","signatures":[{"protected":"e30","header":{},"signature":""}]}`), []byte(nil))
	keys := allKeys()
	f.Fuzz(func(t *testing.T, form byte, token, payload []byte) {
		s := Signed{Form: Forms()[int(form)%len(Forms())], Token: token, Payload: payload}
		got, h, err := VerifyForm(s, keys, Algorithms())
		if err == nil && (h.Alg == "" || s.Form == FormJSON && !json.Valid(token) || s.Form == FormDetached && string(got) != string(payload)) {
			t.Fatalf("accepted %q as %q", token, got)
		}
	})
}

// RFC 9864 names fully what RFC 8037 called EdDSA.
func TestEd25519IsVerifiedByItsFullName(t *testing.T) {
	part := base64.RawURLEncoding.EncodeToString
	signed := part([]byte(`{"alg":"Ed25519","kid":"r"}`)) + "." + part([]byte(`{"a":1}`))
	token := []byte(signed + "." + part(ed25519.Sign(makeKeys().ed, []byte(signed))))
	if payload, _, err := VerifyForm(Compact(token), allKeys(), []string{"Ed25519"}); err != nil || string(payload) != `{"a":1}` {
		t.Errorf("%q %v", payload, err)
	}
	if _, _, err := VerifyForm(Compact(token), allKeys(), []string{"EdDSA"}); err == nil {
		t.Error("a name that is not in the list was taken")
	}
}

func TestAnEd25519KeyFitsBothNames(t *testing.T) {
	ed := makeKeys().ed.Public().(ed25519.PublicKey)
	for _, named := range []string{"", "EdDSA", "Ed25519"} {
		for alg, want := range map[string]bool{"EdDSA": true, "Ed25519": true, "Ed448": false, "ES256": false} {
			if got := (Key{Alg: named, Public: ed}).Fits(alg); got != want {
				t.Errorf("a key for %q fits %s: %v", named, alg, got)
			}
		}
	}
}
