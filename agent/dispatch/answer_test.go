package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestDue(t *testing.T) {
	uk := flex.Obligation{Zone: "Europe/London"}
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tc := range []struct {
		name   string
		got    string
		within time.Duration
		work   bool
		end    string
		want   string
	}{
		{"an hour", "2026-06-01T12:00:00Z", time.Hour, false, "2026-06-02T12:00:00Z", "2026-06-01T13:00:00Z"},
		{"never later than the window's end", "2026-06-01T12:00:00Z", 4 * time.Hour, false, "2026-06-01T14:00:00Z", "2026-06-01T14:00:00Z"},
		{"without a time it is the window's end", "2026-06-01T12:00:00Z", 0, false, "2026-06-01T14:00:00Z", "2026-06-01T14:00:00Z"},
		{"an open window has no end", "2026-06-01T12:00:00Z", time.Hour, false, "", "2026-06-01T13:00:00Z"},
		{"48 h within the week", "2026-06-01T12:00:00Z", 48 * time.Hour, true, "2026-07-01T12:00:00Z", "2026-06-03T12:00:00Z"},
		{"48 h over a weekend", "2026-06-04T12:00:00Z", 48 * time.Hour, true, "2026-07-01T12:00:00Z", "2026-06-08T12:00:00Z"},
		{"received on a Saturday", "2026-06-06T12:00:00Z", 48 * time.Hour, true, "2026-07-01T12:00:00Z", "2026-06-09T23:00:00Z"},
		{"over the spring bank holiday", "2026-05-22T12:00:00Z", 48 * time.Hour, true, "2026-07-01T12:00:00Z", "2026-05-27T12:00:00Z"},
		{"over Christmas", "2026-12-24T12:00:00Z", 48 * time.Hour, true, "2027-02-01T12:00:00Z", "2026-12-30T12:00:00Z"},
		{"over the change of the clock the face of it moves", "2026-03-27T12:00:00Z", 48 * time.Hour, true, "2026-07-01T12:00:00Z", "2026-03-31T11:00:00Z"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var end time.Time
			if tc.end != "" {
				end = at(tc.end)
			}
			if got := Due(at(tc.got), flex.AnswerRule{Within: tc.within, WorkingDays: tc.work}, uk, end); !got.Equal(at(tc.want)) {
				t.Errorf("due %v, want %v", got, tc.want)
			}
		})
	}
}

func TestDueKnowsTheRegion(t *testing.T) {
	friday := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	rule := flex.AnswerRule{Within: 24 * time.Hour, WorkingDays: true}
	for region, want := range map[string]time.Time{"": friday.AddDate(0, 0, 3), "scotland": friday.AddDate(0, 0, 4)} { // St Andrew's Day
		if got := Due(friday, rule, flex.Obligation{Region: region}, friday.AddDate(1, 0, 0)); !got.Equal(want) {
			t.Errorf("%q: due %v, want %v", region, got, want)
		}
	}
}

func TestWarning(t *testing.T) {
	for _, tc := range []struct{ total, lead time.Duration }{
		{48 * time.Hour, 288 * time.Minute}, {time.Hour, 6 * time.Minute}, {30 * time.Minute, 5 * time.Minute},
		{4 * time.Minute, 2 * time.Minute}, {0, 0}, {-time.Hour, 0},
	} {
		a := flex.Answer{Asked: noon, Due: noon.Add(tc.total)}
		if got := a.Due.Sub(warnAt(a)); got != tc.lead {
			t.Errorf("%v in all: %v ahead, want %v", tc.total, got, tc.lead)
		}
	}
}

func states(v Verdict) string {
	var out []string
	for _, a := range v.Acks {
		out = append(out, a.State)
	}
	return strings.Join(out, " ")
}

func answering(policy string, f flex.Foresight) Answering {
	return Answering{Policy: policy, Rule: &flex.AnswerRule{Within: 30 * time.Minute}, Foresee: func(flex.Dispatch) flex.Foresight { return f }}
}

