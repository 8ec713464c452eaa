package intake

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// Stops come first and what runs or begins within a minute, with all that
// must keep its order with it, then the rest as it came.
func TestTheUrgentGoesFirst(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	in := func(id, of string, kind flex.Kind, from, to time.Duration) flex.Instruction {
		w := flex.Window{Start: now.Add(from)}
		if to != 0 {
			w.End = now.Add(to)
		}
		return flex.Instruction{ID: flex.InstructionID(id), Obligation: flex.ObligationID(of), Kind: kind, Capacity: 1000, Window: w}
	}
	const h, m = time.Hour, time.Minute
	all := []flex.Instruction{
		in("a", "w", flex.KindStart, h, 2*h), in("b", "y", flex.KindStart, m/2, 3*m), in("c", "x", flex.KindStop, h, 0),
		in("d", "x", flex.KindStart, 2*m, 3*m), in("e", "y", flex.KindStart, 2*m, 4*m), in("f", "y", flex.KindStart, 3*m+m/2, 5*m),
		in("g", "x", flex.KindStart, -2*h, -h), in("h", "z", flex.KindStart, -m, 0), in("a", "w", flex.KindStart, m/2, m), in("i", "z", flex.KindStart, 23*h, 25*h),
		in("j", "y", flex.KindStart, 5*m, 6*m), in("c", "v", flex.KindStart, 5*m, 6*m), in("k", "x", flex.KindStart, 40*h, 41*h),
	}
	for _, c := range []struct {
		name, urgent, rest string
		change             func()
	}{
		{"as it is", "a b c e f h a i c", "d g j k", func() {}},
		{"one that leaves open to which obligation it belongs", "a b c d e f g h a i j c", "k", func() { all[1].Obligation = "" }},
	} {
		c.change()
		urgent, rest := urgentFirst(all, now)
		if got := names(urgent); got != c.urgent {
			t.Errorf("%s: urgent are %q, want %q", c.name, got, c.urgent)
		}
		if got := names(rest); got != c.rest {
			t.Errorf("%s: the rest is %q, want %q", c.name, got, c.rest)
		}
	}
}

func names(ins []flex.Instruction) string {
	var out []string
	for _, in := range ins {
		out = append(out, string(in.ID))
	}
	return strings.Join(out, " ")
}

// longList is a list for later, with a start for now and a stop at its end.
func longList(n int) []flex.Instruction {
	var list []flex.Instruction
	for i := range n {
		in := start(fmt.Sprintf("i%d", i), "a")
		in.Window.Start = in.Window.Start.Add(time.Duration(i+2) * time.Hour)
		in.Window.End = in.Window.Start.Add(time.Hour)
		list = append(list, in)
	}
	now := start("now", "a")
	now.Window.Start = now.Window.Start.Add(-time.Minute)
	return append(list, now, stop("end", "another"))
}

// However a long list comes, what is urgent is stored, and the engine woken,
// before the rest is even matched; the reply is kept once, and the notice
// closed with the last part.
func TestALongReplyIsKeptInItsTurn(t *testing.T) {
	doors := map[string]func(*rig) error{
		"notified": func(r *rig) error { return r.Accept(context.Background(), body("u")) },
		"listed":   func(r *rig) error { return r.Poll(context.Background()) },
	}
	for door, come := range doors {
		t.Run(door, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				r := newRig(nil)
				r.market.count, r.market.raw = 3*portion+2, []byte("the reply")
				r.market.offer("u", longList(3*portion)...)
				r.market.offer("list", longList(3*portion)...)
				r.start(t)
				before := r.book.commits
				if err := come(r); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				first := r.book.parts[before:][0:2]
				if door == "notified" {
					first = r.book.parts[before+1:][0:2] // after the notice itself
				}
				if got := fmt.Sprint(first); got != "[[end] [now]]" {
					t.Errorf("first were kept %.200s", got)
				}
				if got := len(r.book.kept()); got != 3*portion+2 {
					t.Errorf("%d are kept", got)
				}
				if len(r.book.replies) != 1 {
					t.Errorf("the reply is kept %d times", len(r.book.replies))
				}
				if door == "notified" && r.book.state(idOf("u")) != flex.NoticeFetched {
					t.Errorf("the notice is %s", r.book.state(idOf("u")))
				}
			})
		})
	}
}

// The reply is kept also when only the urgent of it is new.
func TestTheReplyOfTheUrgentAloneIsKept(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		list := longList(portion)
		r.market.raw = []byte("the reply")
		r.market.offer("list", list[:portion]...)
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.market.offer("list", list...)
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(r.book.replies) != 2 || len(r.book.kept()) != portion+2 {
			t.Errorf("%d replies and %d offers are kept", len(r.book.replies), len(r.book.kept()))
		}
	})
}
