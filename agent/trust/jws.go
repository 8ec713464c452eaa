package trust

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// Bounds of a compact JWS: a notification is a few hundred bytes.
const (
	maxToken  = 256 << 10
	maxHeader = 8 << 10
)

// ErrMalformed: the bytes are no compact JWS.
var ErrMalformed = errors.New("not a compact JWS")

// ErrForbidden: no key could make this token acceptable, because of its
// algorithm or of what its header asks for.
var ErrForbidden = errors.New("the token is not acceptable")

// ErrSignature: none of the keys confirms the signature. Another key might.
var ErrSignature = errors.New("the signature does not hold")

// Header is what we use of a verified token's header.
type Header struct {
	Alg   string
	KeyID string
	Type  string
}

// compact is a token taken apart; nothing in it is trusted yet.
type compact struct {
	header  Header
	signing string // what the signature covers
	payload []byte
	sig     []byte
}

// VerifyCompact checks a compact JWS (RFC 7515) against the keys, with the
// algorithms allowed, and returns the signed bytes. A key whose id the header
// names is tried first; the rest follow, since all are equally trusted.
func VerifyCompact(token []byte, keys []Key, algs []string) ([]byte, Header, error) {
	c, err := parseCompact(token, algs)
	if err != nil {
		return nil, Header{}, err
	}
	return c.verify(keys)
}

// parseCompact takes the token apart and refuses what no key could mend.
func parseCompact(token []byte, algs []string) (compact, error) {
	if len(token) > maxToken {
		return compact{}, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, len(token), maxToken)
	}
	parts := bytes.Split(token, []byte{'.'})
	if len(parts) != 3 {
		return compact{}, fmt.Errorf("%w: expected three parts separated by dots", ErrMalformed)
	}
	var raw [3][]byte
	for i, name := range []string{"header", "payload", "signature"} {
		b, err := decodePart(parts[i])
		if err != nil {
			return compact{}, fmt.Errorf("%w: the %s %w", ErrMalformed, name, err)
		}
		raw[i] = b
	}
	h, err := parseHeader(raw[0], algs)
	if err != nil {
		return compact{}, err
	}
	if len(raw[2]) == 0 {
		return compact{}, fmt.Errorf("%w: it has no signature", ErrForbidden)
	}
	signed := len(parts[0]) + 1 + len(parts[1])
	return compact{header: h, signing: string(token[:signed]), payload: raw[1], sig: raw[2]}, nil
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
// or its own rules (RFC 7515 section 4.1, RFC 7797).
var forbidden = [...]string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"}

func parseHeader(raw []byte, algs []string) (Header, error) {
	if len(raw) > maxHeader {
		return Header{}, fmt.Errorf("%w: the header has more than %d bytes", ErrMalformed, maxHeader)
	}
	if err := UniqueKeys(raw); err != nil {
		return Header{}, fmt.Errorf("%w: the header is %w", ErrMalformed, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return Header{}, fmt.Errorf("%w: the header is not a JSON object", ErrMalformed)
	}
	for _, name := range forbidden {
		if _, ok := fields[name]; ok {
			return Header{}, fmt.Errorf("%w: its header has %q", ErrForbidden, name)
		}
	}
	var h Header
	for name, to := range map[string]*string{"alg": &h.Alg, "kid": &h.KeyID, "typ": &h.Type} {
		v, given := fields[name]
		s, isText := v.(string)
		if given && !isText || len(s) > 256 {
			return Header{}, fmt.Errorf("%w: the header's %s is not a short text", ErrMalformed, name)
		}
		*to = s
	}
	if h.Alg == "" {
		return Header{}, fmt.Errorf("%w: the header names no algorithm", ErrMalformed)
	}
	if !slices.Contains(algs, h.Alg) || !slices.Contains(Algorithms(), h.Alg) {
		return Header{}, fmt.Errorf("%w: algorithm %q is not allowed", ErrForbidden, clip(h.Alg))
	}
	return h, nil
}

// verify tries the fitting keys, the named one first.
func (c compact) verify(keys []Key) ([]byte, Header, error) {
	method := jwt.GetSigningMethod(c.header.Alg)
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