func TestAdmissionWithAnswers(t *testing.T) {
	full := flex.Foresight{Known: true}
	short := flex.Foresight{Known: true, Missing: 100, Reason: flex.ReasonEnergyInsufficient, Text: "empty"}
	late := func(o *flex.Offer) { o.Received = stampAt(noon.Add(-time.Hour)) }
	for _, tc := range []struct {
		name   string
		a      Answering
		change func(*flex.Offer)
		away   []flex.Unavailability
		said   string
		reason flex.Reason
		word   flex.Word // of the answer, "-" when there is none
		owed   bool
	}{
		{name: "no policy", said: "admitted scheduled", word: "-"},
		{name: "policy none", a: answering(AnswerNone, full), said: "admitted scheduled", word: "-"},
		{name: "no rule", a: Answering{Policy: AnswerAuto}, said: "admitted scheduled", word: "-"},
		{name: "auto", a: answering(AnswerAuto, short), said: "admitted pending accepted scheduled", word: flex.Accept, owed: true},
		{name: "deliverable", a: answering(AnswerIfDeliverable, full), said: "admitted pending accepted scheduled", word: flex.Accept, owed: true},
		{name: "not deliverable", a: answering(AnswerIfDeliverable, short), said: "admitted pending refused", reason: flex.ReasonEnergyInsufficient, word: flex.Reject, owed: true},
		{name: "not known yet", a: answering(AnswerIfDeliverable, flex.Foresight{}), said: "admitted pending", word: ""},
		{name: "ask", a: answering(AnswerAsk, full), said: "admitted pending", word: ""},
		{name: "ask where the market wants none", a: Answering{Policy: AnswerAsk}, said: "admitted scheduled", word: "-"},
		{name: "ask where the market has no call", a: Answering{Policy: AnswerAsk, ByHand: true}, said: "admitted pending", word: ""},
		{name: "auto where the market has no call", a: Answering{Policy: AnswerAuto, ByHand: true, Rule: &flex.AnswerRule{}}, said: "admitted scheduled", word: "-"},
		{name: "the deadline is over already", a: answering(AnswerAuto, full), change: late, said: "admitted pending expired", reason: flex.ReasonNoAnswer, word: ""},
		{name: "above the contract is rejected", a: answering(AnswerAuto, full), change: func(o *flex.Offer) { o.Instruction.Capacity = 20_000 }, said: "refused", reason: flex.ReasonAboveCapacity, word: flex.Reject, owed: true},
		{name: "a bad signature waits while there is time", a: answering(AnswerIfDeliverable, full), change: func(o *flex.Offer) { o.Signature = "signature_invalid" }, said: "waiting", reason: flex.ReasonSignatureInvalid, word: "-"},
		{name: "and is rejected while there is time to say so", a: answering(AnswerIfDeliverable, full), change: func(o *flex.Offer) {
			o.Signature, o.Received = "signature_invalid", stampAt(noon.Add(-27*time.Minute))
		}, said: "refused", reason: flex.ReasonSignatureInvalid, word: flex.Reject, owed: true},
		{name: "a person answers refused ones at the market", a: answering(AnswerAsk, full), change: func(o *flex.Offer) { o.Instruction.Capacity = 20_000 }, said: "refused", reason: flex.ReasonAboveCapacity, word: "-"},
		{name: "what is not ours is not ours to answer", a: answering(AnswerAuto, full), change: func(o *flex.Offer) { o.Ours = nil }, said: "refused", reason: flex.ReasonNotOurs, word: "-"},
		{name: "too late to reject", a: answering(AnswerAuto, full), change: func(o *flex.Offer) { late(o); o.Instruction.Capacity = 20_000 }, said: "refused", reason: flex.ReasonAboveCapacity, word: "-"},
		{name: "declared unavailable waits while there is time", a: answering(AnswerAuto, full), away: []flex.Unavailability{away("a", 0, 10*time.Hour)}, said: "waiting", reason: flex.ReasonUnavailable, word: "-"},
		{name: "a part of it unavailable is not in full", a: answering(AnswerIfDeliverable, full), change: both, away: []flex.Unavailability{away("z", 0, 10*time.Hour)},
			said: "admitted pending refused", reason: flex.ReasonUnavailable, word: flex.Reject, owed: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := Admit(offer(tc.change), Context{Now: stampAt(noon), Answers: tc.a, Away: tc.away})
			rec := v.Records[0]
			if states(v) != tc.said || rec.Reason != tc.reason || rec.Answer.Owed() != tc.owed {
				t.Fatalf("said %q, %+v, answer %+v", states(v), rec, rec.Answer)
			}
			if (rec.Answer == nil) != (tc.word == "-") || rec.Answer != nil && rec.Answer.Word != tc.word {
				t.Errorf("answer %+v, want %q", rec.Answer, tc.word)
			}
			if rec.Answer != nil && rec.Answer.Revision != rec.Revision {
				t.Errorf("the answer is for revision %d", rec.Answer.Revision)
			}
		})
	}
}

// both makes the offer one for two of our assets.
func both(o *flex.Offer) {
	o.Ours = []flex.AssetID{"a", "z"}
	o.Instruction.Assets = []flex.AssetID{"a", "z"}
	o.Named = []flex.MarketAsset{{ID: "a", Export: 5000}, {ID: "z", Export: 5000}}
}

