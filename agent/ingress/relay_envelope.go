package ingress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// RelayVersion is the version of the envelopes that a relay publishes.
const RelayVersion = 1

// Kinds of relay envelope.
const (
	RelayPost = "post" // a request that was posted to the relay
	RelayBeat = "beat" // nothing new: Seq is the number of the last post
	RelayBye  = "bye"  // the same, and the relay ends: nobody need wonder at its silence
)

// Bounds of an envelope as received. A header of 16 KiB may double when its
// bytes become characters, and again when they are quoted.
const (
	RelayPayload  = 2 << 20 // the whole envelope; a body of 1 MiB in base64 fits
	relayHeader   = 96 << 10
	relayRelay    = 26 // a ULID
	relayTo       = 128
	relayPath     = 512
	relayMethod   = 16
	relaySource   = 64
	relayMaxField = 128 // characters of a header's name
)

// RelayEnvelope is one message of a relay: a request as it was posted, byte
// for byte, and the relay's own count of what it published to one topic.
// Nothing of it is authentic but what the body proves by itself.
type RelayEnvelope struct {
	Kind   string
	Relay  string // a ULID per start of a relay
	To     string // the topic that it was published to
	Seq    uint64 // per relay and topic, from 1
	At     time.Time
	Method string
	Path   string
	Header map[string][]string
	Source string // the sender's address, as the relay saw it
	Body   []byte
}

// relayWire is the envelope as JSON. A header's value is bytes, and JSON has
// characters only: each byte is the character of the same number (ISO 8859-1,
// as RFC 9110 section 5.5 remembers it).
type relayWire struct {
	V      int             `json:"v"`
	Kind   string          `json:"kind"`
	Relay  string          `json:"relay"`
	To     string          `json:"to"`
	Seq    uint64          `json:"seq"`
	At     time.Time       `json:"at"`
	Method string          `json:"method,omitempty"`
	Path   string          `json:"path,omitempty"`
	Header json.RawMessage `json:"header,omitempty"`
	Source string          `json:"source,omitempty"`
	Body   []byte          `json:"body,omitempty"`
}

// Marshal gives the envelope as it is published.
func (e RelayEnvelope) Marshal() ([]byte, error) {
	w := relayWire{V: RelayVersion, Kind: e.Kind, Relay: e.Relay, To: e.To, Seq: e.Seq, At: e.At.UTC(),
		Method: e.Method, Path: e.Path, Source: e.Source, Body: e.Body}
	if len(e.Header) > 0 {
		header := make(map[string][]string, len(e.Header))
		for name, values := range e.Header {
			for _, v := range values {
				header[name] = append(header[name], toCharacters(v))
			}
		}
		raw, err := plainJSON(header)
		if err != nil {
			return nil, err
		}
		w.Header = raw
	}
	return plainJSON(w)
}

// plainJSON encodes without the escapes that only a web page needs.
func plainJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("cannot encode a relay envelope: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// ParseRelayEnvelope reads an envelope within its bounds.
func ParseRelayEnvelope(raw []byte) (RelayEnvelope, error) {
	if len(raw) > RelayPayload {
		return RelayEnvelope{}, errors.New("the envelope is too large")
	}
	var w relayWire
	if err := json.Unmarshal(raw, &w); err != nil {
		return RelayEnvelope{}, errors.New("the envelope is not JSON of the known shape")
	}
	if w.V != RelayVersion {
		return RelayEnvelope{}, fmt.Errorf("the envelope has version %d, known is %d", w.V, RelayVersion)
	}
	if !isRelayID(w.Relay) {
		return RelayEnvelope{}, errors.New("the envelope names no relay")
	}
	e := RelayEnvelope{Kind: w.Kind, Relay: w.Relay, To: w.To, Seq: w.Seq, At: w.At.UTC(),
		Method: w.Method, Path: w.Path, Source: w.Source, Body: w.Body}
	switch {
	case len(w.To) > relayTo, len(w.Path) > relayPath, len(w.Method) > relayMethod, len(w.Source) > relaySource:
		return RelayEnvelope{}, errors.New("a field of the envelope is too long")
	case w.Kind == RelayBeat || w.Kind == RelayBye:
		e.Method, e.Path, e.Source, e.Body = "", "", "", nil
		return e, nil
	case w.Kind != RelayPost:
		return RelayEnvelope{}, errors.New("the envelope is of no known kind")
	case w.Seq == 0:
		return RelayEnvelope{}, errors.New("the envelope has no number")
	case len(w.Body) > maxBody:
		return RelayEnvelope{}, errors.New("the body is larger than 1 MiB")
	}
	var err error
	e.Header, err = parseRelayHeader(w.Header)
	return e, err
}

// parseRelayHeader gives the headers back as bytes, by canonical name.
func parseRelayHeader(raw json.RawMessage) (map[string][]string, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if len(raw) > relayHeader {
		return nil, errors.New("the headers are too large")
	}
	var in map[string][]string
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, errors.New("the headers are not lists of text by name")
	}
	out, n := make(map[string][]string, min(len(in), maxHeaders)), 0
	for name, values := range in {
		if n += len(values); n > maxHeaders || len(values) == 0 {
			return nil, errors.New("too many headers, or one without a value")
		}
		if !isToken(name) {
			return nil, errors.New("a header's name is not one")
		}
		key := http.CanonicalHeaderKey(name)
		if _, twice := out[key]; twice {
			return nil, errors.New("a header is given twice")
		}
		for _, v := range values {
			b, ok := toBytes(v)
			if !ok {
				return nil, errors.New("a header's value is not one")
			}
			out[key] = append(out[key], b)
		}
	}
	return out, nil
}

// toCharacters makes a character of each byte.
func toCharacters(s string) string {
	out := make([]rune, len(s))
	for i := range len(s) {
		out[i] = rune(s[i])
	}
	return string(out)
}

// toBytes makes a byte of each character; a character that is none, or that no
// header may hold (RFC 9110, 5.5), is refused.
func toBytes(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff || r < ' ' && r != '\t' || r == 0x7f {
			return "", false
		}
		out = append(out, byte(r))
	}
	return string(out), true
}

// isToken tells whether a name is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !bytes.Contains([]byte("!#$%&'*+-.^_`|~"), []byte{c}) {
			return false
		}
	}
	return s != "" && len(s) <= relayMaxField
}

// isRelayID tells whether a text is shaped like a ULID: it goes into logs.
func isRelayID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(s) == relayRelay
}
