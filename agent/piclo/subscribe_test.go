package piclo

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

const subscribeOn = "subscription: {use: on}\navailability: {use: on}\n"

func TestAHostileListOfSubscriptionsIsRefused(t *testing.T) {
	for name, reply := range map[string]string{
		"not JSON":              `<html>`,
		"no list":               `{"x":1}`,
		"no id":                 `[{"url":"https://a.example/"}]`,
		"an id of another kind": `[{"id":{"a":1},"url":"https://a.example/"}]`,
		"terminal codes":        `[{"id":"a","url":"https://a.example/\u001b[2J"}]`,
		"too many":              "[" + strings.Repeat(`{"id":"a","url":"u"},`, maxSubscriptions) + `{"id":"a","url":"u"}]`,
		"a page elsewhere":      `{"results":[],"next":"https://evil.example/webhook/v1/subscriptions/"}`,
		"pages in a circle":     `{"results":[],"next":"/webhook/v1/subscriptions/"}`,
		"without an end":        strings.Repeat(" ", maxAnswer+1),
	} {
		srv := newFakeMarket(t)
		srv.text("/webhook/v1/subscriptions/", reply)
		if got, err := openProfile(t, srv.URL, subscribeOn).Subscriptions(t.Context()); err == nil {
			t.Errorf("%s: %d", name, len(got))
		}
	}
}

func TestASubscriptionOnALaterPageIsFound(t *testing.T) {
	srv := newFakeMarket(t)
	srv.on("/webhook/v1/subscriptions/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Error("a second subscription was made")
		}
		if r.URL.RawQuery == "" {
			fmt.Fprint(w, `{"results":[{"id":1,"url":"https://a.example/","event":"another"}],"next":"/webhook/v1/subscriptions/?page=2"}`)
			return
		}
		fmt.Fprint(w, `{"results":[{"id":"two","url":"HTTPS://b.example:443/x","event":"fp_dispatch_instruction_collection","active":true}]}`)
	})
	s, err := openProfile(t, srv.URL, subscribeOn).Subscribe(t.Context(), "https://b.example/x")
	if err != nil || s.ID != "two" || len(s.Others) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestASubscriptionSwitchedOffIsToldNotDoubled(t *testing.T) {
	srv := newFakeMarket(t)
	srv.text("/webhook/v1/subscriptions/", `[{"id":"a","url":"https://b.example/x","active":false}]`)
	if _, err := openProfile(t, srv.URL, subscribeOn).Subscribe(t.Context(), "https://b.example/x"); err == nil || !strings.Contains(err.Error(), "switched off") {
		t.Error(err)
	}
}

func TestOnlyAnAddressThatTheMarketCanCallIsSubscribed(t *testing.T) {
	m := openProfile(t, "http://127.0.0.1:1", subscribeOn)
	for _, hook := range []string{"", "b.example/x", "ftp://b.example/", "http://b.example/", "https://u:p@b.example/", "https://b.example/#x", "https://b.example/\n"} {
		if _, err := m.Subscribe(t.Context(), hook); err == nil || !strings.Contains(err.Error(), "webhook's address") {
			t.Errorf("%q: %v", hook, err)
		}
	}
}

func TestWithoutCallsAPersonIsToldWhatToDo(t *testing.T) {
	m := openProfile(t, "http://127.0.0.1:1", "")
	if _, err := m.Subscribe(t.Context(), "https://b.example/x"); m.Subscribes() || !errors.Is(err, flex.ErrUnsupported) {
		t.Error(err)
	}
	all := strings.Join(m.ManualSteps("https://b.example/x"), "\n")
	for _, want := range []string{"https://b.example/x", "fp_dispatch_instruction_collection", "other dispatch webhook type", "docs.picloflex.com"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in %s", want, all)
		}
	}
	u := flex.Unavailability{ID: "x", Asset: "a", Window: flex.Window{Start: testNow, End: testNow.Add(time.Hour)}}
	if err := m.DeclareUnavailable(t.Context(), u); m.TellsAvailability() || !errors.Is(err, flex.ErrUnsupported) {
		t.Error(err)
	}
}

func TestADeclarationWithoutAnEndIsNotSent(t *testing.T) {
	m := openProfile(t, "http://127.0.0.1:1", subscribeOn)
	if _, ok := flex.RefusalOf(m.DeclareUnavailable(t.Context(), flex.Unavailability{ID: "x", Window: flex.Window{Start: testNow}})); !ok {
		t.Error("sent")
	}
}
