package commission

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

// Schema names the form of a record.
const Schema = "flexd-commissioning/1"

// Record is what was done to one device and what was found.
type Record struct {
	Schema       string        `json:"schema"`
	Site         flex.SiteID   `json:"site"`
	Device       flex.DeviceID `json:"device"`
	Manufacturer string        `json:"manufacturer"`
	Model        string        `json:"model"`
	Firmware     string        `json:"firmware"`
	Serial       string        `json:"serial"`
	Method       string        `json:"method"`
	Address      string        `json:"address"`
	Unit         uint8         `json:"unit"`
	Rating       flex.Watts    `json:"rating"`
	At           time.Time     `json:"at"`
	Clock        string        `json:"clock"` // how far At may be trusted
	By           string        `json:"by"`
	Version      string        `json:"version"` // of flexd
	Percent      int           `json:"percent"`
	HoldMS       int64         `json:"hold_ms"`
	Steps        []StepResult  `json:"steps"`
	Measured     Measured      `json:"measured"`
	Problems     []Problem     `json:"problems"`
}

// Signed is a record with the site's signature over its canonical form
// (RFC 8785), as it lies in the data folder.
type Signed struct {
	Record    json.RawMessage `json:"record"`
	Key       string          `json:"key"`       // ed25519 public key, base64
	Signature string          `json:"signature"` // base64
}

// domain keeps a signature of a record from being one of anything else.
const domain = Schema + "\n"

// maxRecord bounds a file.
const maxRecord = 256 << 10

// ErrForged marks a record whose signature does not hold.
var ErrForged = errors.New("the commissioning record is not as this site signed it")

// Sign signs a record.
func Sign(r Record, key ed25519.PrivateKey) (Signed, error) {
	r.Schema = Schema
	raw, err := json.Marshal(r)
	if err != nil {
		return Signed{}, fmt.Errorf("cannot encode the commissioning record: %w", err)
	}
	canonical, err := trust.JCS(raw)
	if err != nil {
		return Signed{}, fmt.Errorf("cannot put the commissioning record into its canonical form: %w", err)
	}
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return Signed{}, errors.New("the site's key is not ed25519")
	}
	return Signed{Record: canonical, Key: base64.StdEncoding.EncodeToString(pub),
		Signature: base64.StdEncoding.EncodeToString(ed25519.Sign(key, append([]byte(domain), canonical...)))}, nil
}

// Verify checks the signature by a key that is trusted, and gives the record.
func (s Signed) Verify(key ed25519.PublicKey) (Record, error) {
	canonical, err := trust.JCS(s.Record)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrForged, err)
	}
	signature, err := base64.StdEncoding.DecodeString(s.Signature)
	if err != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(domain), canonical...), signature) {
		return Record{}, ErrForged
	}
	var r Record
	dec := json.NewDecoder(bytes.NewReader(canonical))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("cannot understand the commissioning record: %w", err)
	}
	if r.Schema != Schema {
		return Record{}, fmt.Errorf("the commissioning record is of schema %q, this flexd knows %q: commission the device again", r.Schema, Schema)
	}
	return r, nil
}

// ParseSigned reads a stored record; its signature is not checked yet.
func ParseSigned(raw []byte) (Signed, error) {
	var s Signed
	if len(raw) > maxRecord {
		return s, fmt.Errorf("the commissioning record is larger than %d bytes", maxRecord)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return s, fmt.Errorf("the commissioning record is damaged: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return s, errors.New("the commissioning record is damaged: more follows it")
	}
	return s, nil
}

// Proven tells whether the record speaks for control: the direction is proven
// and there is no problem. One that does not forbid control does not commission
// either.
func (r Record) Proven() bool {
	return len(r.Problems) == 0 && r.Measured.Direction == DirectionRight
}

// Lines is the record for people.
func (r Record) Lines() []string {
	m := r.Measured
	ms := func(v int64) string { return (time.Duration(v) * time.Millisecond).String() }
	out := []string{
		fmt.Sprintf("%s: %s %s, serial %s, firmware %s, at %s by %s", r.Device, r.Manufacturer, r.Model, r.Serial, r.Firmware, r.At.UTC().Format(time.RFC3339), r.By),
		fmt.Sprintf("direction at the meter: %s (it saw %d %% of the moves)", m.Direction, m.MeterPercent),
		fmt.Sprintf("reacts after %s, there after %s, ramp %d W/s", ms(m.ReactionMS), ms(m.SettleMS), m.RampWPS),
	}
	if m.Negative != nil {
		out = append(out, fmt.Sprintf("takes negative powers: %v", *m.Negative))
	}
	switch {
	case m.Revert == nil:
		out = append(out, "fall-back: not measured (--revert)")
	case m.Revert.AfterMS == nil:
		out = append(out, fmt.Sprintf("fall-back: none within %s + 20s", ms(m.Revert.LeaseMS)))
	default:
		out = append(out, fmt.Sprintf("fall-back: after %s (told %s)", ms(*m.Revert.AfterMS), ms(m.Revert.LeaseMS)))
	}
	if m.Lines != nil {
		out = append(out, fmt.Sprintf("connections: %d beside ours, a further one ends ours: %v", m.Lines.Extra, m.Lines.Drops))
	}
	for _, s := range r.Steps {
		out = append(out, fmt.Sprintf("%s: asked %s %v, went from %v to %v", s.Name, s.Order, s.Asked, s.From, s.To))
	}
	for _, p := range r.Problems {
		out = append(out, fmt.Sprintf("PROBLEM %s: %s", p.Code, p.Text))
	}
	return out
}
