package dispatch

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// instead puts an offer in the place of another, as matching it again does.
func (r *rig) instead(o flex.Offer, seq, old uint64) {
	r.led.set(func() {
		for i, have := range r.led.offers {
			if have.Seq == old {
				r.led.offers = append(r.led.offers[:i], r.led.offers[i+1:]...)
				break
			}
		}
	})
	r.take(o, seq)
}

// lacks is an offer with something missing that may come.
var lacks = map[flex.Reason]func(*flex.Offer){
	flex.ReasonUnknownObligation:   func(o *flex.Offer) { o.Obligation = flex.Obligation{} },
	flex.ReasonShareUnresolved:     func(o *flex.Offer) { o.Instruction.Assets = []flex.AssetID{"a", "z"} },
	flex.ReasonDirectionUnresolved: func(o *flex.Offer) { o.Instruction.Direction, o.Obligation.Direction = "", "" },
	flex.ReasonSignatureInvalid:    func(o *flex.Offer) { o.Signature = string(flex.ReasonSignatureInvalid) },
	flex.ReasonSignatureMissing:    func(o *flex.Offer) { o.Signature = string(flex.ReasonSignatureMissing) },
	flex.ReasonNoKey:               func(o *flex.Offer) { o.Signature = string(flex.ReasonNoKey) },
}

func TestAReasonThatCanPassIsWaitedFor(t *testing.T) {
	for why, lack := range lacks {
		for name, tc := range map[string]struct {
			cure time.Duration // after receipt; the window is from 30 to 60 minutes
			end  flex.State
			cond flex.Condition
		}{
			"cured in time":  {20 * time.Minute, flex.Scheduled, ""},
			"cured too late": {40 * time.Minute, flex.Active, flex.LateStart},
			"never":          {2 * time.Hour, flex.Refused, ""},
		} {
			t.Run(string(why)+" "+name, func(t *testing.T) {
				clocktest.Bubble(t, func(t *testing.T) {
					r := newRig(t, newLedger(), nil)
					defer r.end()
					good := soon("i", 30*time.Minute)
					good.Instruction.Window.End = good.Instruction.Window.Start.Add(30 * time.Minute)
					bad := good
					lack(&bad)
					r.take(bad, 1)
					if rec := r.led.rec("i"); rec.State != flex.Waiting || rec.Reason != why || r.alarms.is("instruction_waiting:i") {
						t.Fatalf("%s (%s): %s", rec.State, rec.Reason, rec.Text)
					}
					pass(20 * time.Second)
					if !r.alarms.is("instruction_waiting:i") || len(r.eng.Waiting()) != 1 {
						t.Error("nobody is told in time to act")
					}
					pass(tc.cure - 20*time.Second)
					if tc.end != flex.Refused {
						r.instead(good, 2, 1)
						pass(2 * time.Second)
					}
					rec := r.led.rec("i")
					if rec.State != tc.end || tc.cond != "" && !rec.Has(tc.cond) || r.alarms.is("instruction_waiting:i") || len(r.eng.Waiting()) != 0 {
						t.Errorf("%s (%s) %v, alarm %v", rec.State, rec.Text, rec.Conditions, r.alarms.is("instruction_waiting:i"))
					}
					if said := r.led.said("i"); !strings.HasPrefix(said, "waiting ") || strings.Count(said, "waiting") != 1 {
						t.Errorf("said %q", said)
					}
					if tc.end == flex.Refused && (rec.Reason != why || len(r.led.offers) != 0) {
						t.Errorf("refused for %s, %d offers open", rec.Reason, len(r.led.offers))
					}
				})
			})
		}
	}
}

// A declaration that is taken back lets in what it kept out, at once.
func TestAWithdrawnDeclarationLetsTheInstructionIn(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil, answered(newMarket(AnswerNone)))
		defer func() { r.end() }()
		u, err := r.eng.DeclareUnavailable(t.Context(), repair(0, 3*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		r.take(soon("i", time.Hour), 1)
		if rec := led.rec("i"); rec.State != flex.Waiting || rec.Reason != flex.ReasonUnavailable {
			t.Fatalf("%s (%s)", rec.State, rec.Reason)
		}
		r.end() // it outlives a restart
		r = newRig(t, led, nil, answered(newMarket(AnswerNone)))
		if rec := led.rec("i"); rec.State != flex.Waiting || len(r.eng.Waiting()) != 1 {
			t.Fatalf("after the restart %s", rec.State)
		}
		if err := r.eng.WithdrawUnavailable(t.Context(), u.ID, "ann"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if rec := led.rec("i"); rec.State != flex.Scheduled || led.said("i") != "waiting admitted scheduled" {
			t.Errorf("%s, said %q", rec.State, led.said("i"))
		}
	})
}

