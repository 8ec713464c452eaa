package piclo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
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
//
// Where the profile says that nothing is signed, nothing is proven: the
// notice has the KeyID UnsignedKey, and all that it can cause is a fetch from
// the configured origin with our own TLS.
func (m *Market) Verify(ctx context.Context, env flex.Envelope) (flex.Notice, error) {
	if m.profile.Notification.Signature == signatureNone {
		return m.unsigned(env)
	}
	found, err := m.profile.locate(env.Header, env.Body)
	if err != nil {
		return flex.Notice{}, err
	}
	payload, header, err := m.keys.VerifyForm(ctx, found.Signed, m.algorithms)
	if err != nil {
		return flex.Notice{}, judged(err)
	}
	now, clock := m.wall.Now()
	n, err := m.profile.notice(payload, now, clock, m.at)
	if err != nil {
		return flex.Notice{}, err
	}
	n.ID = digest(found.Token, found.Payload)
	n.Door, n.Received, n.KeyID = env.Door, env.Received, header.KeyID
	return n, nil
}

// digest names a notification by what was signed.
func digest(token, payload []byte) flex.NotificationID {
	h := sha256.New()
	h.Write(token)
	if len(payload) > 0 {
		h.Write([]byte("\n"))
		h.Write(payload)
	}
	return flex.NotificationID(hex.EncodeToString(h.Sum(nil)))
}