func away(asset flex.AssetID, from, to time.Duration) flex.Unavailability {
	return flex.Unavailability{ID: "u", Asset: asset, By: "ann", Reason: "repair", Window: flex.Window{Start: noon.Add(from), End: noon.Add(to)}}
}

func TestAdmissionHonoursDeclarations(t *testing.T) {
	for _, tc := range []struct {
		name   string
		away   []flex.Unavailability
		change func(*flex.Offer)
		state  flex.State
		shares int
	}{
		{"none", nil, both, flex.Scheduled, 2},
		{"another time", []flex.Unavailability{away("a", 2*time.Hour, 3*time.Hour)}, both, flex.Scheduled, 2},
		{"withdrawn", []flex.Unavailability{func() flex.Unavailability { u := away("a", 0, 9*time.Hour); u.Withdrawn = noon; return u }()}, both, flex.Scheduled, 2},
		{"one of two", []flex.Unavailability{away("a", 90*time.Minute, 9*time.Hour)}, both, flex.Scheduled, 1},
		{"both", []flex.Unavailability{away("a", 0, 9*time.Hour), away("z", 0, 9*time.Hour)}, both, flex.Waiting, 0},
		{"the only one", []flex.Unavailability{away("a", 119*time.Minute, 9*time.Hour)}, nil, flex.Waiting, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := Admit(offer(tc.change), Context{Now: stampAt(noon), Away: tc.away})
			rec := v.Records[0]
			if rec.State != tc.state || len(rec.Shares) != tc.shares {
				t.Fatalf("record %+v", rec)
			}
			switch {
			case tc.state == flex.Waiting && (rec.Reason != flex.ReasonUnavailable || !strings.Contains(rec.Text, "repair")):
				t.Errorf("waits for %s: %s", rec.Reason, rec.Text)
			case tc.shares == 1 && (!rec.Has(flex.Partial) || len(rec.Withheld) != 1 || rec.Shares[0].Power != 2500 || !strings.Contains(v.Acks[0].Text, "repair")):
				t.Errorf("record %+v, %s", rec, v.Acks[0].Text)
			}
			if tc.shares == 1 {
				rec.State = flex.Active
				got, err := Follow(rec, flex.Progress{Engaged: true}, true, stampAt(noon.Add(70*time.Minute)))
				if err != nil || !got.Has(flex.Partial) || got.Reason != flex.ReasonUnavailable {
					t.Errorf("while it runs: %+v, %v", got, err)
				}
			}
		})
	}
}

// running is the offer's dispatch, accepted.
func running(a Answering) flex.Record {
	return Admit(offer(func(o *flex.Offer) { o.Instruction.HasRevision, o.Instruction.Revision = true, 1 }), Context{Now: stampAt(noon), Answers: a}).Records[0]
}

func TestChangesWithAnswers(t *testing.T) {
	full := flex.Foresight{Known: true}
	short := flex.Foresight{Known: true, Missing: 100, Reason: flex.ReasonRating}
	change := offer(func(o *flex.Offer) {
		o.Instruction.HasRevision, o.Instruction.Revision, o.Instruction.Content, o.Instruction.Capacity = true, 2, "c2", 6000
	})
	greedy := change
	greedy.Instruction.Capacity = 20_000
	for _, tc := range []struct {
		name  string
		a     Answering
		state flex.State // of what stands
		offer flex.Offer
		share flex.Watts
		said  string
		word  flex.Word
		rev   int64 // of the answer
		wait  bool
	}{
		{"auto puts it in force", answering(AnswerAuto, full), flex.Active, change, 6000, "admitted pending accepted active", flex.Accept, 2, false},
		{"auto, not running yet", answering(AnswerAuto, full), flex.Scheduled, change, 6000, "admitted pending accepted scheduled", flex.Accept, 2, false},
		{"deliverable", answering(AnswerIfDeliverable, full), flex.Active, change, 6000, "admitted pending accepted active", flex.Accept, 2, false},
		{"not deliverable: the old terms stand", answering(AnswerIfDeliverable, short), flex.Active, change, 5000, "refused", flex.Reject, 2, false},
		{"not known: it waits", answering(AnswerIfDeliverable, flex.Foresight{}), flex.Active, change, 5000, "pending", flex.Accept, 1, true},
		{"ask: it waits", answering(AnswerAsk, full), flex.Active, change, 5000, "pending", flex.Accept, 1, true},
		{"above the contract: the old terms stand", answering(AnswerAuto, full), flex.Active, greedy, 5000, "refused", flex.Reject, 2, false},
		{"nothing is wanted of the change", Answering{}, flex.Active, change, 6000, "admitted active", "", 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			old := running(answering(AnswerAuto, full))
			old.State = tc.state
			now := noon.Add(10 * time.Minute)
			if tc.state == flex.Active {
				old.Window.Start = noon
				tc.offer.Instruction.Window.Start = noon
			}
			v := Admit(tc.offer, Context{Now: stampAt(now), Existing: &old, Open: []flex.Record{old}, Answers: tc.a})
			rec := v.Records[0]
			if states(v) != tc.said || rec.Shares[0].Power != tc.share || v.Wait != tc.wait || rec.State != tc.state {
				t.Fatalf("said %q, wait %v, record %+v", states(v), v.Wait, rec)
			}
			if a := rec.Answer; tc.word == "" && a != nil || tc.word != "" && (a == nil || a.Word != tc.word || a.Revision != tc.rev) {
				t.Errorf("answer %+v", rec.Answer)
			}
			if (rec.Amend != nil) != tc.wait {
				t.Errorf("amendment %+v", rec.Amend)
			}
			again := Admit(tc.offer, Context{Now: stampAt(now), Existing: &rec, Open: []flex.Record{rec}, Answers: tc.a})
			if len(again.Records)+len(again.Acks) > 0 || again.Wait != tc.wait {
				t.Errorf("announced again: %+v", again)
			}
		})
	}
}

