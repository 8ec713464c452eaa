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

func TestAnAcceptanceIsToldOnce(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAuto)
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		r.take(later("i", 1, 0), 1)
		r.take(later("i", 1, 0), 2)
		pass(6 * time.Hour)
		if got := r.led.said("i"); got != "admitted pending accepted scheduled active completed" || m.heard() != "accept i/1" {
			t.Errorf("said %q, the market heard %q", got, m.heard())
		}
		if a := r.led.rec("i").Answer; a.Confirmed.IsZero() || a.Tries != 1 || a.Uncertain {
			t.Errorf("answer %+v", a)
		}
	})
}

func TestAMarketThatIsDownIsToldLater(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAuto)
		m.fail = func(flex.Say) error { return &flex.RetryError{After: 90 * time.Second, Err: errors.New("503")} }
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		r.take(later("i", 1, 0), 1)
		pass(56 * time.Minute)
		m.mu.Lock()
		for i := 1; i < len(m.tries); i++ {
			if gap := m.tries[i].Sub(m.tries[i-1]); gap < 90*time.Second || gap > 6*time.Minute {
				t.Errorf("try %d came %v after the one before", i, gap)
			}
		}
		n := len(m.tries)
		m.mu.Unlock()
		if n < 10 || n > 37 || !r.alarms.is("answer_due:i") {
			t.Errorf("%d tries, alarm %v", n, r.alarms.is("answer_due:i"))
		}
		m.set(func() { m.fail = nil })
		pass(3 * time.Minute)
		if m.heard() != "accept i/1" || r.alarms.is("answer_due:i") || r.led.rec("i").State != flex.Scheduled {
			t.Errorf("heard %q, %+v", m.heard(), r.led.rec("i"))
		}
	})
}

func TestWhatTheMarketNeverTook(t *testing.T) {
	retry := &flex.RetryError{Err: errors.New("503")}
	for name, tc := range map[string]struct {
		start time.Duration
		err   error
		after time.Duration
		state flex.State
		alarm bool
	}{
		"certainly not said": {2 * time.Hour, retry, 61 * time.Minute, flex.Expired, true},
		"perhaps said":       {2 * time.Hour, flex.ErrUncertain, 61 * time.Minute, flex.Scheduled, true},
		"active by then":     {10 * time.Minute, retry, 61 * time.Minute, flex.Active, true},
		"refused for good":   {2 * time.Hour, errors.New("422 no such bid"), time.Minute, flex.Expired, true},
	} {
		clocktest.Bubble(t, func(t *testing.T) {
			m := newMarket(AnswerAuto)
			m.fail = func(flex.Say) error { return tc.err }
			r := newRig(t, newLedger(), nil, answered(m))
			defer r.end()
			o := later("i", 1, 0)
			o.Instruction.Window.Start = time.Now().UTC().Add(tc.start)
			r.take(o, 1)
			pass(tc.after)
			rec := r.led.rec("i")
			if rec.State != tc.state || r.alarms.is("answer_failed:i") != tc.alarm || rec.State == flex.Expired && rec.Reason != flex.ReasonNoAnswer {
				t.Errorf("%s: %s (%s), alarm %v, answer %+v", name, rec.State, rec.Reason, r.alarms.is("answer_failed:i"), rec.Answer)
			}
			pass(6 * time.Hour)
			if r.alarms.is("answer_failed:i") || r.alarms.is("answer_due:i") || !r.led.rec("i").State.Final() {
				t.Errorf("%s: an alarm stays: %+v", name, r.led.rec("i"))
			}
		})
	}
}

// A call that hangs delays none of the others, whichever word they carry.
func TestACallThatHangsDelaysNoOther(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAuto)
		gate := make(chan struct{})
		m.gate = gate
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		r.take(later("i", 1, 0), 1)
		m.set(func() { m.gate = nil })
		for n, id := range []flex.InstructionID{"j", "k"} {
			o := later(id, 1, 0)
			o.Instruction.Window.Start = o.Instruction.Window.Start.Add(time.Duration(n+1) * 3 * time.Hour)
			o.Instruction.Window.End = o.Instruction.Window.End.Add(time.Duration(n+1) * 3 * time.Hour)
			r.take(o, uint64(n+2))
		}
		o := later("l", 1, 90_000) // above the contract: rejected
		r.take(o, 4)
		pass(time.Second)
		if got := m.heard(); !strings.Contains(got, "accept j/1") || !strings.Contains(got, "accept k/1") || !strings.Contains(got, "reject l/1") {
			t.Errorf("heard %q behind a call that hangs", got)
		}
		pass(2 * time.Minute) // it is given up, and tried again
		if got := m.heard(); !strings.Contains(got, "accept i/1") {
			t.Errorf("heard %q", got)
		}
		close(gate)
	})
}