// The true copy counts, in whatever order a false one of the same or of another
// revision comes with it.
func TestAFalseCopyBindsNobody(t *testing.T) {
	forge := func(o *flex.Offer) { o.Signature = string(flex.ReasonSignatureMissing) }
	for name, change := range map[string]func(*flex.Offer){
		"the same":          func(*flex.Offer) {},
		"other content":     func(o *flex.Offer) { o.Instruction.Capacity, o.Instruction.Content = 9000, "other" },
		"a higher revision": func(o *flex.Offer) { o.Instruction.Revision = 99 },
		"a stop":            func(o *flex.Offer) { o.Instruction.Kind = flex.KindStop },
	} {
		for _, order := range []string{"false true", "true false", "false false true", "waits false true"} {
			for _, explicit := range []bool{false, true} {
				clocktest.Bubble(t, func(t *testing.T) {
					r := newRig(t, newLedger(), nil)
					defer r.end()
					good := brief(soon("i", time.Hour))
					good.Instruction.HasRevision, good.Instruction.Revision = explicit, 1
					bad := good
					change(&bad)
					forge(&bad)
					early := good
					lacks[flex.ReasonUnknownObligation](&early)
					for n, word := range strings.Fields(order) {
						r.take(map[string]flex.Offer{"true": good, "false": bad, "waits": early}[word], uint64(n+1))
					}
					rec := r.led.rec("i")
					if rec.State != flex.Scheduled || rec.Shares[0].Power != 5000 {
						t.Errorf("%s, %s, explicit %v: %s (%s: %s)", name, order, explicit, rec.State, rec.Reason, rec.Text)
					}
					pass(70 * time.Minute)
					if rec := r.led.rec("i"); rec.State != flex.Completed {
						t.Errorf("%s, %s: in the end %s (%s)", name, order, rec.State, rec.Text)
					}
				})
			}
		}
	}
}

// A stop whose proof comes late acts when it comes.
func TestAStopWaitsForItsProof(t *testing.T) {
	for _, own := range []bool{false, true} {
		clocktest.Bubble(t, func(t *testing.T) {
			r := newRig(t, newLedger(), nil)
			defer r.end()
			o := soon("i", time.Second)
			o.Instruction.Window.End = o.Instruction.Window.Start.Add(time.Hour)
			r.take(o, 1)
			pass(5 * time.Second)
			halt := o
			halt.Instruction.Kind, halt.Instruction.Content = flex.KindStop, "stop"
			if own {
				halt.Instruction.ID, halt.Instruction.Stops = "s", []flex.InstructionID{"i"}
			}
			false1 := halt
			false1.Signature = string(flex.ReasonSignatureInvalid)
			id := halt.Instruction.ID
			r.take(false1, 2)
			if r.led.rec("i").State != flex.Active || !r.alarms.is("instruction_waiting:"+string(id)) {
				t.Fatalf("%s, alarm %v", r.led.rec("i").State, r.alarms.on)
			}
			pass(5 * time.Minute)
			r.instead(halt, 3, 2)
			pass(2 * time.Second)
			if r.led.rec("i").State != flex.Stopped || r.alarms.is("instruction_waiting:"+string(id)) {
				t.Errorf("%s, alarm %v", r.led.rec("i").State, r.alarms.on)
			}
			if own && r.led.rec("s").State != flex.Stopped {
				t.Errorf("the stop itself is %s", r.led.rec("s").State)
			}
		})
	}
}

// A change that waits leaves what stands as it is.
func TestAChangeThatWaits(t *testing.T) {
	for why, lack := range lacks {
		clocktest.Bubble(t, func(t *testing.T) {
			r := newRig(t, newLedger(), nil)
			defer r.end()
			r.take(later("i", 1, 0), 1)
			good := later("i", 2, 4000)
			bad := good
			lack(&bad)
			r.take(bad, 2)
			pass(time.Minute)
			if rec := r.led.rec("i"); rec.State != flex.Scheduled || rec.Shares[0].Power != 5000 || !r.alarms.is("instruction_waiting:i") {
				t.Errorf("%s: %s %v, alarm %v", why, rec.State, rec.Shares, r.alarms.on)
			}
			r.instead(good, 3, 2)
			if rec := r.led.rec("i"); rec.State != flex.Scheduled || rec.Shares[0].Power != 4000 || r.led.said("i") != "admitted scheduled waiting admitted scheduled" {
				t.Errorf("%s: %s %v, said %q", why, rec.State, rec.Shares, r.led.said("i"))
			}
		})
	}
}

// What waits for long is not judged at every look.
func TestWhatWaitsIsJudgedRarely(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		judged := 0
		r := newRig(t, newLedger(), nil, func(r *rig) {
			r.cfg.Contract = func(flex.ObligationID, flex.CompetitionID) Contract { judged++; return Contract{} }
		})
		defer r.end()
		o := soon("i", 2*time.Hour)
		lacks[flex.ReasonShareUnresolved](&o)
		r.take(o, 1)
		pass(time.Hour)
		if judged < 100 || judged > 125 {
			t.Errorf("judged %d times in an hour", judged)
		}
	})
}
