package trust

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// maxSignatures bounds a general JWS: nobody signs a notification more often.
const maxSignatures = 8

// Form is how a signed message is written down.
type Form string

// The forms of RFC 7515: sections 7.1 and 7.2, and appendix F.
const (
	FormCompact  Form = "compact"
	FormJSON     Form = "json"
	FormDetached Form = "detached"
)

// Forms lists every form.
func Forms() []Form { return []Form{FormCompact, FormJSON, FormDetached} }

// Signed is a message with its signature, nothing of it trusted yet.
type Signed struct {
	Form  Form
	Token []byte // the JWS: compact, or JSON
	// Payload is what a detached JWS signs, as raw bytes; else it is empty.
	Payload []byte
}

// Compact is a message in JWS compact serialization.
func Compact(token []byte) Signed { return Signed{Form: FormCompact, Token: token} }

// JSON is a message in JWS JSON serialization, flattened or general.
func JSON(doc []byte) Signed { return Signed{Form: FormJSON, Token: doc} }

// Detached is a message whose signature travels apart from it: a compact JWS
// with an empty middle, or a JSON one without payload.
func Detached(token, payload []byte) Signed {
	return Signed{Form: FormDetached, Token: token, Payload: payload}
}

// VerifyForm checks a message in any form; see VerifyCompact.
func VerifyForm(s Signed, keys []Key, algs []string) ([]byte, Header, error) {
	c, err := s.parse(algs)
	if err != nil {
		return nil, Header{}, err
	}
	return c.verify(keys)
}

// parse takes the message apart and refuses what no key could mend.
func (s Signed) parse(algs []string) (parsed, error) {
	if len(s.Token) > maxToken {
		return parsed{}, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, len(s.Token), maxToken)
	}
	if len(s.Payload) > maxToken {
		return parsed{}, fmt.Errorf("%w: a payload of %d bytes, more than %d", ErrMalformed, len(s.Payload), maxToken)
	}
	if len(s.Payload) > 0 && s.Form != FormDetached {
		return parsed{}, fmt.Errorf("%w: the form %s carries its own payload", ErrMalformed, s.Form)
	}
	switch s.Form {
	case FormCompact:
		return parseCompact(s.Token, algs)
	case FormJSON:
		return parseJSON(s.Token, nil, false, algs)
	case FormDetached:
		if text := bytes.TrimSpace(s.Token); len(text) > 0 && text[0] == '{' {
			return parseJSON(text, s.Payload, true, algs)
		}
		return parseDetached(s.Token, s.Payload, algs)
	}
	return parsed{}, fmt.Errorf("%w: there is no form %q", ErrMalformed, clip(string(s.Form)))
}

// parseDetached puts the payload where RFC 7515 appendix F took it out.
func parseDetached(token, payload []byte, algs []string) (parsed, error) {
	header, rest, ok := bytes.Cut(token, []byte{'.'})
	middle, sig, more := bytes.Cut(rest, []byte{'.'})
	if !ok || !more || len(middle) > 0 {
		return parsed{}, fmt.Errorf("%w: expected header..signature, the payload is sent apart", ErrMalformed)
	}
	if len(payload) == 0 {
		return parsed{}, fmt.Errorf("%w: the payload that is sent apart is missing", ErrMalformed)
	}
	return parseParts(header, encodePart(payload), sig, algs)
}

// envelope holds the members of a JWS in JSON; RFC 7515 section 7.2.1 lets
// others pass. A nil pointer means that the member is not there.
type envelope struct {
	payload    *string
	protected  *string
	signature  *string
	header     json.RawMessage
	signatures []json.RawMessage
	several    bool
}

// readEnvelope reads one object, by exact names: the standard decoder would
// take "Payload" for "payload".
func readEnvelope(raw []byte) (envelope, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return envelope{}, errors.New("not a JSON object")
	}
	var e envelope
	for name, to := range map[string]**string{"payload": &e.payload, "protected": &e.protected, "signature": &e.signature} {
		v, given := m[name]
		if !given {
			continue
		}
		if err := json.Unmarshal(v, to); err != nil || *to == nil {
			return envelope{}, fmt.Errorf("the member %s is not a text", name)
		}
	}
	e.header = m["header"]
	if v, given := m["signatures"]; given {
		e.several = true
		if err := json.Unmarshal(v, &e.signatures); err != nil {
			return envelope{}, errors.New("the member signatures is not a list")
		}
	}
	return e, nil
}

