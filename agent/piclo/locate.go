package piclo

import (
	"bytes"
	"encoding/json"
	"strings"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

// located is where the signed message of an envelope was found.
type located struct {
	trust.Signed
	where string // for people: "the body", "the field /payload", "the header X"
}

// locate finds what is signed by the profile's places, in their order.
// Nothing else of an unverified envelope is looked at.
func (p *Profile) locate(header map[string][]string, body []byte) (located, error) {
	if len(body) > maxBody {
		return located{}, flex.Refuse(flex.ReasonTooLarge, "the notification has %d bytes, more than %d", len(body), maxBody)
	}
	n := p.Notification
	text := bytes.Trim(bytes.TrimPrefix(body, byteOrderMark), " \t\r\n")
	if len(text) == 0 && (n.Serialization == serialDetached || !p.hasPlace(placeHeader)) {
		return located{}, flex.Refuse(flex.ReasonMalformed, "the notification is empty")
	}
	var doc map[string]any // of a JSON body, once it is needed
	for _, w := range n.Location {
		var l located
		var err error
		switch w {
		case placeBody:
			l = p.inBody(text)
		case placeHeader:
			l, err = p.inHeader(header)
		case placeField:
			if len(text) == 0 || text[0] != '{' {
				continue
			}
			if doc == nil {
				if doc, err = decodeObject(text); err != nil {
					return located{}, flex.Refuse(flex.ReasonMalformed, "the notification is %v", err)
				}
			}
			l = p.inField(text, doc)
		}
		if err != nil {
			return located{}, err
		}
		if l.where != "" {
			return p.attach(l, body)
		}
	}
	return located{}, flex.Refuse(flex.ReasonMalformed, "the notification holds no %s JWS where the profile looks for it", n.Serialization)
}

// SignedByHeader tells whether headers hold what is looked at for a signed
// notification: then its body may be empty.
func (p *Profile) SignedByHeader(header map[string][]string) bool {
	n := p.Notification
	return n.Signature != signatureNone && p.hasPlace(placeHeader) && len(header[string(n.Header)]) > 0
}

func (p *Profile) hasPlace(w place) bool {
	for _, have := range p.Notification.Location {
		if have == w {
			return true
		}
	}
	return false
}

// inBody takes the whole body: as a compact JWS whatever is not a JSON
// object, as a JWS in JSON whatever is one with a signature.
func (p *Profile) inBody(text []byte) located {
	if len(text) == 0 {
		return located{}
	}
	isObject := text[0] == '{'
	switch {
	case p.Notification.Serialization == serialCompact && !isObject:
		token := bytes.Clone(bytes.Trim(text, `"`)) // a JSON text of it as well
		return located{trust.Compact(token), "the body"}
	case p.Notification.Serialization == serialJSON && isObject && looksSigned(text):
		return located{trust.JSON(bytes.Clone(text)), "the body"}
	}
	return located{}
}

// looksSigned tells a JWS in JSON from a body that holds one in a field.
func looksSigned(text []byte) bool {
	var m map[string]json.RawMessage
	if json.Unmarshal(text, &m) != nil {
		return true // trust says what is wrong with it
	}
	_, one := m["signature"]
	_, several := m["signatures"]
	return one || several
}

// inField takes the first of the fields that holds something of the form.
func (p *Profile) inField(text []byte, doc map[string]any) located {
	for _, ptr := range p.Notification.Field {
		v, _ := ptr.find(doc)
		where := "the field " + pointerText(ptr)
		switch v := v.(type) {
		case string:
			if l := p.inText(v); l.Token != nil {
				l.where = where
				return l
			}
		case map[string]any:
			raw, ok := rawAt(text, ptr)
			if ok && p.Notification.Serialization != serialCompact && looksSigned(raw) {
				return located{trust.Signed{Form: p.form(), Token: bytes.Clone(raw)}, where}
			}
		}
	}
	return located{}
}

// inHeader takes the header's only value.
func (p *Profile) inHeader(header map[string][]string) (located, error) {
	name := string(p.Notification.Header)
	values := header[name]
	if len(values) > 1 {
		return located{}, flex.Refuse(flex.ReasonMalformed, "the notification has the header %s %d times", name, len(values))
	}
	if len(values) == 0 {
		return located{}, nil
	}
	l := p.inText(strings.Trim(values[0], " \t"))
	if l.Token != nil {
		l.where = "the header " + name
	}
	return l, nil
}

// inText takes a text of the profile's form.
func (p *Profile) inText(s string) located {
	compact := strings.Count(s, ".") == 2
	object := strings.HasPrefix(s, "{")
	switch form := p.form(); {
	case form == trust.FormCompact && compact,
		form == trust.FormJSON && object,
		form == trust.FormDetached && (compact || object):
		return located{Signed: trust.Signed{Form: form, Token: []byte(s)}}
	}
	return located{}
}

func (p *Profile) form() trust.Form { return trust.Form(p.Notification.Serialization) }

// attach gives a detached signature what it signs: the body to the byte, or
// a field of it. A text is signed as what it says; anything else in a field
// as its bytes stand there.
func (p *Profile) attach(l located, body []byte) (located, error) {
	if l.Form != trust.FormDetached {
		return l, nil
	}
	if len(p.Notification.Payload) == 0 {
		l.Payload = bytes.Clone(body)
		return l, nil
	}
	if _, err := decodeObject(body); err != nil {
		return located{}, flex.Refuse(flex.ReasonMalformed, "the notification is %v", err)
	}
	for _, ptr := range p.Notification.Payload {
		raw, ok := rawAt(bytes.TrimPrefix(body, byteOrderMark), ptr)
		if !ok || len(raw) == 0 {
			continue
		}
		var s string
		if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
			raw = []byte(s)
		}
		l.Payload = bytes.Clone(raw)
		return l, nil
	}
	return located{}, flex.Refuse(flex.ReasonMalformed, "the notification holds no signed payload where the profile looks for it")
}
