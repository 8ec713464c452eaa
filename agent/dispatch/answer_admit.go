package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// climb takes a record up its ladder from the first event: past the answer,
// where one is wanted and can be given now, to where it may run.
func (v Verdict) climb(o flex.Offer, rec flex.Record, c Context, first Event) Verdict {
	steps := []Event{first}
	switch {
	case !c.Answers.wanted():
		if first.To == flex.Pending {
			steps = append(steps, Event{To: flex.Accepted, Fact: c.Now, Text: "no answer is wanted"})
		}
		rec.Answer = nil
		steps = append(steps, Event{To: flex.Scheduled, Fact: c.Now})
	default:
		ans := c.Answers.ask(o, rec.Window.End, c.Now)
		asked := askText(*ans)
		*ans = c.Answers.decide(*ans, rec, c.Now)
		if ans.Word == "" && c.Answers.Policy == AnswerIfDeliverable {
			asked += "; it cannot be promised by what is known now and is judged again, at the latest at " + decidesAt(*ans, rec).UTC().Format(time.RFC3339)
		}
		if first.To != flex.Pending {
			steps = append(steps, Event{To: flex.Pending, Fact: c.Now, Text: asked})
		}
		rec.Answer = ans
		steps = append(steps, wordSteps(ans, c.Now)...)
	}
	return v.take(o, rec, c, steps)
}

// wordSteps are the steps that follow from an answer: none while it waits.
func wordSteps(ans *flex.Answer, now flex.Stamp) []Event {
	switch {
	case !now.At.Before(ans.Due):
		lapseNow(ans)
		return []Event{{To: flex.Expired, Fact: at(now, ans.Due), Reason: flex.ReasonNoAnswer, Text: lateText(*ans)}}
	case ans.Word == flex.Accept:
		return []Event{{To: flex.Accepted, Fact: now, Text: wordText(*ans)}, {To: flex.Scheduled, Fact: now}}
	case ans.Word == flex.Reject:
		return []Event{{To: flex.Refused, Fact: now, Reason: ans.Reason, Text: wordText(*ans)}}
	}
	return nil
}

// lapseNow closes an answer that came to nothing.
func lapseNow(ans *flex.Answer) {
	ans.Word, ans.Lapsed, ans.Confirmed = "", true, time.Time{}
}

// take makes the steps, announces them, and lets what runs now take over
// from what it supersedes.
func (v Verdict) take(o flex.Offer, rec flex.Record, c Context, steps []Event) Verdict {
	for _, ev := range steps {
		next, err := Step(rec, ev)
		if err != nil {
			return refuse(o, c, flex.Refuse(flex.ReasonConflict, "%v", err))
		}
		rec = next
		ack := ackOf(rec, string(ev.To), c.Now, ev.Text)
		ack.FactAt = ev.Fact.At
		v.Acks = append(v.Acks, ack)
	}
	v.Records = []flex.Record{rec}
	if rec.State == flex.Scheduled || rec.State == flex.Active {
		v.Records = append(v.Records, v.supersede(rec, c)...)
	}
	return v
}

// amend judges a change of a record that is open. What runs goes on with the
// old terms until the change is answered, and without a gap after.
func amend(o flex.Offer, d duty, c Context) Verdict {
	old := *c.Existing
	if settled(old, o.Instruction) {
		return Verdict{Records: withoutAmend(c.Existing)}
	}
	rec := onTerms(old, o, d)
	text := fmt.Sprintf("revision %d: our share %s, %v", rec.Revision, sharesText(rec.Shares), rec.Window)
	if note := d.remarks(); note != "" {
		text += " (" + note + ")"
	}
	if old.State == flex.Admitted || old.State == flex.Pending || old.State == flex.Accepted {
		v := Verdict{Note: fmt.Sprintf("instruction %s changed, %s", rec.ID, text)}
		v.Acks = []flex.Ack{ackOf(rec, string(flex.Admitted), c.Now, text)}
		return v.climb(o, rec, c, Event{To: flex.Pending, Fact: c.Now, Text: text})
	}
	if !c.Answers.wanted() {
		rec.Answer = nil
		return revise(o, rec, c, text)
	}
	ans := c.Answers.ask(o, rec.Window.End, c.Now)
	if old.Amend != nil && old.Amend.Text == text {
		*ans = *old.Amend
		ans.Text = ""
	}
	if !c.Now.At.Before(ans.Due) {
		c.Answers.Policy = AnswerNone // too late to say anything
		return refuse(o, c, flex.Refuse(flex.ReasonNoAnswer, "%s", lateText(*ans)))
	}
	*ans = c.Answers.decide(*ans, rec, c.Now)
	switch ans.Word {
	case flex.Accept:
		rec.Answer = ans
		return revise(o, rec, c, text)
	case flex.Reject:
		return refuse(o, c, flex.Refuse(ans.Reason, "%s", wordText(*ans)))
	}
	return wait(old, *ans, c, text)
}

