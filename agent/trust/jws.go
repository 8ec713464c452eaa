package trust

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Bounds of a JWS: a notification is a few hundred bytes.
const (
	maxToken  = 256 << 10
	maxHeader = 8 << 10
	maxName   = 256 // bytes of an algorithm, a key's id or a type
)

// ErrMalformed: the bytes are no JWS of the form that was expected.
var ErrMalformed = errors.New("not a JWS of the expected form")

// ErrForbidden: no key could make this token acceptable, because of its
// algorithm or of what its header asks for.
var ErrForbidden = errors.New("the token is not acceptable")

// errOtherAlgorithm is an ErrForbidden that says nothing against the other
// signatures of the same message.
var errOtherAlgorithm = fmt.Errorf("%w: its algorithm is not allowed", ErrForbidden)

// ErrSignature: none of the keys confirms the signature. Another key might.
var ErrSignature = errors.New("the signature does not hold")

// Header is what we use of a verified token's header.
type Header struct {
	Alg   string
	KeyID string
	Type  string
}

// parsed is a token taken apart; nothing in it is trusted yet.
type parsed struct {
	header  Header
	signing string // what the signature covers
	payload []byte
	sig     []byte
}

// VerifyCompact checks a compact JWS (RFC 7515) against the keys, with the
// algorithms allowed, and returns the signed bytes. A key whose id the header
// names is tried first; the rest follow, since all are equally trusted.
func VerifyCompact(token []byte, keys []Key, algs []string) ([]byte, Header, error) {
	return VerifyForm(Compact(token), keys, algs)
}

// parseCompact takes the token apart and refuses what no key could mend.
func parseCompact(token []byte, algs []string) (parsed, error) {
	parts := bytes.Split(token, []byte{'.'})
	if len(parts) != 3 {
		return parsed{}, fmt.Errorf("%w: expected three parts separated by dots", ErrMalformed)
	}
	return parseParts(parts[0], parts[1], parts[2], algs)
}

// parseParts decodes header, payload and signature as they are transported.
func parseParts(header, payload, signature []byte, algs []string) (parsed, error) {
	var raw [3][]byte
	parts := [3][]byte{header, payload, signature}
	for i, name := range [3]string{"header", "payload", "signature"} {
		b, err := decodePart(parts[i])
		if err != nil {
			return parsed{}, fmt.Errorf("%w: the %s %w", ErrMalformed, name, err)
		}
		raw[i] = b
	}
	h, err := parseHeader(raw[0], algs)
	if err != nil {
		return parsed{}, err
	}
	if len(raw[2]) == 0 {
		return parsed{}, fmt.Errorf("%w: it has no signature", ErrForbidden)
	}
	return parsed{header: h, signing: string(header) + "." + string(payload), payload: raw[1], sig: raw[2]}, nil
}

// decodePart is strict base64url without padding. The standard decoder skips
// line breaks; here two different texts must never decode to the same bytes.
func decodePart(part []byte) ([]byte, error) {
	if bytes.ContainsAny(part, "\r\n") {
		return nil, errors.New("holds a line break")
	}
	out := make([]byte, base64.RawURLEncoding.DecodedLen(len(part)))
	n, err := base64.RawURLEncoding.Strict().Decode(out, part)
	if err != nil {
		return nil, errors.New("is not base64url without padding")
	}
	return out[:n], nil
}

// forbidden are header parameters that would let a token bring its own key
// or its own rules, and what they would ask for.
var forbidden = [...]struct{ name, asks string }{
	{"jwk", "brings its own key"},
	{"jku", "brings the address of its own key"},
	{"x5u", "brings the address of its own certificate"},
	{"x5c", "brings its own certificate"},
	{"b64", "asks for a payload that is not encoded (RFC 7797), which is not supported"},
	{"crit", "asks for an extension that is not supported"},
	{"zip", "asks for compression, which is not supported"},
}

func checkNames(fields map[string]json.RawMessage) error {
	for _, f := range forbidden {
		if _, ok := fields[f.name]; ok {
			return fmt.Errorf("%w: its header has %q, which %s", ErrForbidden, f.name, f.asks)
		}
	}
	return nil
}

func parseHeader(raw []byte, algs []string) (Header, error) {
	if len(raw) > maxHeader {
		return Header{}, fmt.Errorf("%w: the header has more than %d bytes", ErrMalformed, maxHeader)
	}
	if err := UniqueKeys(raw); err != nil {
		return Header{}, fmt.Errorf("%w: the header is %w", ErrMalformed, err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return Header{}, fmt.Errorf("%w: the header is not a JSON object", ErrMalformed)
	}
	if err := checkNames(fields); err != nil {
		return Header{}, err
	}
	var h Header
	for name, to := range map[string]*string{"alg": &h.Alg, "kid": &h.KeyID, "typ": &h.Type} {
		v, given := fields[name]
		if given && (json.Unmarshal(v, to) != nil || v[0] != '"' || len(*to) > maxName) {
			return Header{}, fmt.Errorf("%w: the header's %s is not a short text", ErrMalformed, name)
		}
	}
	switch {
	case h.Alg == "":
		return Header{}, fmt.Errorf("%w: the header names no algorithm", ErrMalformed)
	case strings.EqualFold(h.Alg, "none"):
		return Header{}, fmt.Errorf("%w: it is not signed (algorithm %q)", ErrForbidden, h.Alg)
	case !slices.Contains(algs, h.Alg) || !slices.Contains(Algorithms(), h.Alg):
		return Header{}, fmt.Errorf("%w (%q)", errOtherAlgorithm, clip(h.Alg))
	}
	return h, nil
}

// methodOf is the library's method, with the salt of PSS as long as the hash
// (RFC 7518 section 3.5).
func methodOf(alg string) jwt.SigningMethod {
	method := jwt.GetSigningMethod(general(alg))
	if pss, ok := method.(*jwt.SigningMethodRSAPSS); ok {
		strict := *pss
		strict.VerifyOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: pss.Hash}
		return &strict
	}
	return method
}

// verify tries the fitting keys, the named one first.
func (c parsed) verify(keys []Key) ([]byte, Header, error) {
	method := methodOf(c.header.Alg)
	if method == nil {
		return nil, Header{}, fmt.Errorf("%w: algorithm %q is not available", ErrForbidden, c.header.Alg)
	}
	fitting := 0
	for _, named := range []bool{true, false} {
		for _, k := range keys {
			if !k.Fits(c.header.Alg) || named != (c.header.KeyID != "" && k.ID == c.header.KeyID) {
				continue
			}
			fitting++
			if method.Verify(c.signing, c.sig, k.Public) == nil {
				return c.payload, c.header, nil
			}
		}
	}
	if fitting == 0 {
		return nil, Header{}, fmt.Errorf("%w: none of %d keys is of a type for %s", ErrSignature, len(keys), c.header.Alg)
	}
	return nil, Header{}, fmt.Errorf("%w: checked with %d keys for %s", ErrSignature, fitting, c.header.Alg)
}
