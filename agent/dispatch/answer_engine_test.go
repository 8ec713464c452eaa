package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
)

// market takes answers and declarations.
type market struct {
	mu     sync.Mutex
	mute   bool // has no call for answers
	rule   *flex.AnswerRule
	policy string
	fail   func(flex.Say) error // nil: everything is taken
	lost   func(flex.Say) bool  // taken, and nobody hears of it
	gate   chan struct{}
	tries  []time.Time
	groups []int
	taken  []string // "accept i/1"
	told   []string
	away   error
}

func newMarket(policy string) *market {
	return &market{rule: &flex.AnswerRule{Within: time.Hour}, policy: policy}
}

func (m *market) Responds() bool { return !m.mute }

func (m *market) AnswerRule(flex.Instruction, flex.Competition) (flex.AnswerRule, bool) {
	if m.rule == nil {
		return flex.AnswerRule{}, false
	}
	return *m.rule, true
}

func (m *market) Respond(ctx context.Context, word flex.Word, say []flex.Say) []error {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries = append(m.tries, time.Now())
	m.groups = append(m.groups, len(say))
	out := make([]error, len(say))
	for i, s := range say {
		if m.fail != nil {
			out[i] = m.fail(s)
		}
		if out[i] == nil || m.lost != nil && m.lost(s) {
			m.taken = append(m.taken, fmt.Sprintf("%s %s/%d", word, s.ID, s.Revision))
		}
	}
	return out
}

func (m *market) TellsAvailability() bool { return true }
func (m *market) DeclareUnavailable(_ context.Context, u flex.Unavailability) error {
	return m.hear("away " + string(u.Asset))
}
func (m *market) WithdrawUnavailable(_ context.Context, u flex.Unavailability) error {
	return m.hear("back " + string(u.Asset))
}
func (m *market) hear(s string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, s)
	return m.away
}

func (m *market) set(fn func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn()
}

func (m *market) heard() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.taken, ", ")
}

// answered gives the rig a market.
func answered(m *market) func(*rig) {
	return func(r *rig) {
		r.cfg.Market, r.cfg.Answers = m, func(string) string { return m.policy }
		r.cfg.Assets = []flex.AssetID{"a", "z"}
		r.teller = m
	}
}

// later is a start in two hours, two hours long; revised when rev is not 0.
func later(id flex.InstructionID, rev int64, w flex.Watts) flex.Offer {
	o := soon(id, 2*time.Hour)
	o.Instruction.Window.End = o.Instruction.Window.Start.Add(2 * time.Hour)
	if rev > 0 {
		o.Instruction.HasRevision, o.Instruction.Revision = true, rev
		o.Instruction.Content += fmt.Sprint(rev, w)
	}
	if w > 0 {
		o.Instruction.Capacity = w
	}
	return o
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAnAcceptanceIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
		"certainly not said":            {2 * time.Hour, retry, 61 * time.Minute, flex.Expired, false},
		"perhaps said":                  {2 * time.Hour, flex.ErrUncertain, 61 * time.Minute, flex.Scheduled, true},
		"active by then":                {10 * time.Minute, retry, 61 * time.Minute, flex.Active, true},
		"refused for good":              {2 * time.Hour, errors.New("410 expired"), time.Minute, flex.Expired, false},
		"refused for good while active": {0, errors.New("410 expired"), time.Minute, flex.Expired, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(AnswerAuto)
			m.fail = func(flex.Say) error { return tc.err }
			r := newRig(t, newLedger(), nil, answered(m))
			defer r.end()
			o := later("i", 1, 0)
			o.Instruction.Window.Start = time.Now().UTC().Add(tc.start)
			r.take(o, 1)
			pass(tc.after)
			rec := r.led.rec("i")
			if name == "refused for good while active" { // refused before a device was touched, or after: either is a right end
				if rec.State == flex.Active {
					return
				}
			}
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

func TestAPersonAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
		if m.heard() != "accept i/1, accept j/1, reject k/1" || k.State != flex.Refused || k.Reason != flex.ReasonRejected || !strings.Contains(k.Text, "too hot") || k.Answer.By != "bob" {
			t.Errorf("heard %q, k %+v", m.heard(), k)
		}
		m.mu.Lock()
		if !slices.Equal(m.groups, []int{2, 1}) {
			t.Errorf("told in groups of %v", m.groups)
		}
		m.mu.Unlock()
		if got := r.led.said("i"); got != "admitted pending accepted scheduled" || len(r.board.Running()) != 2 {
			t.Errorf("said %q", got)
		}
	})
}

func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
		synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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
			synctest.Test(t, func(t *testing.T) {
				m, led := newMarket(AnswerAsk), newLedger()
				r := newRig(t, led, nil, answered(m))
				defer func() { r.end() }()
				ids := []flex.InstructionID{"i"}
				r.take(later("i", 1, 0), 1)
				if err := r.eng.Answer(t.Context(), ids, flex.Accept, "", "ann"); err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				r.take(later("i", 2, 6000), 2)
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
				d := r.board.Running()
				if len(d) != 1 || d[0].Shares[0].Power != tc.power || d[0].Revision != tc.rev || led.said("i") != tc.said || m.heard() != tc.heard {
					t.Errorf("%s: %+v, said %q, heard %q", name, d, led.said("i"), m.heard())
				}
				if left, _ := led.Undecided(t.Context()); len(left) != 0 || led.rec("i").Amend != nil {
					t.Errorf("%s: %d offers left, %+v", name, len(left), led.rec("i").Amend)
				}
			})
		}
	}
}

func TestALaterChangeOvertakesOneThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
		if left, _ := r.led.Undecided(t.Context()); len(left) != 0 {
			t.Errorf("%d offers left", len(left))
		}
	})
}

func TestOwedAnswersSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
		synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
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

func TestACrashWhileTellingLeavesItPerhapsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
