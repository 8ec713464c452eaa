package piclo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

// signedForms makes one payload in every form, by another library than ours.
type signedForms struct{ compact, flattened, detached string }

func forms(t testing.TB, payload string) signedForms {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: makeKeys().market}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	detached, err := jws.DetachedCompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return signedForms{compact, jws.FullSerialize(), detached}
}

// marketWith opens a market whose profile has text on top.
func marketWith(t *testing.T, srv *fakeMarket, text string) *Market {
	t.Helper()
	p, err := LoadProfile(profileFile(t, text))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(Config{Profile: p, BaseURL: srv.URL, ClientID: "site", APIKey: func() (string, error) { return "secret", nil },
		Wall: fixedWall{testNow, flex.ClockSynced}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestASignatureIsFoundWhereTheProfileSays(t *testing.T) {
	srv := newFakeMarket(t)
	payload := payloadFor(srv.URL)
	f := forms(t, payload)
	inHeader := map[string][]string{"X-Signature": {f.compact}}
	detachedHeader := map[string][]string{"X-Signature": {f.detached}}
	const header = "location: [header], header: x-signature"
	for _, c := range []struct {
		name, settings string
		header         map[string][]string
		body           string
		want           flex.Reason // "": verified
	}{
		{"compact in a header", header, inHeader, `{"a":1}`, ""},
		{"compact in a header, without a body", header, inHeader, ``, ""},
		{"no such header", header, nil, f.compact, flex.ReasonMalformed},
		{"the header twice", header, map[string][]string{"X-Signature": {f.compact, f.compact}}, ``, flex.ReasonMalformed},
		{"header first, then body", "location: [header, body], header: X-Signature", nil, f.compact, ""},
		{"the body alone admits no field", "location: [body]", nil, `{"payload":"` + f.compact + `"}`, flex.ReasonMalformed},
		{"a field alone admits no body", "location: [field]", nil, f.compact, flex.ReasonMalformed},
		{"JSON in the body", "serialization: json", nil, f.flattened, ""},
		{"JSON in a field", "serialization: json", nil, `{"data":` + f.flattened + `}`, ""},
		{"JSON in a field as text", "serialization: json", nil, `{"data":` + quoted(f.flattened) + `}`, ""},
		{"compact where JSON is agreed", "serialization: json", nil, f.compact, flex.ReasonMalformed},
		{"JSON where compact is agreed", "location: [body, field]", nil, f.flattened, flex.ReasonMalformed},
		{"JSON changed", "serialization: json", nil, strings.Replace(f.flattened, `"payload":"`, `"payload":"AAAA`, 1), flex.ReasonSignatureInvalid},
		{"detached over the body", "serialization: detached, " + header, detachedHeader, payload, ""},
		{"detached over another body", "serialization: detached, " + header, detachedHeader, payload + " ", flex.ReasonSignatureInvalid},
		{"detached over nothing", "serialization: detached, " + header, detachedHeader, "", flex.ReasonMalformed},
		{"compact where detached is agreed", "serialization: detached, " + header, inHeader, payload, flex.ReasonMalformed},
		{"detached over a field", "serialization: detached, payload: [/message], " + header, detachedHeader, `{"message":` + payload + `}`, ""},
		{"detached over a field as text", "serialization: detached, payload: [/message], " + header, detachedHeader, `{"message":` + quoted(payload) + `}`, ""},
		{"detached over a field that is not there", "serialization: detached, payload: [/message], " + header, detachedHeader, payload, flex.ReasonMalformed},
		{"detached over a field that is there twice", "serialization: detached, payload: [/message], " + header, detachedHeader,
			`{"message":` + payload + `,"message":` + payload + `}`, flex.ReasonMalformed},
		{"detached in a field over a field", "serialization: detached, location: [field], field: [/sig], payload: [/message]", nil,
			`{"sig":"` + f.detached + `","message":` + payload + `}`, ""},
	} {
		m := marketWith(t, srv, "notification: {"+c.settings+"}\n")
		n, err := m.Verify(t.Context(), flex.Envelope{Door: flex.DoorWebhook, Header: c.header, Body: []byte(c.body)})
		if c.want == "" {
			if err != nil || n.Count != 2 || len(n.ID) != 64 || string(n.Payload) != payload {
				t.Errorf("%s: %+v, %v", c.name, n, err)
			}
			continue
		}
		if r, ok := flex.RefusalOf(err); !ok || r.Reason != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestTheNameOfANotificationIsThatOfAllThatWasSigned(t *testing.T) {
	srv := newFakeMarket(t)
	m := marketWith(t, srv, "notification: {serialization: detached, location: [header], header: X-Signature}\n")
	names := map[flex.NotificationID]bool{}
	for _, payload := range []string{payloadFor(srv.URL), payloadFor(srv.URL, "set=1", "set=2")} {
		token := forms(t, payload).detached
		n, err := m.Verify(t.Context(), flex.Envelope{Header: map[string][]string{"X-Signature": {token}}, Body: []byte(payload)})
		if err != nil || n.ID != digest([]byte(token), []byte(payload)) || n.ID == digest([]byte(token), nil) {
			t.Errorf("%s: %v", n.ID, err)
		}
		names[n.ID] = true
	}
	if len(names) != 2 {
		t.Error("two notifications have one name")
	}
}

func TestClaimsThatTheProfileRequires(t *testing.T) {
	srv := newFakeMarket(t)
	iat := fmt.Sprintf(`"iat":%d`, testNow.Unix())
	for _, c := range []struct {
		name, settings, claims string
		want                   flex.Reason
	}{
		{"nothing required", "{}", iat, ""},
		{"exp required and missing", "{require: [exp]}", iat, flex.ReasonMalformed},
		{"exp required and null", "{require: [exp]}", iat + `,"exp":null`, flex.ReasonMalformed},
		{"exp required and there", "{require: [exp]}", iat + fmt.Sprintf(`,"exp":%d`, testNow.Unix()+600), ""},
		{"jti required and empty", "{require: [jti]}", iat + `,"jti":""`, flex.ReasonMalformed},
		{"jti required and there", "{require: [iat, jti]}", iat + `,"jti":"x"`, ""},
		{"aud required and missing", "{require: [aud], audience: [us]}", iat, flex.ReasonMalformed},
		{"aud is us", "{audience: [us]}", iat + `,"aud":"us"`, ""},
		{"aud has us", "{audience: [we, us]}", iat + `,"aud":["them","us"]`, ""},
		{"aud is another", "{audience: [us]}", iat + `,"aud":"them"`, flex.ReasonSignatureInvalid},
		{"aud is a number", "{audience: [us]}", iat + `,"aud":7`, flex.ReasonSignatureInvalid},
		{"aud is an empty list", "{audience: [us]}", iat + `,"aud":[]`, flex.ReasonSignatureInvalid},
		{"aud without a setting is not looked at", "{}", iat + `,"aud":"them"`, ""},
		{"a wider skew", "{skew: 1h}", fmt.Sprintf(`"iat":%d`, testNow.Unix()+1800), ""},
	} {
		m := marketWith(t, srv, "notification: "+c.settings+"\n")
		body := sign(t, "RS256", makeKeys().market, payloadFor(srv.URL, iat, c.claims))
		_, err := m.Verify(t.Context(), flex.Envelope{Body: []byte(body)})
		r, _ := flex.RefusalOf(err)
		if c.want == "" != (err == nil) || err != nil && r.Reason != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestAnotherEventIsRefusedUnlessTheProfileAcceptsIt(t *testing.T) {
	srv := newFakeMarket(t)
	body := sign(t, "RS256", makeKeys().market, payloadFor(srv.URL, "fp_dispatch_instruction_collection", "fp_second"))
	for settings, want := range map[string]flex.Reason{
		"{}": flex.ReasonEvent, "{fp_second: refuse}": flex.ReasonEvent, "{fp_second: accept}": "", "{fp_third: accept}": flex.ReasonEvent,
	} {
		_, err := marketWith(t, srv, "notification: {other_events: "+settings+"}\n").Verify(t.Context(), flex.Envelope{Body: []byte(body)})
		r, _ := flex.RefusalOf(err)
		if want == "" != (err == nil) || err != nil && r.Reason != want {
			t.Errorf("%s: %v", settings, err)
		}
	}
}

func TestTheKeyIsReadAsTheProfileSays(t *testing.T) {
	srv := newFakeMarket(t)
	body := []byte(sign(t, "RS256", makeKeys().market, payloadFor(srv.URL)))
	pem := quoted(pemOf(t, &makeKeys().market.PublicKey))
	for _, c := range []struct {
		settings, document string
		good               bool
	}{
		{"{}", `{"public_key":` + pem + `}`, true},
		{"{format: json, pointer: /key/current}", `{"key":{"current":` + pem + `,"next":"x"}}`, true},
		{"{format: pem, pointer: /key}", `{"key":` + pem + `}`, true},
		{"{format: jwks}", `{"public_key":` + pem + `}`, false},
		{"{format: json, pointer: /other}", `{"public_key":` + pem + `}`, false},
	} {
		srv.text("/webhook/v1/public-key/", c.document)
		_, err := marketWith(t, srv, "key: "+c.settings+"\n").Verify(t.Context(), flex.Envelope{Body: body})
		if c.good != (err == nil) {
			t.Errorf("%s: %v", c.settings, err)
		}
	}
}

func FuzzLocate(f *testing.F) {
	var profiles []*Profile
	for _, change := range []func(*Profile){
		func(*Profile) {},
		func(p *Profile) { p.Notification.Serialization = serialJSON },
		func(p *Profile) {
			p.Notification.Serialization, p.Notification.Location, p.Notification.Payload = serialDetached, []place{placeHeader, placeField}, pointers{{"m"}}
		},
		func(p *Profile) {
			p.Notification.Serialization, p.Notification.Location = serialDetached, []place{placeHeader}
		},
	} {
		p := loaded(f, "")
		change(p)
		profiles = append(profiles, p)
	}
	f.Add("a.b.c", []byte("a.b.c"))
	f.Add("a..c", []byte(`{"m":{"x":1}}`))
	f.Add("", []byte(`{"payload":"e30","protected":"e30","signature":"AA"}`))
	f.Add("{", []byte(`{"data":{"signatures":[]},"m":"\u0000"}`))
	f.Fuzz(func(t *testing.T, value string, body []byte) {
		for _, p := range profiles {
			found, err := p.locate(map[string][]string{string(p.Notification.Header): {value}}, body)
			if err != nil {
				if _, ok := flex.RefusalOf(err); !ok {
					t.Fatalf("no refusal: %v", err)
				}
				continue
			}
			if found.Form != p.form() || found.where == "" || len(found.Payload) > 0 != (p.form() == trust.FormDetached) && len(body) > 0 && p.form() != trust.FormDetached {
				t.Fatalf("%+v", found)
			}
			if _, _, err := trust.VerifyForm(found.Signed, nil, trust.Algorithms()); err == nil {
				t.Fatalf("verified without a key: %+v", found)
			}
		}
	})
}