// unsigned reads a pointer that nobody vouches for. Its name is where it
// points, so that whoever invents a thousand bodies makes one notice of them;
// nothing else of it is kept.
func (m *Market) unsigned(env flex.Envelope) (flex.Notice, error) {
	if len(env.Body) > maxSignedSize {
		return flex.Notice{}, flex.Refuse(flex.ReasonTooLarge, "the notification has %d bytes, more than %d", len(env.Body), maxSignedSize)
	}
	n, err := m.profile.readPointer(env.Body, m.at, nil)
	if no, ok := flex.RefusalOf(err); ok && no.Reason == flex.ReasonMovedURL {
		return flex.Notice{}, flex.Refuse(flex.ReasonForeignURL, "%s", no.Text) // anybody may say so
	}
	if err != nil {
		return flex.Notice{}, err
	}
	n.Count = 0 // anybody could have invented it
	n.ID = digest([]byte(flex.UnsignedKey), []byte(n.DataURL))
	n.Door, n.Received, n.KeyID = env.Door, env.Received, flex.UnsignedKey
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

// notice reads a payload whose signature holds.
func (p *Profile) notice(payload []byte, now time.Time, clock flex.ClockTrust, at origins) (flex.Notice, error) {
	return p.readNotice(payload, now, clock, at, nil)
}

// readNotice is notice with a record of how it was understood.
func (p *Profile) readNotice(payload []byte, now time.Time, clock flex.ClockTrust, at origins, t *trace) (flex.Notice, error) {
	if len(payload) > maxSignedSize {
		return flex.Notice{}, flex.Refuse(flex.ReasonTooLarge, "the signed payload has %d bytes, more than %d", len(payload), maxSignedSize)
	}
	doc, err := decodeObject(payload)
	if err != nil {
		return flex.Notice{}, flex.Refuse(flex.ReasonMalformed, "the signed payload is %v", err)
	}
	issued, err := p.claims(doc, now, clock, t)
	if err != nil {
		return flex.Notice{}, err
	}
	n, err := p.readPointer(payload, at, t)
	if err != nil {
		return flex.Notice{}, err
	}
	n.IssuedAt, n.Payload = issued, slices.Clone(payload)
	return n, nil
}

// claims checks the registered claims: what is there, and what must be.
func (p *Profile) claims(doc map[string]any, now time.Time, clock flex.ClockTrust, t *trace) (time.Time, error) {
	for _, name := range []string{"iat", "nbf", "exp", "jti", "aud"} {
		if _, given := doc[name]; given {
			t.looked(name, pointers{{name}}, pointer{name}, doc[name], true)
		}
	}
	for _, name := range p.Notification.Require {
		if v, given := doc[string(name)]; !given || v == nil || v == "" {
			return time.Time{}, flex.Refuse(flex.ReasonMalformed, "the signed payload lacks the claim %s, which the profile requires", name)
		}
	}
	claims, err := trust.ParseClaims(doc)
	if err != nil {
		return time.Time{}, flex.Refuse(flex.ReasonMalformed, "the signed payload: %v", err)
	}
	if err := p.audience(doc["aud"]); err != nil {
		return time.Time{}, err
	}
	for name, at := range map[string]time.Time{"iat": claims.IssuedAt, "nbf": claims.NotBefore, "exp": claims.Expires} {
		if !at.IsZero() && t.again(name) {
			t.value(at)
		}
	}
	if err := claims.Check(now, clock, time.Duration(p.Notification.Skew)); err != nil {
		return time.Time{}, flex.Refuse(flex.ReasonStaleTime, "%v", err)
	}
	return claims.IssuedAt, nil
}

// audience checks for whom a message is (RFC 7519 section 4.1.3), when it
// says so and the profile says who we are.
func (p *Profile) audience(aud any) error {
	if aud == nil || len(p.Notification.Audience) == 0 {
		return nil
	}
	list, isList := aud.([]any)
	if !isList {
		list = []any{aud}
	}
	for _, v := range list {
		s, _ := v.(string)
		if s != "" && slices.Contains(p.Notification.Audience, word(s)) {
			return nil
		}
	}
	return flex.Refuse(flex.ReasonSignatureInvalid, "the signed payload is for another audience than the profile's")
}

// readPointer reads event, address and count.
func (p *Profile) readPointer(payload []byte, at origins, t *trace) (flex.Notice, error) {
	doc, err := decodeObject(payload)
	if err != nil {
		return flex.Notice{}, flex.Refuse(flex.ReasonMalformed, "the notification is %v", err)
	}
	f := &fields{p: p, doc: doc, trace: t}
	n := flex.Notice{State: flex.NoticeVerified}
	if n.Event, err = p.event(f); err != nil {
		return flex.Notice{}, err
	}
	if n.Count, err = p.announced(f); err != nil {
		return flex.Notice{}, err
	}
	v, name, _ := f.find("data_url", p.Notification.DataURL)
	target, ok := v.(string)
	if !ok || target == "" {
		return flex.Notice{}, flex.Refuse(flex.ReasonMalformed, "the notification has no text at %s", name)
	}
	if n.DataURL, err = at.pin(target, string(p.Paths.Instructions)); err != nil {
		return flex.Notice{}, err
	}
	t.means("fetch %s", n.DataURL)
	return n, nil
}

// event checks the kind of notification: one that we did not subscribe to is
// not ours to act on, unless the profile says so.
func (p *Profile) event(f *fields) (string, error) {
	if len(p.Notification.Event) == 0 {
		return string(p.Notification.EventName), nil
	}
	v, name, ok := f.find("event", p.Notification.Event)
	s, isText := v.(string)
	if !ok || !isText {
		return "", flex.Refuse(flex.ReasonMalformed, "the notification has no text at %s", name)
	}
	switch {
	case s == string(p.Notification.EventName):
		f.trace.means("the event we subscribe to")
	case p.Notification.OtherEvents[word(s)] == eventAccept:
		f.trace.means("accepted by other_events")
	default:
		return "", flex.Refuse(flex.ReasonEvent, "the event %q is not %s, the only one we subscribe to", clip(s), p.Notification.EventName)
	}
	return s, nil
}

// announced reads how many instructions to expect, 0 when it is not said.
func (p *Profile) announced(f *fields) (int, error) {
	v, name, ok := f.find("count", p.Notification.Count)
	if !ok {
		return 0, nil
	}
	n, err := wholeNumber(v, maxElements)
	if err != nil {
		return 0, flex.Refuse(flex.ReasonMalformed, "the notification: %s: %v", name, err)
	}
	f.trace.means("%d instructions to expect", n)
	return int(n), nil
}
