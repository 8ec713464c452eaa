package piclo

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

// notChecked is said loudly wherever a payload is shown unverified.
const notChecked = "SIGNATURE NOT CHECKED: anybody could have written this; give the market's key to check it"

// explainNotification shows a notification. Without a key its payload is
// decoded unverified, which real messages never are.
func (p *Profile) explainNotification(s Sample, out Explanation) (Explanation, error) {
	if p.Notification.Signature == signatureNone {
		out.Found = "the body, unsigned by the profile: nothing in it is believed, what counts is what is fetched"
		out.Documents = []Understood{p.explainPayload(s, s.Body, &out)}
		return out, nil
	}
	found, err := p.locate(s.Header, s.Body)
	if err != nil {
		return p.notLocated(s, out, err), nil
	}
	out.Found = fmt.Sprintf("a %s JWS in %s%s", found.Form, found.where, headerText(found.Signed))
	payload, err := p.payloadOf(s, found, &out)
	if err != nil {
		out.Documents = []Understood{{Verdict: "refused: " + err.Error(), Problems: []string{err.Error()}}}
		return out, nil
	}
	u := p.explainPayload(s, payload, &out)
	u.ID = string(digest(found.Token, found.Payload))[:16]
	out.Documents = []Understood{u}
	return out, nil
}

// notLocated says where a signature was looked for in vain and what is there.
func (p *Profile) notLocated(s Sample, out Explanation, err error) Explanation {
	u := Understood{Verdict: "refused: " + err.Error(), Problems: []string{err.Error()}}
	var places []string
	for _, w := range p.Notification.Location {
		switch w {
		case placeField:
			for _, ptr := range p.Notification.Field {
				places = append(places, pointerText(ptr))
			}
		case placeHeader:
			places = append(places, "the header "+string(p.Notification.Header))
		default:
			places = append(places, "the body")
		}
	}
	out.Found = fmt.Sprintf("no %s JWS in %s", p.Notification.Serialization, strings.Join(places, ", "))
	if doc, err := decodeJSON(s.Body); err == nil {
		u.Ignored = (&trace{}).ignored(doc)
	}
	for _, name := range headersWithTokens(s.Header) {
		out.Warnings = append(out.Warnings, fmt.Sprintf("the header %s looks like a JWS: set notification.location to [header] and notification.header to it", name))
	}
	out.Documents = []Understood{u}
	return out
}

