package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// Bounds of a key document. NIST SP 800-131A allows RSA from 2048 bits; above
// 8192 one verification costs a small gateway too much.
const (
	maxKeyBytes = 64 << 10
	maxKeys     = 16
	minRSABits  = 2048
	maxRSABits  = 8192
)

// Key is one public key. Alg, when the document names one, binds the key to
// that algorithm.
type Key struct {
	ID     string
	Alg    string
	Public any // *rsa.PublicKey, *ecdsa.PublicKey (P-256, P-384, P-521) or ed25519.PublicKey
}

// curves are those that we verify with, and the only algorithm of each (RFC
// 7518 section 3.4).
var curves = map[elliptic.Curve]string{elliptic.P256(): "ES256", elliptic.P384(): "ES384", elliptic.P521(): "ES512"}

// Algorithms is every algorithm this package can verify: asymmetric ones
// only. "none" and HMAC are not in it and cannot be configured in.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
}

// Fits tells whether the key may be used with the algorithm: the type of key
// decides, so that no token can choose how its key is read.
func (k Key) Fits(alg string) bool {
	if k.Alg != "" && general(k.Alg) != general(alg) {
		return false
	}
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		switch alg {
		case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
			return true
		}
	case *ecdsa.PublicKey:
		return alg == curves[pub.Curve]
	case ed25519.PublicKey:
		return general(alg) == "EdDSA"
	}
	return false
}

// general is the older name of an algorithm that RFC 9864 names fully: with an
// Ed25519 key the two are the same.
func general(alg string) string {
	if alg == "Ed25519" {
		return "EdDSA"
	}
	return alg
}

// Thumbprint is the hex SHA-256 of the key in PKIX form: its identity,
// whatever it is called.
func (k Key) Thumbprint() string {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// ParseKeys reads a published key document: PEM (public key, RSA public key
// or certificate, one or several), a JWK, a JWKS, or JSON that wraps one of
// them in a field such as "public_key". Keys of a JWKS that cannot sign are
// skipped; a document without any usable key is an error.
func ParseKeys(raw []byte) ([]Key, error) { return ParseKeysAs(raw, FormatAuto, "") }

// checkPublic admits only the kinds and sizes that we verify with.
func checkPublic(pub any) error {
	switch p := pub.(type) {
	case *rsa.PublicKey:
		bits := p.N.BitLen()
		if bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("RSA key of %d bits: need %d to %d", bits, minRSABits, maxRSABits)
		}
		if p.E < 3 || p.E%2 == 0 {
			return fmt.Errorf("RSA key with the unsafe exponent %d", p.E)
		}
		return nil
	case *ecdsa.PublicKey:
		if curves[p.Curve] != "" {
			return nil
		}
		return fmt.Errorf("elliptic curve %s: need P-256, P-384 or P-521", p.Curve.Params().Name)
	case ed25519.PublicKey:
		if len(p) == ed25519.PublicKeySize {
			return nil
		}
		return errors.New("an Ed25519 key needs 32 bytes")
	}
	return fmt.Errorf("keys of type %T are not supported: need RSA, P-256, P-384, P-521 or Ed25519", pub)
}
