package piclo

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func loaded(t testing.TB, name string) *Profile {
	t.Helper()
	p, err := LoadProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const pointerDispatch = `{"id":"123","modification_number":3,"contract_id":"k1","program_id":"p1","site_ids":["s1","s2"],"power":-7.5,
"start_at":1772467200,"end_at":1772470800,"state":"planned","utility":"ConEd","note":"kept"}`

// pointerServer is a market of the pointer kind: numbered pages, a bearer
// token given directly, no slash at the end of anything.
func pointerServer(t *testing.T) (*fakeMarket, *Market) {
	t.Helper()
	srv := newFakeMarket(t)
	srv.good = "static-key"
	srv.text("/v1/dispatches/123", pointerDispatch)
	pages := map[string]string{
		"":  `{"results":[` + pointerDispatch + `],"page":1}`,
		"2": `{"results":[` + strings.Replace(pointerDispatch, "123", "124", 1) + `],"page":2}`,
		"3": `{"results":[],"page":3}`,
	}
	srv.on("/v1/dispatches", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, pages[r.URL.Query().Get("page")]) })
	srv.on("/v1/contracts", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") != "" { // some say "no such page" instead of an empty one
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"results":[{"id":"k1","program_id":"p1","utility":"ConEd","site_ids":["s1","s2"],"committed_power":-10,
			"starts_on":"2026-01-01","ends_before":"2027-01-01","weekdays":["mon"],"from":"16:00","to":"20:00","max_duration":"PT2H30M"}]}`)
	})
	srv.text("/v1/sites/s1", `{"id":"s1","name":"Site","state":"live","import_power":-5,"export_power":4.25,"min_duration":"PT30M","notice":"PT5M"}`)
	srv.text("/v1/programs/p1", `{"id":"p1","title":"Peak","kind":"capacity","aim":"absorb"}`)
	m, err := Open(Config{Profile: loaded(t, "pointer"), BaseURL: srv.URL, APIKey: func() (string, error) { return "static-key\n", nil },
		Wall: fixedWall{testNow, flex.ClockSynced}})
	if err != nil {
		t.Fatal(err)
	}
	return srv, m
}

func TestAnotherMarketNeedsNoGo(t *testing.T) {
	srv, m := pointerServer(t)
	ctx := t.Context()
	if err := m.RefreshKeys(ctx); err != nil {
		t.Errorf("keys of a market without keys: %v", err)
	}
	body := `{"id":"evt_1","type":"dispatch.created","url":"` + srv.URL + `/v1/dispatches/123","instruction_count":9}`
	n, err := m.Verify(ctx, flex.Envelope{Door: flex.DoorWebhook, Received: testNow, Body: []byte(body)})
	if err != nil || n.KeyID != "unsigned" || n.Count != 0 || n.Payload != nil || n.Event != "dispatch.created" || n.ID == "" {
		t.Fatalf("%+v, %v", n, err)
	}
	again, err := m.Verify(ctx, flex.Envelope{Body: []byte(strings.Replace(body, "evt_1", "evt_2", 1))})
	if err != nil || again.ID != n.ID {
		t.Errorf("another body with the same address is another notice: %v, %v", again.ID, err)
	}
	list, _, err := m.Fetch(ctx, n.DataURL)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	in := list[0]
	if in.ID != "123" || in.Revision != 3 || in.Capacity != 7500 || in.Direction != flex.Import || !in.Window.Start.Equal(time.Unix(1772467200, 0)) ||
		in.Window.Duration() != time.Hour || len(in.Problems) > 0 || in.Operator != "ConEd" || in.Kind != flex.KindStart || len(in.RawHash) != 64 {
		t.Errorf("%+v", in)
	}
	all, _, err := m.List(ctx, testNow)
	if err != nil || len(all) != 2 || all[1].ID != "124" {
		t.Errorf("pages: %+v, %v", all, err)
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.tokens != 0 || !slices.ContainsFunc(srv.queries, func(q string) bool { return strings.Contains(q, fmt.Sprintf("updated_after=%d", testNow.Unix())) }) {
		t.Errorf("%d tokens asked for, queries %v", srv.tokens, srv.queries)
	}
}

func TestTheOtherDocumentsOfThePointerMarket(t *testing.T) {
	_, m := pointerServer(t)
	ctx := t.Context()
	obs, err := m.Obligations(ctx, time.Time{}, time.Time{})
	if err != nil || len(obs) != 1 {
		t.Fatalf("%+v, %v", obs, err)
	}
	if ob := obs[0]; ob.Capacity != 10_000 || ob.Direction != flex.Import || ob.MaxRuntime != 150*time.Minute || ob.StartTime != 16*time.Hour {
		t.Errorf("%+v", ob)
	}
	a, err := m.Asset(ctx, "s1")
	if err != nil || a.Import != 5000 || a.Export != 4250 || a.Response != 5*time.Minute {
		t.Errorf("%+v, %v", a, err)
	}
	if c, err := m.Competition(ctx, "p1"); err != nil || c.Direction != flex.Import || c.ServiceType != "capacity" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAnUnsignedPointerCanOnlyCauseAFetchFromOurMarket(t *testing.T) {
	srv, m := pointerServer(t)
	for _, c := range []struct {
		name, body string
		want       flex.Reason
	}{
		{"another host", `{"type":"dispatch.created","url":"https://evil.example/v1/dispatches/1"}`, flex.ReasonForeignURL},
		{"another path", `{"type":"dispatch.created","url":"` + srv.URL + `/v1/sites/1"}`, flex.ReasonForeignURL},
		{"a path that begins alike", `{"type":"dispatch.created","url":"` + srv.URL + `/v1/dispatches-evil"}`, flex.ReasonForeignURL},
		{"dots", `{"type":"dispatch.created","url":"` + srv.URL + `/v1/dispatches/../sites/1"}`, flex.ReasonForeignURL},
		{"no address", `{"type":"dispatch.created"}`, flex.ReasonMalformed},
		{"unknown event", `{"type":"invoice.created","url":"` + srv.URL + `/v1/dispatches/1"}`, flex.ReasonEvent},
		{"refused event", `{"type":"dispatch.test","url":"` + srv.URL + `/v1/dispatches/1"}`, flex.ReasonEvent},
		{"no event", `{"url":"` + srv.URL + `/v1/dispatches/1"}`, flex.ReasonMalformed},
		{"not JSON", `hello`, flex.ReasonMalformed},
		{"twice", `{"type":"dispatch.created","type":"x","url":"` + srv.URL + `/v1/dispatches/1"}`, flex.ReasonMalformed},
		{"endless", `{"x":"` + strings.Repeat("x", maxSignedSize) + `"}`, flex.ReasonTooLarge},
		{"the content itself", pointerDispatch, flex.ReasonMalformed},
	} {
		_, err := m.Verify(t.Context(), flex.Envelope{Body: []byte(c.body)})
		if r, ok := flex.RefusalOf(err); !ok || r.Reason != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	ok := `{"type":"dispatch.cancelled","links":{"self":"` + srv.URL + `/v1/dispatches/123"}}`
	if _, err := m.Verify(t.Context(), flex.Envelope{Body: []byte(ok)}); err != nil {
		t.Errorf("an accepted event: %v", err)
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if len(srv.asked) > 0 {
		t.Errorf("asked: %v", srv.asked)
	}
}

func TestACountThatNobodyVouchesForIsNotExpected(t *testing.T) {
	srv := newFakeMarket(t)
	m := marketWith(t, srv, "notification: {signature: none}\n")
	n, err := m.Verify(t.Context(), flex.Envelope{Body: []byte(payloadFor(srv.URL))})
	if err != nil || n.Count != 0 || !n.IssuedAt.IsZero() {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestAStaticTokenThatCannotBeOneIsNamed(t *testing.T) {
	for _, key := range []string{"", " \n", "two words", "line\nbreak", strings.Repeat("x", maxTokenText+1)} {
		tk := &tokens{profile: profileToken{Kind: tokenStatic}, key: func() (string, error) { return key, nil }}
		if _, err := tk.get(t.Context()); err == nil || !strings.Contains(err.Error(), "market.api_key") {
			t.Errorf("%.10q: %v", key, err)
		}
	}
}