// headersWithTokens lists headers that could hold a signature.
func headersWithTokens(header map[string][]string) []string {
	var out []string
	for name, values := range header {
		for _, v := range values {
			if strings.HasPrefix(v, "eyJ") && strings.Count(v, ".") == 2 {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// payloadOf verifies with the given keys, or decodes without.
func (p *Profile) payloadOf(s Sample, found located, out *Explanation) ([]byte, error) {
	var algorithms []string
	for _, a := range p.Notification.Algorithms {
		algorithms = append(algorithms, string(a))
	}
	var keys []trust.Key
	if s.Keys != nil {
		var err error
		if keys, err = p.parseKeys(s.Keys); err != nil {
			return nil, fmt.Errorf("the key: %w", err)
		}
	}
	payload, _, err := trust.VerifyForm(found.Signed, keys, algorithms)
	switch {
	case err == nil:
		out.Found += "; the signature holds"
		return payload, nil
	case s.Keys != nil && errors.Is(err, trust.ErrSignature):
		out.Warnings = append(out.Warnings, "THE SIGNATURE DOES NOT HOLD with this key: a real one would be refused")
	case s.Keys == nil && errors.Is(err, trust.ErrSignature):
		out.Warnings = append(out.Warnings, notChecked)
	default:
		out.Warnings = append(out.Warnings, notChecked, "it would be refused whatever the key: "+err.Error())
	}
	if payload, ok := unverified(found.Signed); ok {
		return payload, nil
	}
	return nil, err
}

// unverified decodes what a token says, for people only.
func unverified(s trust.Signed) ([]byte, bool) {
	switch s.Form {
	case trust.FormDetached:
		return s.Payload, true
	case trust.FormCompact:
		parts := strings.Split(string(s.Token), ".")
		if len(parts) != 3 {
			return nil, false
		}
		raw, err := base64.RawURLEncoding.DecodeString(parts[1])
		return raw, err == nil
	case trust.FormJSON:
		var m map[string]json.RawMessage
		var text string
		if json.Unmarshal(s.Token, &m) != nil || json.Unmarshal(m["payload"], &text) != nil {
			return nil, false
		}
		raw, err := base64.RawURLEncoding.DecodeString(text)
		return raw, err == nil
	}
	return nil, false
}

// headerText shows algorithm and key id, as the token claims them.
func headerText(s trust.Signed) string {
	if s.Form == trust.FormJSON || strings.HasPrefix(string(s.Token), "{") {
		return ""
	}
	part, _, _ := strings.Cut(string(s.Token), ".")
	raw, err := base64.RawURLEncoding.DecodeString(part)
	var h struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	if err != nil || json.Unmarshal(raw, &h) != nil {
		return ""
	}
	return fmt.Sprintf(", alg %q, kid %q", clip(h.Alg), clip(h.Kid))
}

// explainPayload reads a payload by the code that reads real ones.
func (p *Profile) explainPayload(s Sample, payload []byte, out *Explanation) Understood {
	at, err := p.addressOf(s, payload, out)
	if err != nil {
		return Understood{Verdict: "refused: " + err.Error(), Problems: []string{err.Error()}}
	}
	t := &trace{}
	var n flex.Notice
	if p.Notification.Signature == signatureNone {
		n, err = p.readPointer(payload, at, t)
	} else {
		n, err = p.readNotice(payload, s.Now, flex.ClockSynced, at, t)
	}
	u := Understood{}
	switch {
	case err != nil:
		u.Verdict = "refused: " + err.Error()
	case n.Count > 0:
		u.Verdict = fmt.Sprintf("fetch %s and expect %d instructions", n.DataURL, n.Count)
	default:
		u.Verdict = "fetch " + n.DataURL
	}
	u.complete(t, payload)
	return u
}

// addressOf is the origins to hold addresses to: the configured one, else the
// payload's own, and then nothing is proven about it.
func (p *Profile) addressOf(s Sample, payload []byte, out *Explanation) (origins, error) {
	if s.BaseURL != "" {
		return p.parseOrigins(s.BaseURL, s.Origins, true)
	}
	doc, err := decodeJSON(payload)
	if err != nil {
		return origins{}, nil // the reader says what is wrong
	}
	v, _, _ := p.Notification.DataURL.find(doc)
	text, _ := v.(string)
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return origins{}, nil
	}
	out.Warnings = append(out.Warnings, "market.base_url is not known here: its host "+clip(u.Host)+" is taken as the market's; --config compares it")
	prefix, _, _ := strings.Cut(u.Path, string(p.Paths.Instructions))
	if prefix == u.Path {
		prefix = ""
	}
	return p.parseOrigins(u.Scheme+"://"+u.Host+prefix, nil, true)
}

// explainKey shows the keys of a published document.
func (p *Profile) explainKey(s Sample, out Explanation) (Explanation, error) {
	keys, err := p.parseKeys(s.Body)
	out.Found = fmt.Sprintf("read as %s", p.Key.Format)
	if p.Key.Pointer.text != "" {
		out.Found += " at " + p.Key.Pointer.text
	}
	if err != nil {
		out.Documents = []Understood{{Verdict: "refused: " + err.Error(), Problems: []string{err.Error()}}}
		return out, nil
	}
	for _, k := range keys {
		out.Documents = append(out.Documents, Understood{ID: k.ID, Verdict: keyText(k)})
	}
	return out, nil
}

func keyText(k trust.Key) string {
	alg := k.Alg
	if alg == "" {
		alg = "any algorithm of its type"
	}
	return fmt.Sprintf("a %s public key for %s, thumbprint %s", strings.TrimPrefix(fmt.Sprintf("%T", k.Public), "*"), alg, shortHash(k.Thumbprint()))
}

// shortHash is enough of a thumbprint to compare by eye.
func shortHash(s string) string { return s[:min(len(s), 16)] }
