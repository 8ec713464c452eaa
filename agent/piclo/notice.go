package piclo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

const (
	maxBody       = 1 << 20 // the doors' own bound
	maxSignedSize = 64 << 10
)

// Verify proves that an envelope is the market's and gives the notice in it.
// The error is a *flex.Refusal; with ReasonNoKey, which comes inside a
// *flex.RetryError, the message cannot be judged now and must come again.
func (m *Market) Verify(ctx context.Context, env flex.Envelope) (flex.Notice, error) {
	token, err := m.profile.findToken(env.Body)
	if err != nil {
		return flex.Notice{}, err
	}
	payload, header, err := m.keys.Verify(ctx, token, m.algorithms)
	if err != nil {
		return flex.Notice{}, judged(err)
	}
	now, clock := m.wall.Now()
	n, err := m.profile.notice(payload, now, clock, m.at)
	if err != nil {
		return flex.Notice{}, err
	}
	sum := sha256.Sum256(token)
	n.ID = flex.NotificationID(hex.EncodeToString(sum[:]))
	n.Door, n.Received, n.KeyID = env.Door, env.Received, header.KeyID
	return n, nil
}

// judged turns a verdict on a signature into a refusal.
func judged(err error) error {
	var noKey *trust.NoKeyError
	switch {
	case errors.As(err, &noKey):
		return &flex.RetryError{After: noKey.After, Err: flex.Refuse(flex.ReasonNoKey, "%v", noKey)}
	case errors.Is(err, trust.ErrMalformed):
		return flex.Refuse(flex.ReasonMalformed, "%v", err)
	}
	return flex.Refuse(flex.ReasonSignatureInvalid, "%v", err)
}

// findToken finds the compact JWS: the raw body, or a field of a JSON body.
// Nothing else of an unverified body is looked at.
func (p *Profile) findToken(body []byte) ([]byte, error) {
	if len(body) > maxBody {
		return nil, flex.Refuse(flex.ReasonTooLarge, "the notification has %d bytes, more than %d", len(body), maxBody)
	}
	text := bytes.Trim(body, " \t\r\n")
	if len(text) == 0 {
		return nil, flex.Refuse(flex.ReasonMalformed, "the notification is empty")
	}
	if text[0] != '{' {
		return bytes.Clone(bytes.Trim(text, `"`)), nil // a JSON text of it as well
	}
	doc, err := decodeObject(text)
	if err != nil {
		return nil, flex.Refuse(flex.ReasonMalformed, "the notification is %v", err)
	}
	for _, ptr := range p.Notification.Field {
		v, _ := ptr.find(doc)
		if s, ok := v.(string); ok && strings.Count(s, ".") == 2 {
			return []byte(s), nil
		}
	}
	return nil, flex.Refuse(flex.ReasonMalformed, "the notification holds no compact JWS where the profile looks for it")
}

// notice reads a payload whose signature holds.
func (p *Profile) notice(payload []byte, now time.Time, clock flex.ClockTrust, at origin) (flex.Notice, error) {
	if len(payload) > maxSignedSize {
		return flex.Notice{}, flex.Refuse(flex.ReasonTooLarge, "the signed payload has %d bytes, more than %d", len(payload), maxSignedSize)
	}
	doc, err := decodeObject(payload)
	if err != nil {
		return flex.Notice{}, flex.Refuse(flex.ReasonMalformed, "the signed payload is %v", err)
	}
	claims, err := trust.ParseClaims(doc)
	if err != nil {
		return flex.Notice{}, flex.Refuse(flex.ReasonMalformed, "the signed payload: %v", err)
	}
	if err := claims.Check(now, clock, time.Duration(p.Notification.Skew)); err != nil {
		return flex.Notice{}, flex.Refuse(flex.ReasonStaleTime, "%v", err)
	}
	n := flex.Notice{IssuedAt: claims.IssuedAt, Payload: slices.Clone(payload), State: flex.NoticeVerified}
	if n.Event, err = p.event(doc); err != nil {
		return flex.Notice{}, err
	}
	if n.Count, err = p.announced(doc); err != nil {
		return flex.Notice{}, err
	}
	v, name, _ := p.Notification.DataURL.find(doc)
	target, ok := v.(string)
	if !ok || target == "" {
		return flex.Notice{}, flex.Refuse(flex.ReasonMalformed, "the signed payload has no text at %s", name)
	}
	if n.DataURL, err = at.pin(target, string(p.Paths.Instructions)); err != nil {
		return flex.Notice{}, err
	}
	return n, nil
}

// event checks the kind of notification: one that we did not subscribe to is
// not ours to act on.
func (p *Profile) event(doc map[string]any) (string, error) {
	if len(p.Notification.Event) == 0 {
		return string(p.Notification.EventName), nil
	}
	v, name, ok := p.Notification.Event.find(doc)
	s, isText := v.(string)
	if !ok || !isText {
		return "", flex.Refuse(flex.ReasonMalformed, "the signed payload has no text at %s", name)
	}
	if s != string(p.Notification.EventName) {
		return "", flex.Refuse(flex.ReasonEvent, "the event %q is not %s, the only one we subscribe to", clip(s), p.Notification.EventName)
	}
	return s, nil
}

// announced reads how many instructions to expect, 0 when it is not said.
func (p *Profile) announced(doc map[string]any) (int, error) {
	v, name, ok := p.Notification.Count.find(doc)
	if !ok {
		return 0, nil
	}
	n, err := wholeNumber(v, maxElements)
	if err != nil {
		return 0, flex.Refuse(flex.ReasonMalformed, "%s", fmt.Sprintf("the signed payload: %s: %v", name, err))
	}
	return int(n), nil
}
