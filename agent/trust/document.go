package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// wrappers are the field names in which publishers are seen to put a key,
// in the order they are tried.
var wrappers = [...]string{"public_key", "publicKey", "public-key", "pem", "key", "certificate", "cert", "data", "value", "result"}

// parseValue looks for keys in a JSON value; four levels hold every wrapping
// seen ({"data": {"keys": [{…}]}}).
func parseValue(v any, id string, depth int) ([]Key, error) {
	if depth > 4 {
		return nil, nil
	}
	switch v := v.(type) {
	case string:
		return parseText(v, id)
	case []any:
		return parseList(v, depth)
	case map[string]any:
		id = idOf(v, id)
		if _, ok := v["kty"]; ok {
			k, err := parseJWK(v)
			if err != nil {
				return nil, err
			}
			return []Key{k}, nil
		}
		if list, ok := v["keys"].([]any); ok {
			return parseList(list, depth)
		}
		for _, name := range wrappers {
			if inner, ok := v[name]; ok {
				return parseValue(inner, id, depth+1)
			}
		}
	}
	return nil, nil
}

// idOf is the id that an object gives to the key in it.
func idOf(object map[string]any, otherwise string) string {
	for _, name := range []string{"kid", "key_id", "id"} {
		if s, ok := object[name].(string); ok && len(s) <= maxName {
			return s
		}
	}
	return otherwise
}

// parseList reads the keys of a set. RFC 7517 section 5: what cannot be used
// is skipped; the last reason is told when nothing is left.
func parseList(list []any, depth int) ([]Key, error) {
	if len(list) > 4*maxKeys {
		return nil, fmt.Errorf("the key document lists %d keys, more than %d", len(list), 4*maxKeys)
	}
	var keys []Key
	var skipped error
	for _, item := range list {
		found, err := parseValue(item, "", depth+1)
		if err != nil {
			skipped = err
			continue
		}
		keys = append(keys, found...)
	}
	if len(keys) == 0 && skipped != nil {
		return nil, skipped
	}
	return keys, nil
}

// parseText reads PEM, or the bare base64 of a PKIX key.
func parseText(text, id string) ([]Key, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "-----BEGIN") {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errors.New("the key is neither PEM, nor a JWK, nor base64 of a public key")
		}
		pub, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, fmt.Errorf("the key is not a PKIX public key: %w", err)
		}
		return oneKey(pub, id)
	}
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, `\n`, "\n") // escaped once too often
	}
	var keys []Key
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		pub, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		found, err := oneKey(pub, id)
		if err != nil {
			return nil, err
		}
		keys = append(keys, found...)
	}
	if len(keys) == 0 {
		return nil, errors.New("the PEM text is damaged: no complete block in it")
	}
	return keys, nil
}

func oneKey(pub any, id string) ([]Key, error) {
	if err := checkPublic(pub); err != nil {
		return nil, err
	}
	return []Key{{ID: id, Public: pub}}, nil
}

// parseBlock reads one PEM block. A certificate only carries the key: it was
// fetched from the market over verified TLS, which is what it is trusted for.
func parseBlock(b *pem.Block) (any, error) {
	switch b.Type {
	case "PUBLIC KEY":
		pub, err := x509.ParsePKIXPublicKey(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM public key: %w", err)
		}
		return pub, nil
	case "RSA PUBLIC KEY":
		pub, err := x509.ParsePKCS1PublicKey(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM RSA public key: %w", err)
		}
		return pub, nil
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM certificate: %w", err)
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("PEM block %q is not a public key", clip(b.Type))
}

// parseJWK reads one JSON Web Key (RFC 7517, 7518 section 6, 8037).
func parseJWK(m map[string]any) (Key, error) {
	text := func(name string) string { s, _ := m[name].(string); return s }
	k := Key{ID: text("kid"), Alg: text("alg")}
	if len(k.ID) > 256 || len(k.Alg) > 32 {
		return k, errors.New("JWK with an oversized kid or alg")
	}
	if use := text("use"); use != "" && use != "sig" {
		return k, fmt.Errorf("JWK for use %q is not for signatures", clip(use))
	}
	if ops, given := m["key_ops"]; given {
		list, _ := ops.([]any)
		if !slices.Contains(list, any("verify")) {
			return k, errors.New("JWK whose key_ops do not allow to verify")
		}
	}
	if _, private := m["d"]; private {
		return k, errors.New("JWK holds a private key: it must not be published, and is not trusted")
	}
	switch text("kty") {
	case "RSA":
		n, errN := jwkNumber(text("n"))
		e, errE := jwkNumber(text("e"))
		if errN != nil || errE != nil || !e.IsInt64() || e.Int64() > 1<<31-1 {
			return k, errors.New("RSA JWK with a bad modulus or exponent")
		}
		k.Public = &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		pub, err := jwkPoint(text("crv"), text("x"), text("y"))
		if err != nil {
			return k, err
		}
		k.Public = pub
	case "OKP":
		x, err := base64.RawURLEncoding.DecodeString(text("x"))
		if err != nil || text("crv") != "Ed25519" {
			return k, errors.New("OKP JWK: need curve Ed25519 and x")
		}
		k.Public = ed25519.PublicKey(x)
	default:
		return k, fmt.Errorf("JWK of type %q is not supported", clip(text("kty")))
	}
	return k, checkPublic(k.Public)
}

func jwkNumber(s string) (*big.Int, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) == 0 || len(raw) > maxRSABits/8+1 {
		return nil, errors.New("not a base64url number")
	}
	return new(big.Int).SetBytes(raw), nil
}

// jwkPoint reads a point and checks that it lies on its curve.
func jwkPoint(crv, x, y string) (*ecdsa.PublicKey, error) {
	var curve elliptic.Curve
	switch crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("EC JWK on curve %q: need P-256, P-384 or P-521", clip(crv))
	}
	size := (curve.Params().BitSize + 7) / 8
	rawX, errX := base64.RawURLEncoding.DecodeString(x)
	rawY, errY := base64.RawURLEncoding.DecodeString(y)
	if errX != nil || errY != nil || len(rawX) != size || len(rawY) != size {
		return nil, fmt.Errorf("EC JWK: x and y need %d bytes each", size)
	}
	point := append(append([]byte{4}, rawX...), rawY...)
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("EC JWK: %w", err)
	}
	return pub, nil
}