func TestLapse(t *testing.T) {
	base := running(answering(AnswerAuto, flex.Foresight{}))
	due := base.Answer.Due
	with := func(state flex.State, fn func(*flex.Answer)) flex.Record {
		r, a := base, *base.Answer
		r.State, r.Answer = state, &a
		if fn != nil {
			fn(&a)
		}
		return r
	}
	for _, tc := range []struct {
		name   string
		rec    flex.Record
		runs   bool
		late   bool
		state  flex.State
		lapsed bool
	}{
		{"in time", with(flex.Scheduled, nil), false, false, flex.Scheduled, false},
		{"late and certainly not said", with(flex.Scheduled, nil), false, true, flex.Expired, true},
		{"late but perhaps said", with(flex.Scheduled, func(a *flex.Answer) { a.Uncertain = true }), false, true, flex.Scheduled, true},
		{"late but active", with(flex.Active, nil), true, true, flex.Active, true},
		{"late but a device is at it", with(flex.Scheduled, nil), true, true, flex.Scheduled, true},
		{"taken", with(flex.Scheduled, func(a *flex.Answer) { a.Confirmed = noon }), false, true, flex.Scheduled, false},
		{"refused by the market in time", with(flex.Scheduled, func(a *flex.Answer) { a.Lapsed = true }), false, false, flex.Expired, true},
		{"refused by the market while active", with(flex.Active, func(a *flex.Answer) { a.Lapsed = true }), true, false, flex.Active, true},
		{"a rejection that was not taken", with(flex.Refused, func(a *flex.Answer) { a.Word = flex.Reject }), false, true, flex.Refused, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := stampAt(due.Add(-time.Second))
			if tc.late {
				now = stampAt(due.Add(time.Minute))
			}
			got, _ := lapse(tc.rec, tc.runs, false, now)
			if got.State != tc.state || got.Answer.Lapsed != tc.lapsed {
				t.Fatalf("%s, answer %+v", got.State, got.Answer)
			}
			if got.State == flex.Expired && (got.Reason != flex.ReasonNoAnswer || tc.late && !got.Steps[len(got.Steps)-1].Fact.At.Equal(due)) {
				t.Errorf("record %+v", got)
			}
			if again, news := lapse(got, tc.runs, false, now); news {
				t.Errorf("changed again: %+v", again)
			}
		})
	}
}

func TestWhatIsHeard(t *testing.T) {
	flaky := &flex.RetryError{After: time.Minute, Err: errors.New("503")}
	for _, tc := range []struct {
		name                 string
		err                  error
		before               bool
		taken, unsure, final bool
	}{
		{"taken", nil, true, true, false, false},
		{"try again", flaky, false, false, false, false},
		{"try again, an earlier one may have arrived", flaky, true, false, true, false},
		{"may have arrived", flex.ErrUncertain, false, false, true, false},
		{"may have arrived, try again", &flex.RetryError{Err: flex.ErrUncertain}, false, false, true, false},
		{"no answer in time", context.DeadlineExceeded, false, false, true, false},
		{"not sent", flex.ErrNotSent, false, false, false, false},
		{"refused for good", errors.New("410 gone"), false, false, false, true},
		{"refused, and an earlier one may have arrived", errors.New("422 answered before"), true, false, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := heardOne(flex.Answer{Word: flex.Accept, Uncertain: true}, tc.before, tc.err, noon)
			if got.Confirmed.IsZero() == tc.taken || got.Uncertain != tc.unsure || got.Lapsed != tc.final || (got.Failed == "") != tc.taken {
				t.Errorf("%+v", got)
			}
		})
	}
}