func TestAPersonAnswers(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAsk)
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		for i, id := range []flex.InstructionID{"i", "j", "k"} {
			o := later(id, 1, 0)
			o.Instruction.Window.Start = o.Instruction.Window.Start.Add(time.Duration(i) * 3 * time.Hour)
			o.Instruction.Window.End = o.Instruction.Window.End.Add(time.Duration(i) * 3 * time.Hour)
			r.take(o, uint64(i+1))
		}
		if len(r.board.Running()) != 0 || m.heard() != "" {
			t.Fatal("what is not answered must not run")
		}
		ctx := t.Context()
		for _, bad := range []error{
			r.eng.Answer(ctx, []flex.InstructionID{"i", "nope"}, flex.Accept, "", "ann"),
			r.eng.Answer(ctx, []flex.InstructionID{"i"}, "perhaps", "", "ann"),
			r.eng.Answer(ctx, nil, flex.Accept, "", "ann"),
			r.eng.Answer(ctx, []flex.InstructionID{"i"}, flex.Reject, strings.Repeat("x", 501), "ann"),
		} {
			if _, plain := flex.RefusalOf(bad); !plain {
				t.Errorf("got %v, want a refusal", bad)
			}
		}
		if s := r.led.rec("i").State; s != flex.Pending {
			t.Fatalf("a refused order changed it to %s", s)
		}
		if err := r.eng.Answer(ctx, []flex.InstructionID{"i", "j", "i"}, flex.Accept, "", "ann"); err != nil {
			t.Fatal(err)
		}
		if err := r.eng.Answer(ctx, []flex.InstructionID{"k"}, flex.Reject, "too hot", "bob"); err != nil {
			t.Fatal(err)
		}
		if err := r.eng.Answer(ctx, []flex.InstructionID{"k"}, flex.Accept, "", "ann"); err == nil {
			t.Error("a second answer must be refused")
		}
		pass(time.Second)
		k := r.led.rec("k")
		heard := strings.Split(m.heard(), ", ") // the two calls are under way together
		slices.Sort(heard)
		if strings.Join(heard, ", ") != "accept i/1, accept j/1, reject k/1" || k.State != flex.Refused || k.Reason != flex.ReasonRejected || !strings.Contains(k.Text, "too hot") || k.Answer.By != "bob" {
			t.Errorf("heard %q, k %+v", m.heard(), k)
		}
		m.mu.Lock()
		slices.Sort(m.groups)
		if !slices.Equal(m.groups, []int{1, 2}) {
			t.Errorf("told in groups of %v", m.groups)
		}
		m.mu.Unlock()
		if got := r.led.said("i"); got != "admitted pending accepted scheduled" || len(r.board.Running()) != 2 {
			t.Errorf("said %q", got)
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAsk)
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		r.take(later("i", 1, 0), 1)
		pass(53 * time.Minute)
		if r.alarms.is("answer_due:i") {
			t.Error("warned too early")
		}
		pass(2 * time.Minute)
		if !r.alarms.is("answer_due:i") {
			t.Error("not warned")
		}
		pass(5*time.Minute - time.Second)
		if s := r.led.rec("i").State; s != flex.Pending {
			t.Errorf("%s before it is due", s)
		}
		pass(2 * time.Second)
		rec := r.led.rec("i")
		if rec.State != flex.Expired || rec.Reason != flex.ReasonNoAnswer || !rec.Steps[2].Fact.At.Equal(rec.Answer.Due) || r.alarms.is("answer_due:i") || r.led.said("i") != "admitted pending expired" {
			t.Errorf("record %+v", rec)
		}
		if err := r.eng.Answer(t.Context(), []flex.InstructionID{"i"}, flex.Accept, "", "ann"); err == nil {
			t.Error("too late to answer")
		}
	})
}

func TestAnswersByHand(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAsk)
		m.mute, m.rule = true, nil
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		r.take(later("i", 1, 0), 1)
		if err := r.eng.Answer(t.Context(), []flex.InstructionID{"i"}, flex.Accept, "", "ann"); err != nil {
			t.Fatal(err)
		}
		rec := r.led.rec("i")
		if rec.State != flex.Scheduled || rec.Answer.Confirmed.IsZero() || !strings.Contains(rec.Answer.Text, "by hand") || !rec.Answer.Due.Equal(rec.Window.End) || m.heard() != "" {
			t.Errorf("record %+v, answer %+v", rec, rec.Answer)
		}
	})
}

