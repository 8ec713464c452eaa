package dispatch

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// repair is a declaration for asset a.
func repair(from, to time.Duration) flex.Unavailability {
	now := time.Now().UTC()
	return flex.Unavailability{Asset: "a", By: "ann", Reason: "repair", Window: flex.Window{Start: now.Add(from), End: now.Add(to)}}
}

func TestDeclarationsThatCannotStand(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil, answered(newMarket(AnswerNone)))
		defer r.end()
		for name, change := range map[string]func(*flex.Unavailability){
			"another site's asset": func(u *flex.Unavailability) { u.Asset = "q" },
			"no end":               func(u *flex.Unavailability) { u.Window.End = time.Time{} },
			"no start":             func(u *flex.Unavailability) { u.Window.Start = time.Time{} },
			"over": func(u *flex.Unavailability) {
				u.Window.Start, u.Window.End = noon.AddDate(-40, 0, 0), noon.AddDate(-39, 0, 0)
			},
			"backwards":         func(u *flex.Unavailability) { u.Window.End = u.Window.Start },
			"a name of its own": func(u *flex.Unavailability) { u.ID = "mine" },
			"an endless reason": func(u *flex.Unavailability) { u.Reason = strings.Repeat("x", 501) },
		} {
			u := repair(time.Hour, 2*time.Hour)
			change(&u)
			_, err := r.eng.DeclareUnavailable(t.Context(), u)
			if _, plain := flex.RefusalOf(err); !plain {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := r.eng.WithdrawUnavailable(t.Context(), "none", "ann"); err == nil {
			t.Error("what was never declared cannot be withdrawn")
		}
		if _, _, events := r.led.counts(); events != 0 || len(r.led.away) != 0 {
			t.Errorf("%d events, %v", events, r.led.away)
		}
	})
}

func TestDeclarationsAreHonouredToldAndEnded(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m, led := newMarket(AnswerNone), newLedger()
		r := newRig(t, led, nil, answered(m))
		defer func() { r.end() }()
		r.take(later("before", 1, 0), 1)
		u, err := r.eng.DeclareUnavailable(t.Context(), repair(time.Hour, 3*time.Hour))
		if err != nil || len(u.ID) != 26 {
			t.Fatalf("%+v, %v", u, err)
		}
		if again, err := r.eng.DeclareUnavailable(t.Context(), u); err != nil || again.ID != u.ID {
			t.Errorf("the same again: %v", err)
		}
		pass(time.Second)
		led.set(func() {
			if len(led.events) != 1 || !led.events[0].Raised || led.events[0].Code != "unavailable" || !strings.Contains(led.events[0].Text, "still a duty: before") {
				t.Errorf("events %+v", led.events)
			}
			if led.away[u.ID].Told != 1 {
				t.Errorf("declaration %+v", led.away[u.ID])
			}
		})
		r.end()
		r = newRig(t, led, nil, answered(m))
		r.take(soon("within", 90*time.Minute), 2)
		if led.rec("before").State != flex.Scheduled || led.rec("within").Reason != flex.ReasonUnavailable {
			t.Errorf("before %s, within %s", led.rec("before").State, led.rec("within").State)
		}
		if err := r.eng.WithdrawUnavailable(t.Context(), u.ID, "bob"); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		r.take(soon("after", 80*time.Minute), 3)
		led.set(func() {
			x := led.away[u.ID]
			if x.Told != 2 || x.WithdrawnBy != "bob" || x.Closed.IsZero() || len(led.events) != 2 || led.events[1].Raised || led.events[1].Subject != led.events[0].Subject {
				t.Errorf("declaration %+v, events %+v", x, led.events)
			}
		})
		if led.rec("after").State != flex.Scheduled || !slices.Equal(m.told, []string{"away a", "back a"}) {
			t.Errorf("after the withdrawal %+v, told %v", led.rec("after"), m.told)
		}
	})
}

func TestADeclarationEndsByItself(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil, answered(newMarket(AnswerNone)))
		if _, err := r.eng.DeclareUnavailable(t.Context(), repair(time.Hour, 2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		r.end()
		pass(3 * time.Hour)
		for range 2 { // its end is announced once
			r = newRig(t, led, nil, answered(newMarket(AnswerNone)))
			pass(time.Minute)
			r.end()
		}
		if _, _, events := led.counts(); events != 2 || led.events[1].Raised {
			t.Errorf("events %+v", led.events)
		}
	})
}

func TestTellingDeclarations(t *testing.T) {
	for name, tc := range map[string]struct {
		err      error
		withdraw bool
		first    []string // with the market failing, and a withdrawal then
		after    []string // with the market well
	}{
		"down, then well":                     {&flex.RetryError{Err: errors.New("503")}, false, []string{"away a"}, []string{"away a"}},
		"withdrawn before it was surely told": {flex.ErrUncertain, true, []string{"away a", "back a"}, []string{"back a"}},
		"no such call":                        {flex.ErrUnsupported, true, []string{"away a"}, nil},
	} {
		clocktest.Bubble(t, func(t *testing.T) {
			m := newMarket(AnswerNone)
			m.away = tc.err
			r := newRig(t, newLedger(), nil, answered(m))
			defer r.end()
			u, err := r.eng.DeclareUnavailable(t.Context(), repair(time.Hour, 9*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
			if tc.withdraw {
				if err := r.eng.WithdrawUnavailable(t.Context(), u.ID, "ann"); err != nil {
					t.Fatal(err)
				}
			}
			pass(time.Second)
			m.mu.Lock()
			if !slices.Equal(m.told, tc.first) {
				t.Errorf("%s: told %v", name, m.told)
			}
			m.told, m.away = nil, nil
			m.mu.Unlock()
			pass(time.Hour)
			if !slices.Equal(m.told, tc.after) {
				t.Errorf("%s: then told %v", name, m.told)
			}
		})
	}
}
