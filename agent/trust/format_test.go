package trust

import (
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestAKeyDocumentOfAnAgreedFormat(t *testing.T) {
	k := makeKeys()
	text := string(pemOf(t, &k.rsa.PublicKey))
	jwk := jose.JSONWebKey{Key: &k.p256.PublicKey, KeyID: "j"}
	set := map[string]any{"keys": []any{jwk, jose.JSONWebKey{Key: k.ed.Public(), KeyID: "e"}}}
	deep := mustJSON(t, map[string]any{"a/b": []any{1, map[string]any{"kid": "w", "m~n": text, "jwk": jwk, "set": set}}})
	for name, c := range map[string]struct {
		doc, format, pointer string
		ids                  string // "-": refused
	}{
		"auto":                          {text, "auto", "", ""},
		"no format is auto":             {mustJSON(t, set), "", "", "j,e"},
		"pem":                           {text, "pem", "", ""},
		"pem where JSON comes":          {mustJSON(t, map[string]any{"public_key": text}), "pem", "", "-"},
		"jwk":                           {mustJSON(t, jwk), "jwk", "", "j"},
		"jwk where PEM comes":           {text, "jwk", "", "-"},
		"jwk where a set comes":         {mustJSON(t, set), "jwk", "", "-"},
		"jwks":                          {mustJSON(t, set), "jwks", "", "j,e"},
		"jwks where one key comes":      {mustJSON(t, jwk), "jwks", "", "-"},
		"jwks where PEM comes":          {text, "jwks", "", "-"},
		"json":                          {mustJSON(t, map[string]any{"public_key": text}), "json", "", ""},
		"json where PEM comes":          {text, "json", "", "-"},
		"pem by pointer, escaped names": {deep, "pem", "/a~1b/1/m~0n", "w"},
		"jwk by pointer":                {deep, "jwk", "/a~1b/1/jwk", "j"},
		"jwks by pointer":               {deep, "jwks", "/a~1b/1/set", "j,e"},
		"auto by pointer":               {deep, "auto", "/a~1b/1/set/keys/1", "e"},
		"json by pointer":               {deep, "json", "/a~1b/1/jwk", "j"},
		"pem by pointer to an object":   {deep, "pem", "/a~1b/1/jwk", "-"},
		"pointer to nothing":            {deep, "auto", "/a~1b/1/x", "-"},
		"pointer past the end":          {deep, "auto", "/a~1b/2", "-"},
		"pointer with a leading zero":   {deep, "auto", "/a~1b/01/jwk", "-"},
		"pointer behind the last":       {deep, "auto", "/a~1b/-", "-"},
		"pointer through a text":        {deep, "auto", "/a~1b/1/m~0n/x", "-"},
		"pointer to a number":           {deep, "auto", "/a~1b/0", "-"},
		"pointer without a slash":       {deep, "auto", "a", "-"},
		"pointer with a lone tilde":     {deep, "auto", "/a~b", "-"},
		"pointer into PEM":              {text, "pem", "/key", "-"},
		"pointer of many steps":         {deep, "auto", strings.Repeat("/a", maxSteps+1), "-"},
		"a format that is not one":      {text, "x509", "", "-"},
		"a key given twice":             {`{"k":"a","k":"b"}`, "pem", "/k", "-"},
		"the private half":              {mustJSON(t, jose.JSONWebKey{Key: k.p256}), "jwk", "", "-"},
	} {
		keys, err := ParseKeysAs([]byte(c.doc), c.format, c.pointer)
		ids := make([]string, len(keys))
		for i, key := range keys {
			ids[i] = key.ID
		}
		got := strings.Join(ids, ",")
		if err != nil {
			got = "-"
		}
		if got != c.ids {
			t.Errorf("%s: ids %q (%v), want %q", name, got, err, c.ids)
		}
	}
}

func FuzzParseKeysAs(f *testing.F) {
	k := makeKeys()
	f.Add(pemOf(f, &k.p256.PublicKey), "pem", "")
	f.Add([]byte(`{"a":[{"kty":"OKP"}]}`), "jwk", "/a/0")
	f.Add([]byte(`{"~/":"`+string(pem.EncodeToMemory(&pem.Block{Type: "X"}))+`"}`), "auto", "/~0~1")
	f.Fuzz(func(t *testing.T, doc []byte, format, pointer string) {
		keys, err := ParseKeysAs(doc, format, pointer)
		if err == nil && len(keys) == 0 {
			t.Fatalf("%q as %s gave no key and no error", doc, format)
		}
		for _, key := range keys {
			if checkPublic(key.Public) != nil {
				t.Fatalf("%q gave an unusable key", doc)
			}
		}
	})
}
