package demo

import (
	"errors"
	"os"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/piclo"
)

// wall is the clock of the machine, trusted.
type wall struct{}

func (wall) Now() (time.Time, flex.ClockTrust) { return time.Now(), flex.ClockSynced }

// openAccount opens the product's own adapter on the market, with the three
// sections on.
func openAccount(t *testing.T, m *Market) *piclo.Market {
	t.Helper()
	file := t.TempDir() + "/talk.yaml"
	if err := os.WriteFile(file, []byte("response: {use: on}\nsubscription: {use: on}\navailability: {use: on}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := piclo.LoadProfile(file)
	if err != nil {
		t.Fatal(err)
	}
	a, err := piclo.Open(piclo.Config{Profile: p, BaseURL: m.URL(), ClientID: m.ClientID(),
		APIKey: func() (string, error) { return m.APIKey(), nil }, Wall: wall{}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTheMarketHearsAnswers(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	m.Talk()
	a := openAccount(t, m)
	if err := m.List(Instruction{ID: "i1"}, Instruction{ID: "i2"}, Instruction{ID: "i3"}); err != nil {
		t.Fatal(err)
	}
	for _, err := range a.Respond(t.Context(), flex.Accept, []flex.Say{{ID: "i1", Revision: 1}, {ID: "i2", Revision: 1}}) {
		if err != nil {
			t.Error(err)
		}
	}
	// Said again it is so already; the other word, and a stranger, are final.
	again := a.Respond(t.Context(), flex.Accept, []flex.Say{{ID: "i1", Revision: 1}})
	other := a.Respond(t.Context(), flex.Reject, []flex.Say{{ID: "i1", Revision: 1, Reason: flex.ReasonTooLate}, {ID: "i3", Revision: 1, Reason: flex.ReasonRejected}, {ID: "nobody", Reason: flex.ReasonTooLate}})
	var retry *flex.RetryError
	if again[0] != nil || other[0] == nil || errors.As(other[0], &retry) || other[1] != nil || other[2] == nil {
		t.Errorf("%v %v", again, other)
	}
	h := m.Heard()
	if len(h) != 3 || h[0].Word != "accept" || h[0].Times != 3 || h[2].ID != "i3" || h[2].Reason != "declined" {
		t.Errorf("%+v", h)
	}
}

func TestAnAnswerWhoseReplyWasLostIsSoAlreadyWhenSaidAgain(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	m.Talk()
	a := openAccount(t, m)
	if err := m.List(Instruction{ID: "i1"}); err != nil {
		t.Fatal(err)
	}
	say := []flex.Say{{ID: "i1", Revision: 1}}
	m.SetFault("/dispatch/", Fault{Drop: true, Times: 1})
	if err := a.Respond(t.Context(), flex.Accept, say)[0]; !errors.Is(err, flex.ErrUncertain) {
		t.Errorf("%v", err)
	}
	if err := m.RevokeTokens(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.Respond(t.Context(), flex.Accept, say)[0]; err != nil {
			t.Error(err)
		}
	}
}

func TestASubscriptionIsMadeOnceAndOthersAreLeftAlone(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	m.Talk()
	a := openAccount(t, m)
	const here, there = "https://here.example/hook", "https://there.example/hook"
	if _, err := a.Subscribe(t.Context(), there); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, err := a.Subscribe(t.Context(), here)
		if err != nil || s.URL != here || len(s.Others) != 1 || s.Others[0].URL != there {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if err := a.Unsubscribe(t.Context(), here); err != nil {
		t.Error(err)
	}
	if h := m.Hooks(); len(h) != 1 || h[0].URL != there {
		t.Errorf("%+v", h)
	}
	if err := a.Unsubscribe(t.Context(), here); err == nil {
		t.Error("nothing was unsubscribed, and nobody said so")
	}
}

func TestADeclarationIsToldAndTakenBack(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	m.Talk()
	m.AddAsset(Asset{ID: "as1"})
	a, from := openAccount(t, m), time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	u := flex.Unavailability{ID: "01J", Asset: "as1", Window: flex.Window{Start: from, End: from.Add(time.Hour)}, Reason: "service"}
	if err := a.DeclareUnavailable(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if v := m.Variations()["01J"]; v.Asset != "as1" || !v.To.Equal(u.Window.End) || v.Available || v.Reason != "service" {
		t.Errorf("%+v", v)
	}
	for range 2 {
		if err := a.WithdrawUnavailable(t.Context(), u); err != nil || len(m.Variations()) != 0 {
			t.Error(err)
		}
	}
}

func TestTheMarketIsReadOnlyUnlessToldOtherwise(t *testing.T) {
	m := runMarket(t, MarketConfig{})
	if err := openAccount(t, m).Respond(t.Context(), flex.Accept, []flex.Say{{ID: "a"}})[0]; err == nil {
		t.Error("an answer was taken")
	}
}
