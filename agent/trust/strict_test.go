package trust

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
)

// PSS signs with a salt as long as the hash (RFC 7518 section 3.5), and no other.
func TestTheSaltOfPSSIsAsLongAsTheHash(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signing := b64([]byte(`{"alg":"PS256"}`)) + "." + b64([]byte(`{}`))
	sum := sha256.Sum256([]byte(signing))
	for salt, good := range map[int]bool{32: true, 0: false, 20: false, 64: false} {
		opts := &rsa.PSSOptions{SaltLength: salt}
		if salt == 0 {
			continue // in Go, zero asks for the longest
		}
		sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], opts)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = VerifyCompact([]byte(signing+"."+b64(sig)), []Key{{Public: &key.PublicKey}}, []string{"PS256"})
		if (err == nil) != good {
			t.Errorf("a salt of %d bytes: %v", salt, err)
		}
	}
}

// A JWK says what it is for.
func TestAJWKThatDoesNotVerifyIsNotUsed(t *testing.T) {
	const x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	for more, good := range map[string]bool{``: true, `,"key_ops":["verify"]`: true, `,"key_ops":["sign","verify"]`: true, `,"use":"sig"`: true,
		`,"key_ops":["encrypt"]`: false, `,"key_ops":[]`: false, `,"key_ops":"verify"`: false, `,"use":"enc"`: false} {
		_, err := ParseKeys([]byte(fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q%s}`, x, more)))
		if (err == nil) != good {
			t.Errorf("%s: %v", more, err)
		}
	}
}
