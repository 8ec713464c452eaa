package piclo

import (
	"errors"
	"net/textproto"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"flexd/agent/trust"
)

// UnmarshalYAML reads how a notification is signed.
func (s *signing) UnmarshalYAML(n *yaml.Node) error {
	v, err := scalar(n, oneOf(signatureJWS, signatureNone))
	*s = signing(v)
	return err
}

// UnmarshalYAML reads where a signature stands.
func (p *place) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(string(placeBody), string(placeField), string(placeHeader)))
	*p = place(s)
	return err
}

// UnmarshalYAML reads how a signature is written.
func (s *serialization) UnmarshalYAML(n *yaml.Node) error {
	v, err := scalar(n, oneOf(serialCompact, serialJSON, serialDetached))
	*s = serialization(v)
	return err
}

// UnmarshalYAML reads what becomes of another event.
func (e *eventUse) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(eventAccept, eventRefuse))
	*e = eventUse(s)
	return err
}

// UnmarshalYAML reads a claim that must be there.
func (c *claim) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf("iat", "exp", "jti", "aud"))
	*c = claim(s)
	return err
}

// UnmarshalYAML reads the form of the published key.
func (f *keyFormat) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(trust.KeyFormats()...))
	*f = keyFormat(s)
	return err
}

// UnmarshalYAML reads how the account proves itself.
func (k *tokenKind) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(tokenLogin, tokenStatic))
	*k = tokenKind(s)
	return err
}

// UnmarshalYAML reads how an instant is asked for.
func (f *sinceFormat) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(formatRFC3339, formatUnix, formatUnixMS))
	*f = sinceFormat(s)
	return err
}

// write puts an instant into a query.
func (f sinceFormat) write(t time.Time) string {
	switch f {
	case formatUnix:
		return strconv.FormatInt(t.Unix(), 10)
	case formatUnixMS:
		return strconv.FormatInt(t.UnixMilli(), 10)
	}
	return t.UTC().Format(time.RFC3339)
}

// UnmarshalYAML reads whose bank holidays count; empty is not said.
func (h *holidayRegion) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(append(regions(), "")...))
	*h = holidayRegion(s)
	return err
}

// UnmarshalYAML reads one JSON pointer.
func (p *pointer1) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, func(s string) error {
		_, err := parsePointer(s)
		return err
	})
	p.text = s
	return err
}

// headerName reads the name of an HTTP header.
type headerName string

// UnmarshalYAML reads a header's name in its canonical form.
func (h *headerName) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, func(s string) error {
		for _, c := range []byte(s) {
			if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return errors.New("write a header's name such as X-Signature")
			}
		}
		return nil
	})
	*h = headerName(textproto.CanonicalMIMEHeaderKey(s))
	return err
}
