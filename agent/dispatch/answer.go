package dispatch

import (
	"fmt"
	"time"

	"flexd/agent/flex"
)

// Policies for answers, in the words of the configuration.
const (
	AnswerAuto          = "auto"                // accept all that is admitted
	AnswerIfDeliverable = "auto-if-deliverable" // accept what can be given in full, reject the rest
	AnswerAsk           = "ask"                 // a person decides
	AnswerNone          = "none"                // leave answers to others
)

// bySelf is who answers when no person does.
const bySelf = "flexd"

// Before an answer is due, a person is warned: a tenth of the time, and at
// least leastLead where there is so much.
const (
	leadPart  = 10
	leastLead = 5 * time.Minute
)

// Answering is how one offer is to be answered.
type Answering struct {
	Policy  string
	Rule    *flex.AnswerRule                   // nil: the market wants no answer
	ByHand  bool                               // the market has no call for it: a person tells it elsewhere
	Foresee func(flex.Dispatch) flex.Foresight // by the state of now
	Far     func(flex.Dispatch) flex.Foresight // by ratings and capacities; nil: nobody can tell
	Said    *Said                              // a person's word, when it is given now
}

// Said is a person's word.
type Said struct {
	Word flex.Word
	Text string
	By   string
}

// wanted tells whether the instruction needs an answer before it may run.
func (a Answering) wanted() bool {
	switch a.Policy {
	case AnswerAuto, AnswerIfDeliverable:
		return a.Rule != nil && !a.ByHand
	case AnswerAsk:
		return a.Rule != nil || a.ByHand
	}
	return false
}

// rejects tells whether what is refused is rejected at the market as well. A
// person who answers by the market's own means does that there.
func (a Answering) rejects() bool {
	return a.wanted() && a.Policy != AnswerAsk
}

// ask is the answer before anything is decided.
func (a Answering) ask(o flex.Offer, end time.Time, now flex.Stamp) *flex.Answer {
	got := o.Received.At
	if got.IsZero() || o.Received.Clock == flex.ClockUntrusted {
		got = now.At
	}
	ans := &flex.Answer{Revision: o.Instruction.Revision, Asked: got, Due: end}
	if a.Rule != nil {
		ans.Due = Due(got, *a.Rule, o.Obligation, end)
	}
	return ans
}

// decide gives the word for the terms of rec, when it can be given: the word
// of a person, or what the policy says. An answer without a word waits.
func (a Answering) decide(ans flex.Answer, rec flex.Record, now flex.Stamp) flex.Answer {
	if a.Said != nil {
		why := flex.Reason("")
		if a.Said.Word == flex.Reject {
			why = flex.ReasonRejected
		}
		return a.with(ans, a.Said.Word, why, a.Said.Text, a.Said.By, now)
	}
	switch a.Policy {
	case AnswerAuto:
		return a.with(ans, flex.Accept, "", "", bySelf, now)
	case AnswerIfDeliverable:
		return a.deliverable(ans, rec, now)
	}
	return ans
}

// farAhead is from when on the state of now says little about a window: a
// battery is charged by then, a hold is lifted, a device is back.
const farAhead = time.Hour

// deliverable accepts what can be given in full and rejects the rest. What the
// state of now speaks against, far ahead, or what cannot be judged, waits while
// there is time. When there is no more, a far window is judged by what will not
// pass.
func (a Answering) deliverable(ans flex.Answer, rec flex.Record, now flex.Stamp) flex.Answer {
	if len(rec.Withheld) > 0 {
		return a.with(ans, flex.Reject, flex.ReasonUnavailable, withheldText(rec.Withheld), bySelf, now)
	}
	f := foresight(a.Foresee, rec)
	if rec.Window.Start.Sub(now.At) > farAhead {
		return a.farOff(ans, f, foresight(a.Far, rec), now)
	}
	switch {
	case f.Known && f.Missing <= 0:
		return a.with(ans, flex.Accept, "", f.Text, bySelf, now)
	case f.Known:
		return a.with(ans, flex.Reject, f.Reason, missingText(f), bySelf, now)
	case !now.At.Before(warnAt(ans)):
		return a.with(ans, flex.Reject, flex.ReasonDeviceUnavailable, "it could not be told in time whether it can be given: "+f.Text, bySelf, now)
	}
	return ans
}