// parseJSON reads the flattened and the general form. In the general one,
// signatures by algorithms that are not allowed here are meant for others
// and passed over; exactly one must be left, so that no sender can offer a
// choice.
func parseJSON(doc, payload []byte, detached bool, algs []string) (parsed, error) {
	if err := UniqueKeys(doc); err != nil {
		return parsed{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	e, err := readEnvelope(doc)
	if err != nil {
		return parsed{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var middle []byte
	switch {
	case detached && e.payload != nil:
		return parsed{}, fmt.Errorf("%w: it has a payload inside, and another is sent apart", ErrMalformed)
	case detached && len(payload) == 0, !detached && e.payload == nil:
		return parsed{}, fmt.Errorf("%w: the payload is missing", ErrMalformed)
	case detached:
		middle = encodePart(payload)
	default:
		middle = []byte(*e.payload)
	}
	if !e.several {
		return parseSignature(e, middle, algs)
	}
	if e.signature != nil || e.protected != nil || e.header != nil {
		return parsed{}, fmt.Errorf("%w: it is both general and flattened", ErrMalformed)
	}
	return parseGeneral(e.signatures, middle, algs)
}

func parseGeneral(signatures []json.RawMessage, payload []byte, algs []string) (parsed, error) {
	if len(signatures) == 0 || len(signatures) > maxSignatures {
		return parsed{}, fmt.Errorf("%w: it has %d signatures, expected 1 to %d", ErrMalformed, len(signatures), maxSignatures)
	}
	var (
		usable []parsed
		other  error
	)
	for _, raw := range signatures {
		e, err := readEnvelope(raw)
		if err != nil {
			return parsed{}, fmt.Errorf("%w: a signature is %w", ErrMalformed, err)
		}
		switch c, err := parseSignature(e, payload, algs); {
		case errors.Is(err, errOtherAlgorithm):
			other = err
		case err != nil:
			return parsed{}, err
		default:
			usable = append(usable, c)
		}
	}
	switch len(usable) {
	case 0:
		return parsed{}, other
	case 1:
		return usable[0], nil
	}
	return parsed{}, fmt.Errorf("%w: %d of its signatures could count, exactly one may", ErrForbidden, len(usable))
}

// parseSignature reads protected header, unprotected header and signature.
// What decides (the algorithm) must be protected; of the unprotected header
// only the key's id is used, as the hint that it is.
func parseSignature(e envelope, payload []byte, algs []string) (parsed, error) {
	if e.protected == nil || e.signature == nil {
		return parsed{}, fmt.Errorf("%w: a signature needs the members protected and signature", ErrMalformed)
	}
	hint, err := checkUnprotected(e.header, *e.protected)
	if err != nil {
		return parsed{}, err
	}
	c, err := parseParts([]byte(*e.protected), payload, []byte(*e.signature), algs)
	if err == nil && c.header.KeyID == "" {
		c.header.KeyID = hint
	}
	return c, err
}

// checkUnprotected refuses a header that brings keys or rules of its own, or
// names that are protected too (RFC 7515 section 7.2.1).
func checkUnprotected(raw json.RawMessage, protected string) (kid string, err error) {
	if raw == nil {
		return "", nil
	}
	var fields, signed map[string]json.RawMessage
	if len(raw) > maxHeader || json.Unmarshal(raw, &fields) != nil || fields == nil {
		return "", fmt.Errorf("%w: its unprotected header is not a small JSON object", ErrMalformed)
	}
	if err := checkNames(fields); err != nil {
		return "", err
	}
	if plain, err := decodePart([]byte(protected)); err == nil {
		_ = json.Unmarshal(plain, &signed) // what is wrong with it is told by parseParts
	}
	for name, v := range fields {
		if _, both := signed[name]; both {
			return "", fmt.Errorf("%w: its headers both have %q", ErrMalformed, clip(name))
		}
		switch name {
		case "alg":
			return "", fmt.Errorf("%w: its algorithm is not in the protected header", ErrForbidden)
		case "kid":
			if json.Unmarshal(v, &kid) != nil || len(kid) > maxName {
				return "", fmt.Errorf("%w: the header's kid is not a short text", ErrMalformed)
			}
		}
	}
	return kid, nil
}

func encodePart(raw []byte) []byte {
	out := make([]byte, base64.RawURLEncoding.EncodedLen(len(raw)))
	base64.RawURLEncoding.Encode(out, raw)
	return out
}
