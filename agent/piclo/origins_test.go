package piclo

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"flexd/agent/flex"
)

// second serves instructions elsewhere, to whoever has the account's token.
func second(t *testing.T, first *fakeMarket) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first.mu.Lock()
		good := first.good
		first.mu.Unlock()
		if good == "" || r.Header.Get("Authorization") != "Bearer "+good {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte("[" + goodInstruction + "]"))
	}))
	t.Cleanup(srv.Close)
	return srv
}

// A market may point to, and redirect to, another address that is configured:
// the token goes there. It goes to no other.
func TestAnotherOriginOfTheMarket(t *testing.T) {
	const list = "/dispatch/v1/instructions/"
	first := newFakeMarket(t)
	other := second(t, first)
	for _, c := range []struct {
		name, url string
		origins   []string
		redirect  bool
		ok        bool
	}{
		{"points there", other.URL + list + "?id=1", []string{other.URL}, false, true},
		{"points there, below a path", other.URL + "/v2" + list, []string{other.URL + "/v2"}, false, true},
		{"points beside the path", other.URL + list, []string{other.URL + "/v2"}, false, false},
		{"points to what is not configured", other.URL + list, nil, false, false},
		{"redirects there", first.URL + list, []string{other.URL}, true, true},
		{"redirects to what is not configured", first.URL + list, nil, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.redirect {
				first.on(list, func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, other.URL+list, http.StatusMovedPermanently)
				})
			}
			m, err := Open(Config{BaseURL: first.URL, Origins: c.origins, ClientID: "site", APIKey: func() (string, error) { return "secret", nil },
				Wall: fixedWall{testNow, flex.ClockSynced}})
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := m.Fetch(t.Context(), c.url)
			if (err == nil && len(got) == 1) != c.ok {
				t.Errorf("%d instructions, %v", len(got), err)
			}
		})
	}
}

// What points near asks a person, what points far is just refused; neither is
// followed.
func TestWhatPointsNearAsksAPerson(t *testing.T) {
	const list = "/dispatch/v1/instructions/"
	profile := embeddedProfile(t)
	for _, c := range []struct {
		base, url string
		why       flex.Reason
	}{
		{"https://api.picloflex.com", "https://api.picloflex.com" + list, ""},
		{"https://api.picloflex.com", "https://api2.picloflex.com" + list, flex.ReasonMovedURL},
		{"https://api.picloflex.com", "https://api.picloflex.com:8443" + list, flex.ReasonMovedURL},
		{"https://api.picloflex.com", "https://picloflex.co.uk/v2" + list, flex.ReasonMovedURL},
		{"https://api.picloflex.com", "https://api.PicloMax.com" + list, flex.ReasonMovedURL},
		{"https://api.picloflex.com", "http://api2.picloflex.com" + list, flex.ReasonForeignURL},
		{"https://api.picloflex.com", "https://a@api2.picloflex.com" + list, flex.ReasonForeignURL},
		{"https://api.picloflex.com", "https://picloflex.com.evil.example" + list, flex.ReasonForeignURL},
		{"https://api.picloflex.com", "https://api.evil-picloflex.com" + list, flex.ReasonForeignURL},
		{"https://api.market.co.uk", "https://api.other.co.uk" + list, flex.ReasonForeignURL},
		{"https://api.market.co.uk", "https://market.io" + list, flex.ReasonMovedURL},
		{"https://192.0.2.7", "https://192.0.2.8" + list, flex.ReasonForeignURL},
		{"https://market", "https://other.market" + list, flex.ReasonForeignURL},
		{"https://[2001:db8::1]", "https://[2001:db8::2]" + list, flex.ReasonForeignURL},
	} {
		at, err := profile.parseOrigins(c.base, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = at.pin(c.url, list)
		no, refused := flex.RefusalOf(err)
		if refused != (c.why != "") || refused && no.Reason != c.why {
			t.Errorf("%s for %s: %v", c.url, c.base, err)
		}
		if refused && c.why == flex.ReasonMovedURL && !strings.Contains(no.Text, `market.origins: ["https://`) {
			t.Errorf("no remedy in %q", no.Text)
		}
	}
}

// Where nothing is signed anybody may point near: no person is sent after it.
func TestAnUnsignedPointerNearAsksNobody(t *testing.T) {
	m, err := Open(Config{Profile: loaded(t, "pointer"), BaseURL: "https://api.market.example", APIKey: func() (string, error) { return "secret", nil }, Wall: fixedWall{testNow, flex.ClockSynced}})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"api2.market.example", "far.example.org"} {
		body := `{"id":"evt_1","type":"dispatch.created","url":"https://` + host + `/v1/dispatches/123"}`
		_, err := m.Verify(t.Context(), flex.Envelope{Body: []byte(body)})
		if no, ok := flex.RefusalOf(err); !ok || no.Reason != flex.ReasonForeignURL {
			t.Errorf("%s: %v", host, err)
		}
	}
}