func TestAStopBeatsAnAnswer(t *testing.T) {
	for _, policy := range []string{AnswerAsk, AnswerAuto} {
		clocktest.Bubble(t, func(t *testing.T) {
			m := newMarket(policy)
			m.fail = func(flex.Say) error { return &flex.RetryError{Err: errors.New("503")} }
			r := newRig(t, newLedger(), nil, answered(m))
			defer r.end()
			r.take(later("i", 1, 0), 1)
			pass(time.Minute)
			stop := stopOffer("i", nil)
			stop.Received = stampAt(time.Now().UTC())
			r.take(stop, 2)
			m.set(func() { m.fail = nil })
			pass(time.Hour)
			rec := r.led.rec("i")
			if rec.State != flex.Cancelled || m.heard() != "" || rec.Answer.Owed() || r.alarms.is("answer_due:i") {
				t.Errorf("%s: %+v, the market heard %q", policy, rec, m.heard())
			}
			if err := r.eng.Answer(t.Context(), []flex.InstructionID{"i"}, flex.Accept, "", "ann"); err == nil {
				t.Error("a stopped one cannot be accepted")
			}
		})
	}
}

func TestAPersonStopsWhatWaits(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAsk)
		m.rule = &flex.AnswerRule{Within: 3 * time.Hour}
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		r.take(later("i", 1, 0), 1)
		pass(150 * time.Minute) // its window is open
		if err := r.eng.StopLocal(t.Context(), "i", "ann"); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if rec := r.led.rec("i"); rec.State != flex.Cancelled || rec.Reason != flex.ReasonStoppedLocal {
			t.Errorf("record %+v", rec)
		}
	})
}

func TestAChangeWaitsBesideWhatRuns(t *testing.T) {
	for name, tc := range map[string]struct {
		word  flex.Word // "" nobody answers
		power flex.Watts
		rev   int64
		said  string
		heard string
	}{
		"accepted":   {flex.Accept, 6000, 2, "admitted pending accepted scheduled pending admitted pending accepted scheduled", "accept i/1, accept i/2"},
		"rejected":   {flex.Reject, 5000, 1, "admitted pending accepted scheduled pending refused", "accept i/1, reject i/2"},
		"unanswered": {"", 5000, 1, "admitted pending accepted scheduled pending refused", "accept i/1"},
	} {
		for _, restart := range []bool{false, true} {
			clocktest.Bubble(t, func(t *testing.T) {
				m, led := newMarket(AnswerAsk), newLedger()
				r := newRig(t, led, nil, answered(m))
				defer func() { r.end() }()
				ids := []flex.InstructionID{"i"}
				r.take(later("i", 1, 0), 1)
				if err := r.eng.Answer(t.Context(), ids, flex.Accept, "", "ann"); err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				change := later("i", 2, 6000)
				r.take(change, 2)
				if restart {
					r.end()
					r = newRig(t, led, nil, answered(m))
				}
				pass(time.Minute)
				if d := r.board.Running(); len(d) != 1 || d[0].Shares[0].Power != 5000 {
					t.Fatalf("%s: while it waits: %+v", name, d)
				}
				if tc.word != "" {
					if err := r.eng.Answer(t.Context(), ids, tc.word, "", "ann"); err != nil {
						t.Fatal(err)
					}
				}
				pass(62 * time.Minute)
				r.take(change, 3) // once more: it was decided
				d := r.board.Running()
				if len(d) != 1 || d[0].Shares[0].Power != tc.power || d[0].Revision != tc.rev || led.said("i") != tc.said || m.heard() != tc.heard {
					t.Errorf("%s: %+v, said %q, heard %q", name, d, led.said("i"), m.heard())
				}
				if left, _ := led.Undecided(t.Context(), nil); len(left) != 0 || led.rec("i").Amend != nil {
					t.Errorf("%s: %d offers left, %+v", name, len(left), led.rec("i").Amend)
				}
			})
		}
	}
}

func TestALaterChangeOvertakesOneThatWaits(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAsk)
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		ids := []flex.InstructionID{"i"}
		r.take(later("i", 1, 0), 1)
		if err := r.eng.Answer(t.Context(), ids, flex.Accept, "", "ann"); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		r.take(later("i", 2, 6000), 2)
		r.take(later("i", 3, 7000), 3)
		if err := r.eng.Answer(t.Context(), ids, flex.Accept, "", "ann"); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if rec := r.led.rec("i"); rec.Revision != 3 || rec.Shares[0].Power != 7000 || m.heard() != "accept i/1, accept i/3" {
			t.Errorf("%+v, heard %q", rec, m.heard())
		}
		if left, _ := r.led.Undecided(t.Context(), nil); len(left) != 0 {
			t.Errorf("%d offers left", len(left))
		}
	})
}
