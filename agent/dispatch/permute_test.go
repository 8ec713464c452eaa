package dispatch

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/longtest"
)

// sound checks what must hold after any order of events: every record is
// final, came there by the table of transitions, and was announced so.
func (s *scene) sound() string {
	if s.fault != "" {
		return s.fault
	}
	for id, r := range s.rig.led.recs {
		if unproven := r.Instruction.Kind == flex.KindStop && r.State == flex.Waiting; !r.State.Final() && !unproven {
			return fmt.Sprintf("%s is %s for ever", id, r.State)
		}
		life := flex.Record{ID: id}
		for _, st := range r.Steps {
			if life.State.Final() { // a new life under an old id
				life.State = ""
			}
			next, err := Step(life, Event{To: st.State, Fact: st.Fact})
			if err != nil {
				return err.Error()
			}
			life = next
		}
		if life.State != r.State {
			return fmt.Sprintf("%s is %s by its steps and %s by its state", id, life.State, r.State)
		}
		if told := strings.Fields(s.rig.led.said(id)); len(told) == 0 {
			return fmt.Sprintf("%s ended %s and was never announced", id, r.State)
		}
		by, stopped := s.ended[id]
		if stopped && r.State == flex.Completed && s.stoppedInTime(r) {
			return fmt.Sprintf("%s completed in spite of %q", id, by)
		}
	}
	return ""
}

// stoppedInTime tells whether the stop came while there was something to end.
func (s *scene) stoppedInTime(r flex.Record) bool {
	at, err := strconv.Atoi(strings.Fields(s.ended[r.ID])[0])
	return err == nil && s.zero.Add(time.Duration(at)*time.Second).Before(r.Window.End)
}

// all are the permutations of the events, a second apart from the given one
// on.
func all(t *testing.T, events []string, from int, do func([]deed)) {
	t.Helper()
	deeds := make([]deed, len(events))
	for i, text := range events {
		deeds[i] = deedOf(t, "0 "+text)
	}
	permute(deeds, func(order []deed) {
		timed := make([]deed, len(order))
		for i, d := range order {
			_, what, _ := strings.Cut(d.text, " ")
			timed[i] = deedOf(t, fmt.Sprintf("%d %s", from+i, what))
		}
		do(timed)
	})
}

func script(deeds []deed) string {
	out := make([]string, len(deeds))
	for i, d := range deeds {
		out[i] = d.text
	}
	return strings.Join(out, ", ")
}

