package piclo

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"flexd/agent/flex"
)

// explained runs one sample and wants it to be a document.
func explained(t *testing.T, p *Profile, s Sample) Explanation {
	t.Helper()
	if s.Now.IsZero() {
		s.Now = testNow
	}
	e, err := p.Explain(s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func fieldOf(u Understood, name string) Field {
	for _, f := range u.Fields {
		if f.Name == name {
			return f
		}
	}
	return Field{}
}

func TestEveryFieldIsShownWithWhereItCameFromAndWhatItMeans(t *testing.T) {
	e := explained(t, embeddedProfile(t), Sample{Body: []byte(`{"count":1,"next":"/p2","results":[` + goodInstruction + `]}`)})
	if e.Kind != KindInstructions || !e.Recognised || len(e.Documents) != 1 || !strings.Contains(e.Found, `the next page is "/p2"`) ||
		!slices.Equal(e.Ignored, []string{"/count = 1"}) {
		t.Fatalf("%+v", e)
	}
	u := e.Documents[0]
	for name, want := range map[string]Field{
		"capacity":  {Name: "capacity", From: "/capacity", Raw: `"0.05010"`, Means: "50.1 kW, read as MW"},
		"end":       {Name: "end", From: "/end", Raw: `"2026-03-02T17:00:00+00:00"`, Means: "2026-03-02T17:00:00Z"},
		"direction": {Name: "direction", From: "/direction", Raw: `"export"`, Means: "export"},
		"assets":    {Name: "assets", From: "/asset_ids", Raw: `["a1","a2"]`, Means: "2: a1, a2"},
	} {
		got := fieldOf(u, name)
		if got.From != want.From || got.Raw != want.Raw || got.Means != want.Means || got.Problem != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if f := fieldOf(u, "signature"); f.Found() || !slices.Equal(f.Looked, []string{"/signature"}) {
		t.Errorf("a missing field: %+v", f)
	}
	if !slices.Contains(u.Ignored, "/surprise/kept = true") || u.Direction != "export, from /direction of the instruction" ||
		!strings.HasPrefix(u.Verdict, "a start of 50.1 kW") || len(u.Refusals()) > 0 {
		t.Errorf("%+v", u)
	}
}

func TestTheKindIsRecognisedByItsLooks(t *testing.T) {
	p, pointerMarket := embeddedProfile(t), loaded(t, "pointer")
	pem := pemOf(t, &makeKeys().market.PublicKey)
	for _, c := range []struct {
		p          *Profile
		body, want string
	}{
		{p, goodInstruction, KindInstructions},
		{p, "[" + goodObligation + "]", KindObligations},
		{p, `{"id":"z","active_export_capacity":"0.05","postcode":"X"}`, KindAssets},
		{p, `{"id":"c","name":"n","service_type":"x","direction":"export"}`, KindCompetition},
		{p, pem, KindKey},
		{p, `{"public_key":` + quoted(pem) + `}`, KindKey},
		{p, sign(t, "RS256", makeKeys().market, "{}"), KindNotification},
		{p, `{"payload":"a.b.c"}`, KindNotification},
		{pointerMarket, `{"id":"e","type":"dispatch.created","url":"https://x/v1/dispatches/1"}`, KindNotification},
		{pointerMarket, pointerDispatch, KindInstructions},
		{p, ``, ""}, {p, `[]`, ""}, {p, `{"a":`, ""}, {p, `{"a":1}`, ""},
	} {
		e, err := c.p.Explain(Sample{Body: []byte(c.body), Now: testNow})
		if e.Kind != c.want || c.want == "" != (err != nil) {
			t.Errorf("%.40s: %q, %v, want %q", c.body, e.Kind, err, c.want)
		}
	}
	if _, err := p.Explain(Sample{Kind: "poem", Body: []byte("x")}); err == nil {
		t.Error("an unknown kind was explained")
	}
}

func TestAnUncheckedSignatureIsSaidAloud(t *testing.T) {
	p := embeddedProfile(t)
	base := "https://api.example"
	good := sign(t, "RS256", makeKeys().market, payloadFor(base))
	key := []byte(pemOf(t, &makeKeys().market.PublicKey))
	for name, c := range map[string]struct {
		s    Sample
		want string
		good bool
	}{
		"no key":           {Sample{Body: []byte(good), BaseURL: base}, "SIGNATURE NOT CHECKED", true},
		"the right key":    {Sample{Body: []byte(good), BaseURL: base, Keys: key}, "", true},
		"another key":      {Sample{Body: []byte(good), BaseURL: base, Keys: []byte(pemOf(t, &makeKeys().stranger.PublicKey))}, "DOES NOT HOLD", true},
		"no base":          {Sample{Body: []byte(good), Keys: key}, "api.example", true},
		"another base":     {Sample{Body: []byte(good), Keys: key, BaseURL: "https://other.example"}, "", false},
		"no algorithm":     {Sample{Body: []byte(b64(`{"alg":"none"}`) + "." + b64(payloadFor(base)) + "."), BaseURL: base}, "whatever the key", true},
		"in a header":      {Sample{Kind: KindNotification, Body: []byte("{}"), Header: map[string][]string{"X-Sig": {"eyJ.b.c"}}}, "X-Sig looks like a JWS", false},
		"not there at all": {Sample{Kind: KindNotification, Body: []byte(`{"a":1}`)}, "", false},
	} {
		e := explained(t, p, c.s)
		said := strings.Join(e.Warnings, "\n")
		if !strings.Contains(said, c.want) || c.want == "" && said != "" || e.Good() != c.good {
			t.Errorf("%s: %q, %+v", name, said, e.Documents)
		}
	}
}

func TestVerdictsAreThoseOfTheDecoder(t *testing.T) {
	p := embeddedProfile(t)
	for _, c := range []struct {
		field, value, verdict, why, problem string
	}{
		{"type", `"stop"`, "a stop of i1", "stop.type_words", ""},
		{"status", `"cancelled"`, "a stop of i1", "stop.status_words", ""},
		{"capacity", `"0"`, "a stop of i1", "stop.capacity_zero", ""},
		{"capacity", `"-5"`, "a start that is refused", "no rule", "capacity: \"-5\" is negative"},
		{"start", ``, "a start that is refused", "no rule", "start is missing"},
		{"end", `"2026-03-02T15:00:00Z"`, "a start that is refused", "no rule", "not after the start"},
	} {
		u := explained(t, p, Sample{Kind: KindInstructions, Body: change(t, c.field, c.value)}).Documents[0]
		got := fieldOf(u, c.field)
		if !strings.HasPrefix(u.Verdict, c.verdict) || !strings.Contains(u.Why, c.why) || !strings.Contains(got.Problem, c.problem) {
			t.Errorf("%s = %s: %q, %q, %+v", c.field, c.value, u.Verdict, u.Why, got)
		}
	}
	late := explained(t, p, Sample{Kind: KindInstructions, Body: []byte(goodInstruction), Now: testNow.Add(30 * day)}).Documents[0]
	if !strings.Contains(late.Verdict, "a stop when it amends a known one") {
		t.Errorf("%q", late.Verdict)
	}
}

func TestDirectionsAreResolvedAcrossSamples(t *testing.T) {
	p := embeddedProfile(t)
	ins := explained(t, p, Sample{Body: change(t, "direction", "")})
	if !strings.Contains(ins.Documents[0].Direction, "its obligation, else of its competition") {
		t.Errorf("%q", ins.Documents[0].Direction)
	}
	comp := explained(t, p, Sample{Body: []byte(`{"id":"c1","name":"n","service_type":"x","direction":"import"}`)})
	p.Relate([]Explanation{ins, comp})
	if got := ins.Documents[0].Direction; got != "import, from its competition c1" {
		t.Errorf("%q", got)
	}
	p.Relate([]Explanation{ins, comp, explained(t, p, Sample{Body: []byte(goodObligation)})})
	if got := ins.Documents[0].Direction; got != "export, from its obligation ob1" {
		t.Errorf("%q", got)
	}
}

// The trace must be of the decoding that really happens: with and without it
// the same comes out.
func FuzzExplain(f *testing.F) {
	p := embeddedProfile(f)
	q, err := LoadProfile("pointer")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(goodInstruction))
	f.Add([]byte("[" + goodObligation + "]"))
	f.Add([]byte(`{"payload":"eyJ.e30.c"}`))
	f.Add([]byte(pointerDispatch))
	f.Add([]byte(`{"results":[{"id":"a","capacity":{}}],"next":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, p := range []*Profile{p, q} {
			for _, kind := range append(Kinds(), "") {
				e, err := p.Explain(Sample{Kind: kind, Body: raw, Now: testNow})
				if err != nil {
					continue
				}
				if _, err := json.Marshal(e); err != nil {
					t.Fatal(err)
				}
			}
			plain, err := p.instruction(raw)
			traced, err2 := p.readInstruction(raw, &trace{})
			if err == nil != (err2 == nil) || plain.Content != traced.Content || len(plain.Problems) != len(traced.Problems) || plain.Kind != traced.Kind {
				t.Fatalf("traced %+v, plain %+v", traced, plain)
			}
			if err == nil && plain.Kind == flex.KindStart && plain.Capacity < 0 {
				t.Fatalf("%+v", plain)
			}
		}
	})
}
