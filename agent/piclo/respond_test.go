package piclo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flexd/agent/flex"
)

// heard is what a market was told.
type heard struct {
	mu  sync.Mutex
	got []string // method, address and body
}

func (h *heard) note(r *http.Request) {
	raw, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, r.Method+" "+r.URL.RequestURI()+" "+string(raw))
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.got...)
}

// openProfile opens a market with a profile on top of the embedded one.
func openProfile(t testing.TB, base, text string) *Market {
	t.Helper()
	p := embeddedProfile(t)
	if err := p.overlay("test.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	m, err := Open(Config{Profile: p, BaseURL: base, ClientID: "site", APIKey: func() (string, error) { return "secret", nil },
		Wall: fixedWall{testNow, flex.ClockSynced}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const respondOn = "response: {use: on}\n"
const singleOnly = "response: {use: on, bulk: {accept: off, reject: off}}\n"

func TestAnAnswerIsExactlyWhatTheProfileSays(t *testing.T) {
	srv, h := newFakeMarket(t), &heard{}
	for _, p := range []string{"/dispatch/v1/instructions/a b/accept/", "/dispatch/v1/instructions/a/reject/"} {
		srv.on(p, func(w http.ResponseWriter, r *http.Request) { h.note(r); w.WriteHeader(204) })
	}
	m := openProfile(t, srv.URL, respondOn)
	if err := m.Respond(t.Context(), flex.Accept, []flex.Say{{ID: "a b", Revision: 9007199254740993}}); err[0] != nil {
		t.Error(err)
	}
	if err := m.Respond(t.Context(), flex.Reject, []flex.Say{{ID: "a", Revision: 2, Reason: flex.ReasonRejected, Text: `no "thanks"`}}); err[0] != nil {
		t.Error(err)
	}
	want := []string{
		`POST /dispatch/v1/instructions/a%20b/accept/ {"revision":9007199254740993}`,
		`POST /dispatch/v1/instructions/a/reject/ {"comment":"no \"thanks\"","reason":"declined","revision":2}`,
	}
	if got := h.all(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
}

func TestWhatAStatusMeansForAnAnswer(t *testing.T) {
	for code, want := range map[int]string{200: "", 202: "", 204: "", 409: "", 400: "final", 403: "final", 404: "final", 307: "final",
		410: "temporary", 429: "temporary", 500: "temporary", 503: "temporary", 502: "temporary uncertain", 504: "temporary uncertain", 599: "final"} {
		srv := newFakeMarket(t)
		srv.on("/x/a", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere/")
			w.Header().Set("Retry-After", "77")
			w.WriteHeader(code)
			fmt.Fprint(w, `{"detail":"gone\u001b[2Jby"}`)
		})
		m := openProfile(t, srv.URL, `response: {use: on, accept: {method: PUT, path: "/x/{id}", already: [409], temporary: [410], final: [599]}}`)
		err := m.Respond(t.Context(), flex.Accept, []flex.Say{{ID: "a"}})[0]
		if got := class(err); got != want {
			t.Errorf("%d: %s, %v", code, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "gone") || strings.Contains(err.Error(), "\x1b")) {
			t.Errorf("%d: %v", code, err)
		}
		var retry *flex.RetryError
		if errors.As(err, &retry) && retry.After != 77*time.Second {
			t.Errorf("%d: again after %v", code, retry.After)
		}
		if srv.count("/elsewhere/") != 0 {
			t.Error("a redirect was followed")
		}
	}
}

// class sums up an error as the caller sees it.
func class(err error) string {
	var retry *flex.RetryError
	out := "final"
	switch {
	case err == nil:
		return ""
	case errors.As(err, &retry):
		out = "temporary"
	}
	if errors.Is(err, flex.ErrUncertain) {
		out += " uncertain"
	}
	if errors.Is(err, flex.ErrNotSent) {
		out += " unsent"
	}
	return out
}

func TestARequestWithoutAnAnswerIsToldFromOneThatWasNotSent(t *testing.T) {
	srv := newFakeMarket(t)
	srv.on("/dispatch/v1/instructions/a/accept/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			c.Close()
		}
	})
	m := openProfile(t, srv.URL, respondOn)
	if err := m.Respond(t.Context(), flex.Accept, []flex.Say{{ID: "a"}})[0]; class(err) != "temporary uncertain" {
		t.Errorf("cut off: %v", err)
	}
	srv.Close()
	if err := m.Respond(t.Context(), flex.Accept, []flex.Say{{ID: "a"}})[0]; class(err) != "temporary unsent" {
		t.Errorf("market gone: %v", err)
	}
}