// farOff answers for a window far ahead, by the state of now and by what lasts.
func (a Answering) farOff(ans flex.Answer, f, lasts flex.Foresight, now flex.Stamp) flex.Answer {
	good := f.Known && f.Missing <= 0
	switch last := !now.At.Before(warnAt(ans)); {
	case lasts.Known && lasts.Missing > 0:
		return a.with(ans, flex.Reject, lasts.Reason, missingText(lasts), bySelf, now)
	case good:
		return a.with(ans, flex.Accept, "", f.Text, bySelf, now)
	case last && lasts.Known:
		return a.with(ans, flex.Accept, "", together("it is far ahead: judged by ratings and capacities", f.Text), bySelf, now)
	case last:
		return a.with(ans, flex.Reject, flex.ReasonDeviceUnavailable, "it could not be told in time whether it can be given: "+f.Text, bySelf, now)
	}
	return ans
}

func foresight(ask func(flex.Dispatch) flex.Foresight, rec flex.Record) flex.Foresight {
	if ask == nil {
		return flex.Foresight{Text: "nothing is known of the devices"}
	}
	return ask(rec.Dispatch())
}

func missingText(f flex.Foresight) string {
	return fmt.Sprintf("%v of it cannot be given: %s", f.Missing, f.Text)
}

// decidesAt is when an answer that waits is given without anything new.
func decidesAt(ans flex.Answer, rec flex.Record) time.Time {
	return earliest(warnAt(ans), rec.Window.Start.Add(-farAhead))
}

// with is the answer with its word. Where a person must tell the market by
// other means, nothing more is owed from here.
func (a Answering) with(ans flex.Answer, word flex.Word, why flex.Reason, text, by string, now flex.Stamp) flex.Answer {
	ans.Word, ans.Reason, ans.Text, ans.By, ans.At = word, why, text, by, now
	if a.ByHand {
		ans.Confirmed = now.At
		ans.Text = together(text, "to be given to the market by hand: its profile has no call for answers")
	}
	return ans
}

// together puts two remarks into one.
func together(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// warnAt is when a person must be warned that an answer is due.
func warnAt(a flex.Answer) time.Time {
	total := a.Due.Sub(a.Asked)
	return a.Due.Add(-min(max(total/leadPart, leastLead), max(0, total/2)))
}

// longestDue bounds how many days are looked at to find a deadline.
const longestDue = 400

// Due is the deadline of an answer to what was received at got: the rule's
// time later, or where only working days count, that much time of working
// days of the obligation's zone later; never later than the window's end.
func Due(got time.Time, rule flex.AnswerRule, ob flex.Obligation, end time.Time) time.Time {
	due := end
	switch {
	case rule.Within <= 0:
	case rule.WorkingDays:
		due = workingDue(got, rule.Within, ob)
	default:
		due = got.Add(rule.Within)
	}
	if !end.IsZero() && due.After(end) {
		due = end
	}
	return due.UTC()
}

// workingDue walks from day to day and counts the hours of working days.
func workingDue(got time.Time, left time.Duration, ob flex.Obligation) time.Time {
	loc, err := time.LoadLocation(zoneOf(ob))
	if err != nil {
		return got.Add(left) // the earlier deadline is the safe one
	}
	at := got.In(loc)
	for range longestDue {
		y, m, d := at.Date()
		next := time.Date(y, m, d+1, 0, 0, 0, 0, loc)
		if workingDay(at, ob) {
			if there := next.Sub(at); left > there {
				left -= there
			} else {
				return at.Add(left)
			}
		}
		at = next
	}
	return at
}

// workingDay tells whether a local day counts.
func workingDay(day time.Time, ob flex.Obligation) bool {
	wd := day.Weekday()
	return wd != time.Saturday && wd != time.Sunday && !holiday(ob, day.Format("2006-01-02"))
}
