package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestKeyDocumentsInEveryForm(t *testing.T) {
	k := makeKeys()
	rsaPEM := string(pemOf(t, &k.rsa.PublicKey))
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey)}))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.p256.PublicKey, k.p256)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	jwk := func(pub any, kid string) jose.JSONWebKey { return jose.JSONWebKey{Key: pub, KeyID: kid, Use: "sig"} }
	set := map[string]any{"keys": []any{
		jwk(&k.rsa.PublicKey, "a"), jwk(k.ed.Public(), "b"), jwk(&k.p384.PublicKey, "c"), jwk(&k.p521.PublicKey, "d"),
		map[string]any{"kty": "oct", "k": "c2VjcmV0"}, map[string]any{"kty": "new"},
	}}
	block, _ := pem.Decode([]byte(rsaPEM))
	cases := map[string]struct {
		doc string
		ids string
	}{
		"PEM":                       {rsaPEM, ""},
		"PEM with blanks around":    {"\n  " + rsaPEM + "\n\n", ""},
		"PEM of PKCS1":              {pkcs1, ""},
		"PEM certificate":           {cert, ""},
		"two PEM blocks":            {rsaPEM + cert, ","},
		"JSON public_key":           {mustJSON(t, map[string]any{"public_key": rsaPEM}), ""},
		"JSON publicKey with kid":   {mustJSON(t, map[string]any{"publicKey": rsaPEM, "kid": "k1"}), "k1"},
		"JSON text":                 {mustJSON(t, rsaPEM), ""},
		"JSON nested":               {mustJSON(t, map[string]any{"data": map[string]any{"key": rsaPEM}}), ""},
		"JSON list of PEM":          {mustJSON(t, map[string]any{"keys": []any{rsaPEM}}), ""},
		"JSON bare list":            {mustJSON(t, []any{map[string]any{"id": "k2", "public_key": rsaPEM}}), "k2"},
		"JSON PEM escaped twice":    {mustJSON(t, map[string]any{"public_key": strings.ReplaceAll(rsaPEM, "\n", `\n`)}), ""},
		"base64 of DER":             {base64.StdEncoding.EncodeToString(block.Bytes), ""},
		"JWK RSA":                   {mustJSON(t, jwk(&k.rsa.PublicKey, "j1")), "j1"},
		"JWK P-256":                 {mustJSON(t, jwk(&k.p256.PublicKey, "j2")), "j2"},
		"JWK Ed25519":               {mustJSON(t, jwk(k.ed.Public(), "j3")), "j3"},
		"JWK wrapped":               {mustJSON(t, map[string]any{"public_key": jwk(&k.rsa.PublicKey, "j4")}), "j4"},
		"JWKS skips what is no use": {mustJSON(t, set), "a,b,c,d"},
	}
	for name, c := range cases {
		keys, err := ParseKeys([]byte(c.doc))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ids := make([]string, len(keys))
		for i, key := range keys {
			ids[i] = key.ID
		}
		if got := strings.Join(ids, ","); got != c.ids {
			t.Errorf("%s: ids %q, want %q", name, got, c.ids)
		}
	}
}

func TestKeyDocumentsThatAreRefused(t *testing.T) {
	k := makeKeys()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k.rsa)}))
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	size := elliptic.P256().Params().BitSize / 8
	off := base64.RawURLEncoding.EncodeToString(make([]byte, size))
	for name, doc := range map[string]string{
		"empty":                "",
		"HTML":                 "<html>login</html>",
		"damaged PEM":          string(pemOf(t, &k.rsa.PublicKey))[:200],
		"private key":          private,
		"private JWK":          mustJSON(t, jose.JSONWebKey{Key: k.p256}),
		"RSA below 2048 bits":  string(pemOf(t, &weak.PublicKey)),
		"P-224":                string(pemOf(t, &p224.PublicKey)),
		"no key in it":         `{"detail":"not found"}`,
		"key given twice":      `{"public_key":"a","public_key":"b"}`,
		"shared secret":        `{"kty":"oct","k":"c2VjcmV0"}`,
		"JWK for encryption":   mustJSON(t, jose.JSONWebKey{Key: &k.rsa.PublicKey, Use: "enc"}),
		"point off the curve":  `{"kty":"EC","crv":"P-256","x":"` + off + `","y":"` + off + `"}`,
		"RSA exponent of one":  `{"kty":"RSA","e":"AQ","n":"` + base64.RawURLEncoding.EncodeToString(k.rsa.N.Bytes()) + `"}`,
		"short Ed25519":        `{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`,
		"wrapped without end":  strings.Repeat(`{"data":`, 20) + `1` + strings.Repeat(`}`, 20),
		"nested without bound": strings.Repeat(`[`, 5000) + strings.Repeat(`]`, 5000),
		"larger than any":      strings.Repeat(" ", maxKeyBytes+1),
		"null":                 `[null]`,
	} {
		if keys, err := ParseKeys([]byte(doc)); err == nil {
			t.Errorf("%s: accepted as %d keys", name, len(keys))
		}
	}
}

func FuzzParseKeys(f *testing.F) {
	k := makeKeys()
	f.Add(pemOf(f, &k.p256.PublicKey))
	f.Add([]byte(mustJSON(f, jose.JSONWebKey{Key: k.ed.Public(), KeyID: "x"})))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Add([]byte(`{"data":{"public_key":"-----BEGIN PUBLIC KEY-----"}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		keys, err := ParseKeys(doc)
		if err != nil {
			return
		}
		for _, key := range keys {
			if checkPublic(key.Public) != nil || key.Thumbprint() == "" {
				t.Fatalf("%q gave an unusable key", doc)
			}
		}
	})
}