// settled tells whether the change was decided before: there is one answer
// to each.
func settled(old flex.Record, in flex.Instruction) bool {
	parts := strings.SplitN(old.Declined, ":", 3)
	if len(parts) != 3 || in.Content == "" || parts[2] != in.Content {
		return false
	}
	said := old.Answer != nil && old.Answer.Revision == in.Revision && old.Answer.Word == flex.Reject
	return said || parts[1] == string(flex.ReasonNoAnswer) || parts[1] == string(flex.ReasonRejected)
}

// onTerms is the record on the terms of the change.
func onTerms(old flex.Record, o flex.Offer, d duty) flex.Record {
	rec := old
	rec.Instruction, rec.Notification, rec.Door = o.Instruction, o.Notification, o.Door
	rec.Revision, rec.Obligation, rec.Declined, rec.Amend = o.Instruction.Revision, o.Obligation.ID, "", nil
	rec.Moved = 0 // the new window is told by the clock of now
	return d.onto(rec).With(flex.Unverified, o.Signature == string(flex.Unverified))
}

// wait keeps the change as an offer and the record as it is. It is announced
// once.
func wait(old flex.Record, ans flex.Answer, c Context, text string) Verdict {
	ans.Text = text
	if old.Amend != nil && old.Amend.Text == text {
		return Verdict{Wait: true}
	}
	next := old
	next.Amend = &ans
	ack := ackOf(next, string(flex.Pending), c.Now, text+"; "+askText(ans)+"; the old terms stand until then")
	ack.Revision = ans.Revision
	return Verdict{Wait: true, Records: []flex.Record{next}, Acks: []flex.Ack{ack},
		Note: fmt.Sprintf("instruction %s: %s waits for an answer", old.ID, text)}
}

// revise puts a change in force. What the dispatch holds goes on without a
// gap; a start that moved into the future makes it wait again.
func revise(o flex.Offer, rec flex.Record, c Context, text string) Verdict {
	old := *c.Existing
	if !rec.StopAt.IsZero() && rec.StopReason == flex.ReasonSuperseded {
		rec = restack(rec, c)
	}
	to := old.State
	if to != flex.Active || rec.Window.Start.After(c.Now.At) {
		to = flex.Scheduled
	}
	if rec.Window.Start.After(c.Now.At) {
		rec.Begun = flex.Stamp{}
	}
	if to == flex.Scheduled {
		rec.FirstWrite, rec.EchoAt, rec.ActingAt, rec.DeliverAt, rec.Energy = time.Time{}, time.Time{}, time.Time{}, time.Time{}, nil
	}
	v := Verdict{Note: fmt.Sprintf("instruction %s changed, %s", rec.ID, text)}
	v.Acks = []flex.Ack{ackOf(rec, string(flex.Admitted), c.Now, text)}
	if rec.Answer != nil {
		for _, s := range []flex.State{flex.Pending, flex.Accepted} {
			v.Acks = append(v.Acks, ackOf(rec, string(s), c.Now, wordText(*rec.Answer)))
		}
	}
	return v.take(o, rec, c, []Event{{To: to, Fact: c.Now, Text: text}})
}

// restack finds anew when the one that supersedes rec takes over, after
// rec's own window has changed.
func restack(rec flex.Record, c Context) flex.Record {
	if slices.ContainsFunc(c.Open, func(r flex.Record) bool { return r.ID == rec.StopBy && contends(r, rec) }) {
		return rec
	}
	rec.StopAt, rec.StopReason, rec.StopBy = time.Time{}, "", ""
	return rec
}

// rejection is what the market must hear of an instruction that is refused,
// nil when nothing. What is not ours is not ours to answer, and what was said
// about a revision that stands is not taken back by an older or a false copy.
func rejection(o flex.Offer, c Context, why *flex.Refusal) *flex.Answer {
	silent := []flex.Reason{flex.ReasonNotOurs, flex.ReasonOldRevision, flex.ReasonConflict, flex.ReasonStopped}
	if slices.Contains(silent, why.Reason) {
		return nil
	}
	said := c.Answers.Said
	if !c.Answers.rejects() && (said == nil || !c.Answers.wanted()) {
		return nil
	}
	ans := c.Answers.ask(o, o.Instruction.Window.End, c.Now)
	if ans.Due.IsZero() || !c.Now.At.Before(ans.Due) {
		return nil
	}
	by := bySelf
	if said != nil {
		by = said.By
	}
	*ans = c.Answers.with(*ans, flex.Reject, why.Reason, why.Text, by, c.Now)
	return ans
}

func askText(a flex.Answer) string {
	return "an answer is due by " + a.Due.Format(time.RFC3339)
}

func lateText(a flex.Answer) string {
	return "no answer was given by " + a.Due.Format(time.RFC3339)
}

// wordText tells an answer to people.
func wordText(a flex.Answer) string {
	text := "accepted"
	if a.Word == flex.Reject {
		text = "rejected"
	}
	if a.By != "" && a.By != bySelf {
		text += " by " + a.By
	}
	if a.Text != "" {
		text += ": " + a.Text
	}
	return text
}
