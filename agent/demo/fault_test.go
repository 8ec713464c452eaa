package demo

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A good answer is spoilt on the way, once, and the next one is whole.
func TestAGoodAnswerIsSpoiltOnTheWay(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	m.AddAsset(Asset{ID: "a1", Name: strings.Repeat("x", 100)})
	_, token, _ := ask(t, http.MethodPost, m.URL()+"/authtoken/v1/", "", map[string]string{"client_id": m.ClientID(), "api_key": m.APIKey()})
	bearer := strings.TrimSuffix(strings.TrimPrefix(string(token), `{"token":"`), `"}`)
	get := func() (string, http.Header, error) {
		r, err := http.NewRequest(http.MethodGet, m.URL()+"/assets/v1/a1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			return "", nil, err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return string(body), answer.Header, err
	}
	whole, _, err := get()
	if err != nil || !strings.HasPrefix(whole, `{"id":"a1"`) {
		t.Fatalf("%q, %v", whole, err)
	}
	for _, c := range []struct {
		name  string
		fault Fault
		want  string
		fails bool
	}{
		{"cut in the middle", Fault{Cut: true}, whole[:len(whole)/2], true},
		{"another body", Fault{Alter: func(_ *http.Request, b []byte) []byte { return b[:7] }}, whole[:7], false},
		{"dripping", Fault{Drip: time.Millisecond}, whole, false},
		{"others alone", Fault{Status: 500, Only: func(r *http.Request) bool { return r.Method == http.MethodPost }}, whole, false},
		{"a header of its own", Fault{Header: map[string]string{"X-A": "b"}}, whole, false},
		{"an answer of its own", Fault{Answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no") }}, "no", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.fault.Times = 1
			m.SetFault("/assets", c.fault)
			got, header, err := get()
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %q, %v", got, err)
			}
			for k, v := range c.fault.Header {
				if header.Get(k) != v {
					t.Errorf("header %s is %q", k, header.Get(k))
				}
			}
			if got, _, err := get(); got != whole || err != nil {
				t.Errorf("afterwards %q, %v", got, err)
			}
		})
	}
}

// The market's clock and the life of its tokens can be bent and mended.
func TestClockAndTokensAreBent(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	good := func() bool {
		_, token, _ := ask(t, http.MethodPost, m.URL()+"/authtoken/v1/", "", map[string]string{"client_id": m.ClientID(), "api_key": m.APIKey()})
		bearer := strings.TrimSuffix(strings.TrimPrefix(string(token), `{"token":"`), `"}`)
		status, _, _ := ask(t, http.MethodGet, m.URL()+"/obligations/v1/", bearer, nil)
		return status == http.StatusOK
	}
	m.SetTokenLife(-time.Second)
	if good() {
		t.Error("a token that has ended is taken")
	}
	m.SetTokenLife(0)
	m.ShiftClock(time.Hour)
	if !good() {
		t.Error("a fresh token is not taken")
	}
	if d := time.Until(m.now()); d < 59*time.Minute || d > 61*time.Minute {
		t.Errorf("the clock is %v ahead", d)
	}
}