func TestAStormOf401IsNotAnsweredWithAStorm(t *testing.T) {
	srv, n := newFakeMarket(t), 0
	srv.on("/dispatch/v1/instructions/a/accept/", func(w http.ResponseWriter, _ *http.Request) { n++; w.WriteHeader(401) })
	m := openProfile(t, srv.URL, singleOnly)
	say := make([]flex.Say, 100)
	for i := range say {
		say[i].ID = "a"
	}
	for i, err := range m.Respond(t.Context(), flex.Accept, say) {
		if want := map[bool]string{true: "temporary", false: "temporary unsent"}[i == 0]; class(err) != want {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if n != 2 || srv.count("/authtoken/v1/") != 2 {
		t.Errorf("asked %d times with %d tokens", n, srv.count("/authtoken/v1/"))
	}
}

func TestAnIdThatLeadsElsewhereIsRefusedUnsent(t *testing.T) {
	srv := newFakeMarket(t)
	m := openProfile(t, srv.URL, respondOn)
	for _, id := range []string{"", "..", "a/../b", `a\b`, "a%2fb", "a;b", "a\nb", strings.Repeat("x", 200)} {
		err := m.Respond(t.Context(), flex.Accept, []flex.Say{{ID: flex.InstructionID(id)}})[0]
		if r, ok := flex.RefusalOf(err); !ok || r.Reason != flex.ReasonBadField {
			t.Errorf("%q: %v", id, err)
		}
	}
	if len(srv.queries) != 0 {
		t.Errorf("the market was asked: %v", srv.asked)
	}
}

func TestAnswersInBulk(t *testing.T) {
	const one, many = "/dispatch/v1/instructions/%s/accept/", "/dispatch/v1/instructions/accept/"
	say := []flex.Say{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	for name, c := range map[string]struct {
		code    int
		reply   string
		want    [3]string
		singles int
	}{
		"an empty reply takes all":                {204, "", [3]string{}, 0},
		"a named failure is that one's alone":     {200, `{"failed":[{"id":"b","detail":"expired"}]}`, [3]string{"", "final", ""}, 0},
		"a failure's own status counts":           {207, `{"failed":[{"id":"a","status":409},{"id":"b","status":"503"},{"id":"c","status":201}]}`, [3]string{"", "temporary", ""}, 0},
		"a bad request is tried one by one":       {400, "{}", [3]string{}, 3},
		"a failure of a stranger: one by one":     {200, `{"failed":[{"id":"z"}]}`, [3]string{}, 3},
		"a failure without an id: one by one":     {200, `{"failed":[{"detail":"?"}]}`, [3]string{}, 3},
		"a reply that is not JSON: one by one":    {200, `<html>`, [3]string{}, 3},
		"a busy market is asked later, all of it": {503, "", [3]string{"temporary", "temporary", "temporary"}, 0},
		"a reply cut off is uncertain":            {299, `{"fai`, [3]string{"temporary uncertain", "temporary uncertain", "temporary uncertain"}, 0},
	} {
		srv, h := newFakeMarket(t), &heard{}
		srv.on(many, func(w http.ResponseWriter, r *http.Request) {
			h.note(r)
			if c.code == 299 {
				w.Header().Set("Content-Length", "500")
			}
			w.WriteHeader(c.code)
			fmt.Fprint(w, c.reply)
		})
		var singles atomic.Int32
		for _, s := range say {
			srv.on(fmt.Sprintf(one, s.ID), func(http.ResponseWriter, *http.Request) { singles.Add(1) })
		}
		m := openProfile(t, srv.URL, "response: {use: on, bulk: {accept: {method: POST, path: "+many+", body: {instructions: \"{items}\"}, already: [409]}}}")
		for i, err := range m.Respond(t.Context(), flex.Accept, say) {
			if class(err) != c.want[i] {
				t.Errorf("%s: %s: %v", name, say[i].ID, err)
			}
		}
		if int(singles.Load()) != c.singles || h.all()[0] != "POST "+many+` {"instructions":[{"id":"a","revision":0},{"id":"b","revision":0},{"id":"c","revision":0}]}` {
			t.Errorf("%s: %d singles, %q", name, singles.Load(), h.all())
		}
	}
}

func TestHowLongAMarketWaits(t *testing.T) {
	m := openProfile(t, "http://127.0.0.1:1", respondOn)
	for name, c := range map[string]struct {
		in   flex.Instruction
		comp flex.Competition
		want flex.AnswerRule
		ok   bool
	}{
		"others":                {flex.Instruction{Operator: "X"}, flex.Competition{}, flex.AnswerRule{Within: time.Hour}, true},
		"neso":                  {flex.Instruction{Operator: "NESO"}, flex.Competition{Name: "LCM north"}, flex.AnswerRule{Within: time.Hour}, true},
		"spen month":            {flex.Instruction{}, flex.Competition{Operator: "SPEN", ServiceType: "Month-ahead"}, flex.AnswerRule{Within: 48 * time.Hour, WorkingDays: true}, true},
		"spen long":             {flex.Instruction{Operator: "SPEN"}, flex.Competition{ServiceType: "long-term"}, flex.AnswerRule{}, false},
		"eversource":            {flex.Instruction{Operator: "Eversource"}, flex.Competition{}, flex.AnswerRule{Within: 4 * time.Hour}, true},
		"a stop is no question": {flex.Instruction{Kind: flex.KindStop}, flex.Competition{}, flex.AnswerRule{}, false},
	} {
		if got, ok := m.AnswerRule(c.in, c.comp); got != c.want || ok != c.ok {
			t.Errorf("%s: %v %v", name, got, ok)
		}
	}
	off := openProfile(t, "http://127.0.0.1:1", "")
	if _, ok := off.AnswerRule(flex.Instruction{}, flex.Competition{}); ok || off.Responds() {
		t.Error("the embedded profile answers")
	}
	if err := off.Respond(t.Context(), flex.Accept, make([]flex.Say, 1))[0]; !errors.Is(err, flex.ErrUnsupported) {
		t.Error(err)
	}
}

func TestABadCallIsExplainedWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"response:\n  accept: {method: GET, path: /a/}":                           "line 2: \"GET\": choose POST",
		"response:\n  accept:\n    path: /a/":                                     "line 3: the call needs a method",
		"response: {accept: {method: POST}}":                                      "needs a path",
		"response:\n  accept: {method: POST, path: /a/, body: {x: \"{who}\"}}":    "line 2: \"{who}\": no such placeholder",
		"response: {accept: {method: POST, path: \"/a/{x}/\"}}":                   "no such placeholder",
		"response: {accept: {method: POST, path: \"/a-{id}/\"}}":                  "stands alone",
		"response: {accept: {method: POST, path: /../a/}}":                        "write a path",
		"response: {accept: {method: POST, path: /a/, body: {x: \"{id\"}}}":       "brace",
		"response: {accept: {method: POST, path: /a/, body: {x: \"a{text?}\"}}}":  "whole value",
		"response: {accept: {method: POST, path: /a/, body: [\"{text?}\"]}}":      "whole value",
		"response: {accept: {method: POST, path: /a/, body: {x: .nan}}}":          "JSON",
		"response: {accept: {method: POST, path: /a/, body: {x: &a [*a]}}}":       "alias",
		"response: {accept: {method: POST, path: /a/, body: {x: \"{id:unix}\"}}}": ":unix",
		"response: {accept: {method: POST, path: /a/, ok: [600]}}":                "status",
		"response: {accept: {method: POST, path: /a/, already: [401]}}":           "token",
		"response: {accept: {method: POST, path: /a/, bdoy: {}}}":                 "unknown key bdoy",
		"response: {bulk: {accept: {method: POST, path: /a/, body: {}}}}":         "needs {items} once",
		"response: {use: on, accept: off}":                                        "needs the calls",
		"response: {rules: [{match: {operator: x}, preset: y}]}":                  "does not exist",
		"response: {rules: [{match: {operator: x}}]}":                             "either preset or within",
		"response: {deadline: {within: 5}}":                                       "write a duration",
		"subscription: {use: on, list: off}":                                      "subscription.create",
		"subscription: {list: {method: POST, path: /a/}}":                         "choose GET",
		"availability: {use: on, declare: off}":                                   "availability.declare",
	} {
		if err := embeddedProfile(t).overlay("x.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestJSONKeepsItsTypes(t *testing.T) {
	const body = `{n: 1, f: 1.50, hex: 0x10, yes: true, none: null, day: 2026-01-02, quoted: "1", rev: "{revision}", revtext: "{revision:text}", mixed: "v{revision} {{x}}", at: "{at}", unix: "{at:unix}", list: [1, "{id}"], gone: "{text?}"}`
	m := openProfile(t, "http://127.0.0.1:1", "response: {accept: {method: POST, path: /a/, body: "+body+"}}")
	raw, err := m.profile.Response.Accept.body.marshal(m.said(flex.Say{ID: `i"d`, Revision: 7}, testNow))
	const want = `{"at":"2026-03-02T12:00:00Z","day":"2026-01-02","f":1.50,"hex":16,"list":[1,"i\"d"],"mixed":"v7 {x}","n":1,"none":null,"quoted":"1","rev":7,"revtext":"7","unix":1772452800,"yes":true}`
	if err != nil || string(raw) != want {
		t.Errorf("%s, %v", raw, err)
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(`{a: "{id}", b: [1, "x{text}"], c: "{text?}"}`, `i"}d`, "te\x00xt")
	f.Add(`"{{{revision}}}"`, "", "\xff")
	f.Add("{x: 0o7, y: !!binary aGk=, <<: {z: 1}}", "a", "b")
	f.Fuzz(func(t *testing.T, body, id, text string) {
		p := embeddedProfile(t)
		if p.overlay("fuzz.yaml", []byte("response: {accept: {method: POST, path: \"/{id}/\", body: "+body+"}}")) != nil || p.Response.Accept.body == nil {
			return
		}
		v := values{"id": id, "revision": int64(3), "reason": "", "text": text, "at": testNow}
		raw, err := p.Response.Accept.body.marshal(v)
		if err != nil || !json.Valid(raw) {
			t.Fatalf("%s, %v", raw, err)
		}
		if path, err := p.Response.Accept.target(v); err == nil && strings.Count(path, "/") != 2 {
			t.Fatalf("%q leads elsewhere", path)
		}
	})
}