// TestEveryOrderHasOneEnd permutes events whose end depends on which they
// are, not on when they come: before the windows open, and within.
func TestEveryOrderHasOneEnd(t *testing.T) {
	is := func(r flex.Record, states ...flex.State) bool {
		for _, st := range states {
			if r.State == st {
				return true
			}
		}
		return false
	}
	over := func(r flex.Record) bool {
		return is(r, flex.Stopped, flex.Cancelled) || r.State == flex.Refused && r.Reason == flex.ReasonStopped
	}
	for _, tc := range []struct {
		name   string
		events []string
		from   []int
		ends   func(rec func(flex.InstructionID) flex.Record, ran func(flex.InstructionID) string) bool
	}{
		{"a stop beats every start", []string{"start A 10-30 rev=1", "start A 10-40 rev=2", "start A 10-30 rev=1", "stop A", "stop A"}, []int{0, 12},
			func(rec func(flex.InstructionID) flex.Record, _ func(flex.InstructionID) string) bool {
				return over(rec("A"))
			}},
		{"a stop by name beats every start", []string{"start A 10-30", "start A 10-40", "stop S of=A broken", "stop S of=A broken", "zero A"}, []int{0, 12},
			func(rec func(flex.InstructionID) flex.Record, _ func(flex.InstructionID) string) bool {
				return over(rec("A"))
			}},
		{"the highest revision wins", []string{"start A 10-30 rev=1", "start A 10-40 rev=2 cap=99", "start A 12-35 rev=3 cap=3", "start A 10-30 rev=1", "start A 12-35 rev=3 cap=3"}, []int{0},
			func(rec func(flex.InstructionID) flex.Record, ran func(flex.InstructionID) string) bool {
				r := rec("A")
				return r.State == flex.Completed && r.Revision == 3 && ran("A") == "12-35" && r.Shares[0].Power == 3*flex.Kilowatt
			}},
		{"the highest revision wins while it runs", []string{"start A 10-30 rev=1", "start A 10-35 rev=2", "start A 10-40 rev=3", "start A 10-35 rev=2"}, []int{11},
			func(rec func(flex.InstructionID) flex.Record, ran func(flex.InstructionID) string) bool {
				return rec("A").State == flex.Completed && strings.HasSuffix(ran("A"), "-40") && rec("A").Revision == 3
			}},
		{"a successor that never begins takes nothing", []string{"start A 10-40", "start B 25-35", "stop B", "start A 10-40", "stop B"}, []int{0, 12},
			func(rec func(flex.InstructionID) flex.Record, ran func(flex.InstructionID) string) bool {
				return rec("A").State == flex.Completed && strings.HasSuffix(ran("A"), "-40") && !strings.Contains(ran("A"), ",") && ran("B") == "" && !is(rec("B"), flex.Completed)
			}},
		{"a forged stop is no stop", []string{"start A 10-30", "stop A forged", "start A 10-30", "stop A forged"}, []int{0},
			func(rec func(flex.InstructionID) flex.Record, ran func(flex.InstructionID) string) bool {
				return rec("A").State == flex.Completed && ran("A") == "10-30"
			}},
		{"two obligations and both stopped", []string{"start A 10-30", "start B 20-40 ob=ob2", "stop A", "stop S of=B", "start A 10-30 rev=9", "withdraw B"}, []int{0},
			func(rec func(flex.InstructionID) flex.Record, ran func(flex.InstructionID) string) bool {
				return ran("A") == "" && ran("B") == "" && !is(rec("A"), flex.Completed) && !is(rec("B"), flex.Completed)
			}},
		{"touching windows never meet", []string{"start A 10-20", "start B 20-30 ob=ob2", "start C 30-40", "start A 10-20", "start B 20-30 ob=ob2"}, []int{0},
			func(_ func(flex.InstructionID) flex.Record, ran func(flex.InstructionID) string) bool {
				return ran("A") == "10-20" && ran("B") == "20-30" && ran("C") == "30-40"
			}},
		{"one asset, three claims", []string{"start A 10-40", "start B 15-30", "start C 20-45 ob=ob2", "stop B", "stop S ob=ob"}, []int{0, 12},
			func(func(flex.InstructionID) flex.Record, func(flex.InstructionID) string) bool { return true }},
	} {
		for _, from := range tc.from {
			t.Run(fmt.Sprintf("%s from second %d", tc.name, from), func(t *testing.T) {
				n, every := 0, longtest.Pick(3, 1)
				first := rand.IntN(every) // every day others
				all(t, tc.events, from, func(order []deed) {
					if t.Failed() {
						return
					}
					if n++; n%every != first {
						return
					}
					s := perform(t, order, 50*time.Second)
					if why := s.sound(); why != "" {
						t.Errorf("%s: %s", script(order), why)
					}
					ran := func(id flex.InstructionID) string { return spans(s.ran[id]) }
					if !tc.ends(s.rig.led.rec, ran) {
						t.Errorf("%s: ends %s", script(order), s.final)
					}
				})
				t.Logf("%d orders, of them every %d. from %d on", n, every, first)
			})
		}
	}
}

// draw makes one random event.
func draw(rng *rand.Rand) string {
	pick := func(xs ...string) string { return xs[rng.IntN(len(xs))] }
	id := pick("A", "B", "C", "D")
	from := 5 * rng.IntN(12)
	window := fmt.Sprintf("%d-%d", from, from+5*(1+rng.IntN(8)))
	switch rng.IntN(10) {
	case 0:
		return "stop " + id + pick("", " broken", " forged")
	case 1:
		return "stop " + pick("S", "T") + " of=" + id + pick("", " broken")
	case 2:
		return "stop " + pick("U", "V") + " " + pick("ob=ob", "ob=ob2", "asset=a", "asset=b", "broken")
	case 3:
		return pick("withdraw ", "zero ") + id
	}
	text := "start " + id + " " + window + pick("", "", " cap=3", " cap=99") + pick("", "", " ob=ob2") + pick("", "", " asset=b")
	return text + pick("", "", "", " rev=1", " rev=2", " rev=3")
}

// TestRandomOrdersStaySound draws events at random: whatever comes, no asset
// is asked for twice, nothing goes on after a stop, everything ends, and a
// message that comes twice acts once. ORDERS_SEED repeats a run.
func TestRandomOrdersStaySound(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("ORDERS_SEED"), 10, 64); err == nil {
		seed = s
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for range longtest.Pick(80, 250) {
		var once, twice []deed
		at := 0
		for range 2 + rng.IntN(8) {
			at += rng.IntN(9)
			d := deedOf(t, fmt.Sprintf("%d %s", at, draw(rng)))
			once, twice = append(once, d), append(twice, d, d)
		}
		s := perform(t, once, 110*time.Second)
		if why := s.sound(); why != "" {
			t.Fatalf("seed %d: %s:\n%s\nends %s", seed, script(once), why, s.final)
		}
		if again := perform(t, twice, 110*time.Second); again.final != s.final {
			t.Fatalf("seed %d: %s:\nends %s\ntwice %s", seed, script(once), s.final, again.final)
		}
		restarts := []time.Duration{time.Duration(rng.IntN(40)) * time.Second, time.Duration(40+rng.IntN(40)) * time.Second}
		if again := perform(t, once, 110*time.Second, restarts...); again.final != s.final {
			t.Fatalf("seed %d: %s, restarts %v:\nends %s\nwould %s", seed, script(once), restarts, again.final, s.final)
		}
	}
}
