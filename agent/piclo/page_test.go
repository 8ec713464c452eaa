package piclo

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"flexd/agent/flex"
)

// element is the shortest instruction.
func element(id any) string { return fmt.Sprintf(`{"id":"i%v"}`, id) }

func TestLinkHeadersArePaged(t *testing.T) {
	srv := newFakeMarket(t)
	path := "/dispatch/v1/instructions/"
	links := map[string]string{
		"":  `<` + path + `?p=2>; rel="next"`,
		"2": `<` + srv.URL + path + `?p=1>; rel=prev, <?p=3>; title="a, \"b\"; c"; rel="last next"`,
		"3": `<?p=1>; rel="first"`,
	}
	srv.on(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", links[r.URL.Query().Get("p")])
		fmt.Fprint(w, "["+element(r.URL.Query().Get("p"))+"]")
	})
	m := marketWith(t, srv, "lists: {paging: link}\n")
	list, _, err := m.Fetch(t.Context(), srv.URL+path)
	if err != nil || len(list) != 3 || list[2].ID != "i3" {
		t.Errorf("%+v, %v", list, err)
	}
	for name, link := range map[string]string{
		"another host":  `<https://evil.example` + path + `>; rel=next`,
		"another path":  `</authtoken/v1/>; rel=next`,
		"in circles":    `<` + path + `>; rel=next`,
		"two answers":   `<?a=1>; rel=next, <?a=2>; rel=next`,
		"not a link":    `next`,
		"never closed":  `<?a=1; rel=next`,
		"quote open":    `<?a=1>; rel="next`,
		"endless":       `<?a=` + strings.Repeat("x", maxLinkHeader) + `>; rel=next`,
		"not separated": `<?a=1> rel=next`,
	} {
		links[""] = link
		list, _, err := m.Fetch(t.Context(), srv.URL+path)
		if err == nil || len(list) != 1 {
			t.Errorf("%s: %d elements, %v", name, len(list), err)
		}
	}
}

func TestNumberedPagesEndWithAnEmptyOne(t *testing.T) {
	srv := newFakeMarket(t)
	path := "/dispatch/v1/instructions/"
	end, ignores, first := 4, false, ""
	srv.on(path, func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Query().Get("page")
		if r.URL.Query().Get("set") != "7" {
			t.Errorf("the address lost its query: %s", r.URL)
		}
		switch {
		case ignores:
			fmt.Fprint(w, "["+element("x")+"]")
		case p == fmt.Sprint(end):
			fmt.Fprint(w, "[]")
		case p == "1":
			first = "asked"
		default:
			fmt.Fprint(w, "["+element(p)+"]")
		}
	})
	m := marketWith(t, srv, "lists: {paging: page}\n")
	list, _, err := m.Fetch(t.Context(), srv.URL+path+"?set=7")
	if err != nil || len(list) != 3 || first != "" {
		t.Errorf("%+v, %v", list, err)
	}
	end = 0
	if list, _, err = m.Fetch(t.Context(), srv.URL+path+"?set=7"); err == nil || len(list) != 50 {
		t.Errorf("pages without end: %d, %v", len(list), err)
	}
	ignores = true
	if list, _, err = m.Fetch(t.Context(), srv.URL+path+"?set=7"); err == nil || !strings.Contains(err.Error(), "lists.paging") || len(list) != 1 {
		t.Errorf("a parameter that nobody reads: %d, %v", len(list), err)
	}
	m = marketWith(t, srv, "lists: {paging: none}\n")
	if list, _, err = m.Fetch(t.Context(), srv.URL+path+"?set=7"); err != nil || len(list) != 1 {
		t.Errorf("no paging: %d, %v", len(list), err)
	}
}

func TestAPageBeyondTheEndMayBeNotFoundButTheFirstMayNot(t *testing.T) {
	srv := newFakeMarket(t)
	path := "/dispatch/v1/instructions/"
	srv.on(path, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "" {
			fmt.Fprint(w, "["+element(1)+"]")
			return
		}
		http.NotFound(w, r)
	})
	m := marketWith(t, srv, "lists: {paging: page}\n")
	if list, _, err := m.Fetch(t.Context(), srv.URL+path); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, _, err := m.Fetch(t.Context(), srv.URL+path+"gone/"); err == nil {
		t.Error("a list that is not there was an empty one")
	}
}

func TestAPointerFollowsObjectsAndListsAndKeepsTheBytes(t *testing.T) {
	doc := ` {"a" : [ {"b": 1.50 }, [2] ], "c":"x"} `
	for ptr, want := range map[string]string{"/a/0/b": "1.50", "/a/1": "[2]", "/a/1/0": "2", "/c": `"x"`, "/a/2": "", "/a/-1": "", "/a/x": "", "/c/d": "", "/d": "", "/a/0/b/c": ""} {
		p, err := parsePointer(ptr)
		if err != nil {
			t.Fatal(err)
		}
		raw, ok := rawAt([]byte(doc), p)
		if ok != (want != "") || string(raw) != want {
			t.Errorf("%s: %q, %v", ptr, raw, ok)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	f.Add(`<https://a/?p=2>; rel="next", <b>; rel=prev`)
	f.Add(`<>; rel=next;;`)
	f.Add(`<a>;x="\";rel=next`)
	f.Add(`, ,<a>;rel`)
	at, err := (&Profile{}).parseOrigins("https://api.example", nil, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		link, err := nextLink([]string{value})
		if err != nil || link == "" {
			return
		}
		if !strings.Contains(value, "<"+link+">") {
			t.Fatalf("%q is not in %q", link, value)
		}
		here, _ := url.Parse("https://api.example/dispatch/v1/instructions/")
		there, err := here.Parse(link)
		if err != nil {
			return
		}
		if _, err := at.pin(there.String(), "/dispatch/v1/instructions/"); err != nil {
			if _, ok := flex.RefusalOf(err); !ok {
				t.Fatal(err)
			}
		}
	})
}
