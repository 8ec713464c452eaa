package trust

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The forms of a published key. A document of another form than the one that
// was agreed is refused, so that a login page or an error is never searched
// for keys.
const (
	FormatAuto = "auto" // whatever it looks like
	FormatPEM  = "pem"  // or the bare base64 of a PKIX key
	FormatJWK  = "jwk"
	FormatJWKS = "jwks"
	FormatJSON = "json" // one of the others in a field
)

// KeyFormats lists the formats that ParseKeysAs knows.
func KeyFormats() []string {
	return []string{FormatAuto, FormatPEM, FormatJWK, FormatJWKS, FormatJSON}
}

// ParseKeysAs reads a key document of a given format; "" means auto. With a
// JSON pointer (RFC 6901) the document is JSON and the key is the value that
// the pointer names; the format then says what that value is.
func ParseKeysAs(raw []byte, format, pointer string) ([]Key, error) {
	if len(raw) > maxKeyBytes {
		return nil, fmt.Errorf("the key document has %d bytes, more than %d", len(raw), maxKeyBytes)
	}
	if format != "" && !slices.Contains(KeyFormats(), format) {
		return nil, fmt.Errorf("there is no key format %q: use %s", clip(format), strings.Join(KeyFormats(), ", "))
	}
	keys, err := parseAs(raw, format, pointer)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("the key document holds no usable public key: expected PEM, a JWK or a JWKS")
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("the key document holds %d keys, more than %d", len(keys), maxKeys)
	}
	return keys, nil
}

func parseAs(raw []byte, format, pointer string) ([]Key, error) {
	text := bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))
	if len(text) == 0 {
		return nil, errors.New("the key document is empty")
	}
	isJSON := bytes.IndexByte([]byte(`{["`), text[0]) >= 0
	if !isJSON {
		if pointer != "" || format == FormatJWK || format == FormatJWKS || format == FormatJSON {
			return nil, errors.New("the key document is not JSON, as the format says")
		}
		return parseText(string(text), "")
	}
	if format == FormatPEM && pointer == "" {
		return nil, errors.New("the key document is JSON, and the format says pem")
	}
	v, err := Decode(text)
	if err != nil {
		return nil, fmt.Errorf("the key document: %w", err)
	}
	v, id, err := valueAt(v, pointer)
	if err != nil {
		return nil, fmt.Errorf("the key document: %w", err)
	}
	if err := checkShape(v, format); err != nil {
		return nil, err
	}
	return parseValue(v, id, 0)
}

// checkShape holds a value against the format that was agreed.
func checkShape(v any, format string) error {
	object, _ := v.(map[string]any)
	_, isText := v.(string)
	_, isKey := object["kty"].(string)
	_, isSet := object["keys"].([]any)
	switch {
	case format == FormatPEM && !isText:
		return errors.New("the key document has no text where the PEM should be")
	case format == FormatJWK && !isKey:
		return errors.New("the key document has no JWK (an object with kty) where it should be")
	case format == FormatJWKS && (isKey || !isSet):
		return errors.New("the key document has no JWKS (an object with the list keys) where it should be")
	}
	return nil
}

// valueAt follows a pointer, and notes the id that stands beside the value.
func valueAt(v any, text string) (any, string, error) {
	p, err := parsePointer(text)
	if err != nil {
		return nil, "", err
	}
	id := ""
	for _, step := range p {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[step]
			if !ok {
				return nil, "", fmt.Errorf("nothing at %s", clip(text))
			}
			id, v = idOf(in, id), next
		case []any:
			i, ok := arrayIndex(step, len(in))
			if !ok {
				return nil, "", fmt.Errorf("nothing at %s", clip(text))
			}
			v = in[i]
		default:
			return nil, "", fmt.Errorf("nothing at %s", clip(text))
		}
	}
	return v, id, nil
}
