package dispatch

import (
	"errors"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestOwedAnswersSurviveARestart(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m, led := newMarket(AnswerAuto), newLedger()
		m.fail = func(flex.Say) error { return &flex.RetryError{Err: errors.New("503")} }
		r := newRig(t, led, nil, answered(m))
		r.take(later("i", 1, 0), 1)
		bad := later("j", 1, 50_000)
		r.take(bad, 2)
		pass(time.Minute)
		r.end()
		m.set(func() { m.fail = nil })
		r = newRig(t, led, nil, answered(m))
		defer r.end()
		pass(2 * time.Minute)
		if h := m.heard(); h != "accept i/1, reject j/1" && h != "reject j/1, accept i/1" {
			t.Errorf("heard %q", m.heard())
		}
	})
}

func TestWhatCannotBeJudgedWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		known time.Duration // when the devices are read
		short flex.Watts
		state flex.State
		heard string
	}{
		"read in time, enough":     {10 * time.Minute, 0, flex.Scheduled, "accept i/1"},
		"read in time, not enough": {10 * time.Minute, 100, flex.Refused, "reject i/1"},
		"never read":               {5 * time.Hour, 0, flex.Refused, "reject i/1"},
	} {
		clocktest.Bubble(t, func(t *testing.T) {
			m := newMarket(AnswerIfDeliverable)
			began := time.Now()
			r := newRig(t, newLedger(), nil, answered(m), func(r *rig) {
				r.cfg.Foresee = func(flex.Dispatch) flex.Foresight {
					return flex.Foresight{Known: time.Since(began) >= tc.known, Missing: tc.short, Reason: flex.ReasonEnergyInsufficient, Text: "x"}
				}
			})
			defer r.end()
			r.take(later("i", 1, 0), 1)
			pass(9 * time.Minute)
			if s := r.led.rec("i").State; s != flex.Pending {
				t.Fatalf("%s: %s before anything is known", name, s)
			}
			pass(46 * time.Minute)
			if rec := r.led.rec("i"); rec.State != tc.state || m.heard() != tc.heard {
				t.Errorf("%s: %+v, heard %q", name, rec, m.heard())
			}
		})
	}
}

func TestAcceptingAnOlderOneDoesNotEndWhatCameLater(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAsk)
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		r.take(later("i", 1, 0), 1)
		pass(time.Second)
		r.take(later("j", 1, 0), 2)
		for _, id := range []flex.InstructionID{"i", "j"} {
			if err := r.eng.Answer(t.Context(), []flex.InstructionID{id}, flex.Accept, "", "ann"); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		i, j := r.led.rec("i"), r.led.rec("j")
		if j.State != flex.Scheduled || i.StopBy != "j" || i.StopReason != flex.ReasonSuperseded {
			t.Errorf("i %+v, j %+v", i, j)
		}
	})
}

func TestARejectionThatIsNeverTakenIsGivenUp(t *testing.T) {
	for _, restart := range []bool{false, true} {
		clocktest.Bubble(t, func(t *testing.T) {
			m, led := newMarket(AnswerAuto), newLedger()
			m.fail = func(flex.Say) error { return &flex.RetryError{Err: errors.New("503")} }
			r := newRig(t, led, nil, answered(m))
			defer func() { r.end() }()
			r.take(later("j", 1, 50_000), 1)
			pass(56 * time.Minute)
			if restart {
				r.end()
				r = newRig(t, led, nil, answered(m))
			}
			pass(2 * time.Minute)
			if !r.alarms.is("answer_due:j") {
				t.Error("not warned")
			}
			pass(3 * time.Minute)
			if a := led.rec("j").Answer; !a.Lapsed || a.Owed() || r.alarms.is("answer_due:j") || led.said("j") != "refused" {
				t.Errorf("answer %+v", a)
			}
		})
	}
}

func TestWhatExpiresGivesBackWhatItWasToTakeOver(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAuto)
		r := newRig(t, newLedger(), nil, answered(m))
		defer r.end()
		r.take(later("i", 1, 0), 1)
		pass(time.Second)
		m.set(func() { m.fail = func(flex.Say) error { return &flex.RetryError{Err: errors.New("503")} } })
		j := later("j", 1, 0)
		j.Instruction.Window.Start = j.Instruction.Window.Start.Add(time.Hour)
		r.take(j, 2)
		if r.stopAt("i").IsZero() {
			t.Fatal("j was to take over")
		}
		pass(61 * time.Minute)
		if r.led.rec("j").State != flex.Expired || !r.stopAt("i").IsZero() || r.led.rec("i").State != flex.Scheduled {
			t.Errorf("j %s, i %+v", r.led.rec("j").State, r.led.rec("i"))
		}
	})
}

func TestACrashWhileTellingLeavesItPerhapsSaid(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m, led := newMarket(AnswerAuto), newLedger()
		m.gate = make(chan struct{})
		r := newRig(t, led, nil, answered(m))
		r.take(later("i", 1, 0), 1)
		pass(time.Second)
		r.end() // in the midst of it
		if a := led.rec("i").Answer; !a.Uncertain || a.Tries != 1 {
			t.Fatalf("answer %+v", a)
		}
		pass(2 * time.Hour)
		r = newRig(t, led, nil, answered(m))
		defer r.end()
		pass(time.Minute)
		if rec := led.rec("i"); rec.State == flex.Expired || !rec.Answer.Lapsed || !r.alarms.is("answer_failed:i") {
			t.Errorf("%+v", rec)
		}
	})
}
