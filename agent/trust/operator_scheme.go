package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// The schemes that an operator may sign with. All but Ed25519 sign the
// SHA-256 of the canonical form.
const (
	SchemeEd25519 = "ed25519"     // RFC 8032, pure
	SchemeECDSA   = "ecdsa-p256"  // FIPS 186-5; ASN.1 DER, or r and s of 32 bytes each
	SchemeRSAPSS  = "rsa-pss"     // RFC 8017 section 8.1, MGF1 with SHA-256, salt of any length
	SchemeHMAC    = "hmac-sha256" // RFC 2104
)

// Schemes lists them.
func Schemes() []string { return []string{SchemeEd25519, SchemeECDSA, SchemeRSAPSS, SchemeHMAC} }

// Encodings lists how a signature may be written.
func Encodings() []string { return []string{"base64", "base64url", "hex"} }

const (
	minSecret = 16 // bytes; NIST SP 800-107 section 5.3.4 wants 112 bits
	maxSecret = 4 << 10
	// maxSignature bounds a signature's text: RSA of 8192 bits in hex.
	maxSignature = 2*maxRSABits/8 + 64
)

// operatorKey is one key, public or shared, under the name people see.
type operatorKey struct {
	name   string
	public any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey; nil: secret
	secret []byte
}

// parseOperatorKeys reads one key file for a scheme. Keys of other types in
// it are an error: they are not what was agreed.
func parseOperatorKeys(scheme string, raw []byte) ([]operatorKey, error) {
	if scheme == SchemeHMAC {
		secret, err := parseSecret(raw)
		if err != nil {
			return nil, err
		}
		return []operatorKey{{name: "shared secret", secret: secret}}, nil
	}
	keys, err := ParseKeys(raw)
	if err != nil {
		return nil, err
	}
	out := make([]operatorKey, len(keys))
	for i, k := range keys {
		if err := fitsScheme(scheme, k.Public); err != nil {
			return nil, err
		}
		name := k.Thumbprint()[:16]
		if k.ID != "" {
			name = fmt.Sprintf("%q (%s)", clip(k.ID), name)
		}
		out[i] = operatorKey{name: name, public: k.Public}
	}
	return out, nil
}

// fitsScheme holds a key's type against the scheme.
func fitsScheme(scheme string, public any) error {
	ok := false
	switch p := public.(type) {
	case *rsa.PublicKey:
		ok = scheme == SchemeRSAPSS
	case *ecdsa.PublicKey:
		ok = scheme == SchemeECDSA && p.Curve == elliptic.P256()
	case ed25519.PublicKey:
		ok = scheme == SchemeEd25519
	}
	if !ok {
		return fmt.Errorf("a key of type %T is no key for %s", public, scheme)
	}
	return nil
}

// parseSecret reads a shared secret: its bytes as they are, or after "hex:"
// or "base64:" what they stand for. White space around it does not count. A
// key document is refused: a public key is no secret.
func parseSecret(raw []byte) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	if bytes.HasPrefix(raw, []byte("{")) || bytes.Contains(raw, []byte("-----BEGIN")) {
		return nil, errors.New("a key document, not a shared secret")
	}
	var err error
	text := string(raw)
	if after, ok := strings.CutPrefix(text, "hex:"); ok {
		raw, err = hex.DecodeString(after)
	} else if after, ok := strings.CutPrefix(text, "base64:"); ok {
		raw, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(after, "="))
	}
	switch {
	case err != nil:
		return nil, errors.New("a shared secret that is not written as its prefix says")
	case len(raw) < minSecret || len(raw) > maxSecret:
		return nil, fmt.Errorf("a shared secret of %d bytes: need %d to %d", len(raw), minSecret, maxSecret)
	}
	return raw, nil
}

// verifies tells whether the key confirms the signature of the message.
func (k operatorKey) verifies(scheme string, message, sig []byte) bool {
	sum := sha256.Sum256(message)
	switch scheme {
	case SchemeEd25519:
		p, ok := k.public.(ed25519.PublicKey)
		return ok && len(sig) == ed25519.SignatureSize && ed25519.Verify(p, message, sig)
	case SchemeECDSA:
		p, ok := k.public.(*ecdsa.PublicKey)
		return ok && verifyECDSA(p, sum[:], sig)
	case SchemeRSAPSS:
		p, ok := k.public.(*rsa.PublicKey)
		return ok && rsa.VerifyPSS(p, crypto.SHA256, sum[:], sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
	case SchemeHMAC:
		if len(k.secret) < minSecret {
			return false
		}
		m := hmac.New(sha256.New, k.secret)
		m.Write(message)
		return hmac.Equal(m.Sum(nil), sig)
	}
	return false
}

// verifyECDSA takes both ways of writing the pair. 64 bytes are tried as r
// and s first; a DER text of that length is possible though rare.
func verifyECDSA(p *ecdsa.PublicKey, sum, sig []byte) bool {
	if len(sig) == 64 {
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		if ecdsa.Verify(p, sum, r, s) {
			return true
		}
	}
	return ecdsa.VerifyASN1(p, sum, sig)
}

// decodeSignature reads a signature's text; padding may be there or not.
func decodeSignature(encoding, text string) ([]byte, error) {
	// PEM and MIME break lines; an encoder's line breaks say nothing.
	text = strings.NewReplacer("\r", "", "\n", "", " ", "", "\t", "").Replace(text)
	if len(text) > maxSignature {
		return nil, fmt.Errorf("it has %d characters, more than %d", len(text), maxSignature)
	}
	var (
		raw []byte
		err error
	)
	bare := strings.TrimRight(text, "=")
	switch {
	case len(text)-len(bare) > 2:
		err = errors.New("too much padding")
	case encoding == "base64":
		raw, err = base64.RawStdEncoding.DecodeString(bare)
	case encoding == "base64url":
		raw, err = base64.RawURLEncoding.DecodeString(bare)
	case encoding == "hex":
		raw, err = hex.DecodeString(text)
	default:
		err = errors.New("no such encoding")
	}
	if err != nil || len(raw) == 0 {
		return nil, fmt.Errorf("it is not %s, as was agreed", encoding)
	}
	return raw, nil
}

// encodeSignature writes a signature.
func encodeSignature(encoding string, sig []byte) string {
	switch encoding {
	case "base64url":
		return base64.RawURLEncoding.EncodeToString(sig)
	case "hex":
		return hex.EncodeToString(sig)
	}
	return base64.StdEncoding.EncodeToString(sig)
}
