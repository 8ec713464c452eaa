package dispatch

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
	"flexd/longtest"
)

// orders gives every order of the words.
func orders(words []string) (out [][]string) {
	if len(words) <= 1 {
		return [][]string{slices.Clone(words)}
	}
	for i, w := range words {
		rest := slices.Delete(slices.Clone(words), i, i+1)
		for _, tail := range orders(rest) {
			out = append(out, append([]string{w}, tail...))
		}
	}
	return out
}

// rightEnd is the one right end of an order: a stop that came first is final;
// else the first of answer, stop and deadline after the instruction decides,
// and a stop ends what was accepted.
func rightEnd(order []string, word flex.Word) (flex.State, flex.Reason, string) {
	at := slices.Index(order, "instruction")
	if slices.Contains(order[:at], "stop") {
		return flex.Refused, flex.ReasonStopped, ""
	}
	for _, ev := range order[at+1:] {
		switch {
		case ev == "stop":
			return flex.Cancelled, flex.ReasonStopped, ""
		case ev == "due":
			return flex.Expired, flex.ReasonNoAnswer, ""
		case ev == "answer" && word == flex.Reject:
			return flex.Refused, flex.ReasonRejected, "reject i/1"
		case ev == "answer":
			return flex.Cancelled, flex.ReasonStopped, "accept i/1"
		}
	}
	return "", "", ""
}

func TestEveryOrderHasOneRightEnd(t *testing.T) {
	for _, word := range []flex.Word{flex.Accept, flex.Reject} {
		every := longtest.Pick(2, 1)
		first := rand.IntN(every) // every day others
		for n, order := range orders([]string{"instruction", "answer", "stop", "due", "restart"}) {
			if n%every != first {
				continue
			}
			clocktest.Bubble(t, func(t *testing.T) {
				m, led := newMarket(AnswerAsk), newLedger()
				r := newRig(t, led, nil, answered(m))
				defer func() { r.end() }()
				first := later("i", 1, 0) // every copy of it is the same, whenever it comes
				first.Instruction.Window.Start = first.Instruction.Window.Start.Add(3 * time.Hour)
				first.Instruction.Window.End = first.Instruction.Window.End.Add(3 * time.Hour)
				stopped := false
				for _, ev := range order {
					switch ev {
					case "instruction":
						first.Received = stampAt(time.Now().UTC())
						r.take(first, 1)
					case "answer":
						_ = r.eng.Answer(t.Context(), []flex.InstructionID{"i"}, word, "", "ann") // refused where nothing waits
					case "stop":
						stop := stopOffer("s", func(in *flex.Instruction) { in.Stops = []flex.InstructionID{"i"} })
						stop.Received = stampAt(time.Now().UTC())
						stopped = true
						r.take(stop, 2)
					case "due":
						time.Sleep(61 * time.Minute)
					case "restart":
						r.end()
						r = newRig(t, led, nil, answered(m))
					}
					pass(time.Second)
					for _, d := range r.board.Running() {
						if stopped && d.Wants(d.Window.Start) {
							t.Errorf("%v: wanted after a stop: %+v", order, d)
						}
					}
				}
				pass(5 * time.Minute)
				rec := led.rec("i")
				state, reason, heard := rightEnd(order, word)
				if rec.State != state || rec.Reason != reason || m.heard() != heard {
					t.Errorf("%s %v: %s (%s), heard %q; want %s (%s), %q", word, order, rec.State, rec.Reason, m.heard(), state, reason, heard)
				}
				if len(r.board.Running()) != 0 || r.alarms.is("answer_due:i") || rec.Answer.Owed() {
					t.Errorf("%s %v: something is left: %+v", word, order, rec)
				}
			})
		}
	}
}

// crash lets so many commits through, and none after.
func (l *ledger) crashAfter(n int) {
	l.set(func() { l.left, l.fragile = n, true })
}

// brief makes a window of minutes: within it every second is worked on.
func brief(o flex.Offer) flex.Offer {
	o.Instruction.Window.End = o.Instruction.Window.Start.Add(5 * time.Minute)
	return o
}

func TestARestartAfterAnyCommitChangesNothing(t *testing.T) {
	story := func(t *testing.T, policy string, crash int) (end, heard string, commits int) {
		clocktest.Bubble(t, func(t *testing.T) {
			m, led := newMarket(policy), newLedger()
			tried := map[flex.InstructionID]int{}
			m.fail = func(s flex.Say) error {
				if tried[s.ID]++; tried[s.ID] < 3 {
					return &flex.RetryError{Err: errors.New("503")}
				}
				return nil
			}
			if crash >= 0 {
				led.crashAfter(crash)
			}
			r := newRig(t, led, nil, answered(m))
			defer func() { r.end() }()
			again := func() {
				pass(20 * time.Second)
				if down := led.down(); down {
					r.end()
					led.set(func() { led.fragile, led.fail = false, nil })
					r = newRig(t, led, nil, answered(m))
					pass(20 * time.Second)
				}
			}
			answer := func(id flex.InstructionID) {
				if rec := led.rec(id); policy == AnswerAsk && openAnswer(rec) != nil && openAnswer(rec).Word == "" {
					_ = r.eng.Answer(t.Context(), []flex.InstructionID{id}, flex.Accept, "", "ann") // a crash may eat it
				}
				again()
				if rec := led.rec(id); policy == AnswerAsk && openAnswer(rec) != nil && openAnswer(rec).Word == "" {
					if err := r.eng.Answer(t.Context(), []flex.InstructionID{id}, flex.Accept, "", "ann"); err != nil {
						t.Errorf("crash %d: %v", crash, err)
					}
				}
				again()
			}
			r.take(brief(later("i", 1, 0)), 1)
			again()
			answer("i")
			r.take(later("bad", 1, 50_000), 2)
			again()
			r.take(brief(later("i", 2, 6000)), 3)
			again()
			answer("i")
			pass(time.Hour)
			again()
			pass(2 * time.Hour)
			again()
			i, bad := led.rec("i"), led.rec("bad")
			end = led.said("i") + " | " + led.said("bad") + " | " + string(i.State) + " " + string(bad.State)
			if a := i.Answer; a == nil || a.Word != flex.Accept || a.Confirmed.IsZero() || a.Revision != 2 {
				t.Errorf("crash %d: answer %+v", crash, a)
			}
			m.mu.Lock()
			all := slices.Clone(m.taken)
			m.mu.Unlock()
			slices.Sort(all)
			heard = strings.Join(slices.Compact(all), ", ")
			led.set(func() { commits = led.commits })
		})
		return end, heard, commits
	}
	for _, policy := range []string{AnswerAuto, AnswerAsk} {
		end, heard, commits := story(t, policy, -1)
		if commits < 10 {
			t.Fatalf("the story has %d commits only", commits)
		}
		for n := range commits {
			if gotEnd, gotHeard, _ := story(t, policy, n); gotEnd != end || gotHeard != heard {
				t.Errorf("%s, crash after %d commits: %q, heard %q; want %q, heard %q", policy, n, gotEnd, gotHeard, end, heard)
			}
		}
	}
}
