package agent_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"flexd/agent/demo"
)

// permutations of a set, in no special order.
func permutations[T any](all []T) [][]T {
	if len(all) < 2 {
		return [][]T{slices.Clone(all)}
	}
	var out [][]T
	for i := range all {
		rest := append(slices.Clone(all[:i]), all[i+1:]...)
		for _, p := range permutations(rest) {
			out = append(out, append([]T{all[i]}, p...))
		}
	}
	return out
}

// Start, change and stop in every order, each of them twice, end the same
// way: with a stop nothing runs, without one the latest revision does.
func TestEveryOrderHasOneEnd(t *testing.T) {
	for _, c := range []struct {
		words []string
		watts float64 // 0: nothing may run
	}{{[]string{"start", "change", "stop"}, 0}, {[]string{"start", "change", "change again"}, 5000}} {
		for _, order := range permutations(c.words) {
			t.Run(strings.Join(order, ", "), func(t *testing.T) {
				s, bat := oneBattery(t, nil)
				s.inside()
				start := second(time.Second)
				end := start.Add(3 * time.Second)
				for _, word := range order {
					in := ask("i1", "0.00300", "export", start, end)
					switch word {
					case "change":
						in.Revision, in.Capacity = 2, "0.00400"
					case "change again":
						in.Revision, in.Capacity = 3, "0.00500"
					case "stop":
						in.Revision, in.Type = 3, "stop"
					}
					must(t, s.market.List(in))
					fetched := s.ear.fetched()
					d, err := s.market.Publish(t.Context(), demo.Notice{IDs: []string{in.ID}})
					must(t, err)
					s.await(3*time.Second, "fetched", func() bool { return s.ear.fetched() > fetched })
					_, err = s.market.Repost(t.Context(), "application/jose", []byte(d.Token))
					must(t, err)
				}
				if c.watts == 0 {
					// A write may be under way when the stop comes: flexd's own word counts too.
					s.await(2*time.Second, "given back", func() bool {
						rec, ok := s.record("i1")
						return (!ok || rec.State.Final()) && !bat.Controlled()
					})
					quiet(t, bat, time.Until(end))
					if rec, ok := s.record("i1"); ok && !rec.State.Final() {
						t.Errorf("it is %s after a stop", rec.State)
					}
					if s.ear.has("i1", "completed") {
						t.Error("announced as completed in spite of a stop")
					}
					return
				}
				s.delivers(bat, 5*time.Second, c.watts)
				for time.Now().Before(end.Add(-50 * time.Millisecond)) {
					if p := bat.Power(); p != c.watts {
						t.Fatalf("%v W instead of those of the latest revision", p)
					}
					time.Sleep(10 * time.Millisecond)
				}
				s.over(bat, 3*time.Second, "i1", "completed")
				if n := count(s.ear.ladder("i1"), "completed"); n != 1 {
					t.Errorf("completed %d times", n)
				}
			})
		}
	}
}

func count(all []string, word string) (n int) {
	for _, x := range all {
		if x == word {
			n++
		}
	}
	return n
}

// A process that hangs loses no watts while its lease runs, and gives back
// what is over as soon as it moves again.
func TestAFrozenProcessHoldsAndThenGivesBack(t *testing.T) {
	s, bat := oneBattery(t, nil)
	s.process()
	s.serving()
	start := second(time.Second)
	end := start.Add(3 * time.Second)
	s.instruct(ask("i1", "0.00400", "export", start, end))
	s.delivers(bat, 5*time.Second, 4000)
	s.await(3*time.Second, "active", func() bool { return s.ear.has("i1", "active") })
	must(t, s.cmd.Process.Signal(syscall.SIGSTOP))
	for time.Now().Before(end.Add(time.Second)) {
		if p := bat.Power(); p != 4000 {
			t.Fatalf("%v W while it hangs", p)
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(t, s.cmd.Process.Signal(syscall.SIGCONT))
	moved := time.Now()
	s.over(bat, 2*time.Second, "i1", "completed")
	t.Logf("given back and announced %v after it moved again", time.Since(moved).Round(time.Millisecond))
	s.wantLadder("i1", "admitted", "scheduled", "active", "completed")
}
