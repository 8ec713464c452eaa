package dispatch

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// Some reasons against an instruction pass: a contract that the market has not
// told yet, a key that is changed a little late, a declaration that is taken
// back. Such an offer waits. It stays undecided, its record says for what, and
// it is judged anew whenever something of that changes; only when it would be
// over, or must be answered, it is refused.

// The pace of what waits: how often it is judged without anything new, how
// long it may wait before a person is told, and from when on before its start.
const (
	judgeAgain  = 30 * time.Second
	tellAfter   = 10 * time.Second
	tellAtOnce  = time.Minute    // where it begins within
	tellAhead   = 24 * time.Hour // what begins later need not be told yet
	waitForStop = 24 * time.Hour // a stop waits that long for its proof
)

// untrusted tells that a reason is about who gave the instruction.
func untrusted(why flex.Reason) bool {
	return why == flex.ReasonSignatureInvalid || why == flex.ReasonSignatureMissing || why == flex.ReasonNoKey
}

// passes tells whether a reason can pass without a new instruction.
func passes(in flex.Instruction, why flex.Reason) bool {
	if why == flex.ReasonDirectionUnresolved { // its competition may not be known yet
		return len(in.Problems) == 0 && in.Direction.Sign() == 0
	}
	return untrusted(why) || slices.Contains([]flex.Reason{flex.ReasonUnknownObligation, flex.ReasonShareUnresolved, flex.ReasonUnavailable, flex.ReasonNoBaseline}, why)
}

// turnDown refuses an offer, or lets it wait while the reason can pass.
func turnDown(o flex.Offer, c Context, why *flex.Refusal) Verdict {
	in := o.Instruction
	until := patience(o, c)
	if passes(in, why.Reason) && !in.Test && c.Answers.Said == nil && c.Now.At.Before(until) {
		return waitFor(o, c, why, until)
	}
	if old := c.Existing; old != nil && old.State == flex.Waiting && why.Reason == flex.ReasonTooLate {
		why = flex.Refuse(old.Reason, "%s; it waited until it was over", old.Text)
	}
	return refuse(o, c, why)
}

// patience is when an offer that waits is refused: when it would be over, or
// while there is still time to say so where the market wants to hear it.
func patience(o flex.Offer, c Context) time.Time {
	in := o.Instruction
	got := o.Received.At
	if got.IsZero() || got.After(c.Now.At) {
		got = c.Now.At
	}
	until := in.Window.End
	switch {
	case in.Window.Start.IsZero(), in.IsStop():
		until = farther(until, got.Add(waitForStop))
	case in.Window.Open():
		until = in.Window.Start.Add(MaxOpenRun)
	}
	if c.Answers.rejects() && !in.IsStop() {
		until = earliest(until, warnAt(*c.Answers.ask(o, until, c.Now)))
	}
	return until
}

// binds tells whether what is stored under an id stands for its content: what
// was not proven to be the operator's, or was no order, binds nobody.
func binds(old flex.Record) bool {
	nothing := old.State == flex.Waiting || old.State == flex.Refused
	return !nothing || !untrusted(old.Reason) && old.Reason != flex.ReasonNotForExecution
}

// mayChange tells whether the same content may be judged otherwise today.
func mayChange(old flex.Record) bool {
	answered := old.Answer != nil && old.Answer.Word != ""
	identity := old.Reason == flex.ReasonConflict || old.Reason == flex.ReasonOldRevision
	return old.State == flex.Waiting || old.State == flex.Refused && !answered && !identity
}

// waitFor keeps the offer. It is announced once, and again with another reason.
func waitFor(o flex.Offer, c Context, why *flex.Refusal, until time.Time) Verdict {
	in, old := o.Instruction, c.Existing
	if old == nil {
		old = c.own
	}
	v := Verdict{Wait: true, Passing: why, Until: until}
	ack := flex.Ack{Notification: o.Notification, Instruction: in.ID, Revision: in.Revision, State: string(flex.Waiting),
		Reason: why.Reason, Text: why.Text, FactAt: c.Now.At}
	rec := blank(o)
	switch {
	case old == nil:
	case old.State == flex.Waiting && old.Reason == why.Reason && old.Text == why.Text && sameTerms(in, old.Instruction):
		return v
	case old.State == flex.Waiting || old.State == flex.Refused:
		if untrusted(why.Reason) && binds(*old) { // a false copy does not hide the true one
			return v.decline(*old, in, why, ack)
		}
		rec.Steps = old.Steps
	default:
		return v.decline(*old, in, why, ack)
	}
	rec.State = "" // a life that was refused or waited begins anew
	rec, _ = Step(rec, Event{To: flex.Waiting, Fact: c.Now, Reason: why.Reason, Text: why.Text})
	v.Records, v.Acks = []flex.Record{rec}, []flex.Ack{ack}
	v.Note = fmt.Sprintf("instruction %s revision %d waits (%s): %s", in.ID, in.Revision, why.Reason, why.Text)
	return v
}

// decline lets a change wait while what stands goes on.
func (v Verdict) decline(old flex.Record, in flex.Instruction, why *flex.Refusal, ack flex.Ack) Verdict {
	mark := declined(in, why.Reason)
	if old.Declined == mark {
		return v
	}
	old.Declined = mark
	v.Records, v.Acks = []flex.Record{old}, []flex.Ack{ack}
	v.Note = fmt.Sprintf("instruction %s revision %d waits (%s), what stood goes on: %s", in.ID, in.Revision, why.Reason, why.Text)
	return v
}

// carriedOut closes the record of a stop that waited.
func carriedOut(c Context) []flex.Record {
	if c.own == nil || c.own.State != flex.Waiting {
		return nil
	}
	done, err := Step(*c.own, Event{To: flex.Stopped, Fact: c.Now, Reason: flex.ReasonStopped, Text: "the stop is proven and carried out"})
	if err != nil {
		return nil // the table has it
	}
	return []flex.Record{done}
}

// waitingOffer is an offer that waits, as the Engine remembers it.
type waitingOffer struct {
	offer flex.Offer
	why   flex.Refusal
	since time.Time
	until time.Time
	next  time.Time // when it is judged without anything new
}

// Waiting are the offers that wait for a reason that can pass.
func (e *Engine) Waiting() []flex.Offer {
	if list := e.passing.Load(); list != nil {
		return *list
	}
	return nil
}

// rests tells whether a waiting offer need not be judged at this look.
func (e *Engine) rests(o flex.Offer, now time.Time) bool {
	w, ok := e.waits[o.Seq]
	return ok && now.Before(w.next) && now.Before(w.until)
}

// note remembers that an offer waits, or that it does no more.
func (e *Engine) note(o flex.Offer, v Verdict, now time.Time) {
	old, was := e.waits[o.Seq]
	if v.Passing == nil || !v.Wait {
		delete(e.waits, o.Seq)
		return
	}
	w := waitingOffer{offer: o, why: *v.Passing, since: now, until: v.Until, next: now.Add(judgeAgain)}
	if was {
		w.since = old.since
	}
	e.waits[o.Seq] = w
}

// reconsider has everything that waits judged at the next look.
func (e *Engine) reconsider() {
	for seq, w := range e.waits {
		w.next = time.Time{}
		e.waits[seq] = w
	}
	e.Wake()
}

// tellWaits raises and clears the alarms of what waits. live are the offers
// that are undecided.
func (e *Engine) tellWaits(live []flex.Offer, now time.Time) {
	there := make(map[uint64]bool, len(live))
	for _, o := range live {
		there[o.Seq] = true
	}
	text := map[string]string{}
	var list []flex.Offer
	for seq, w := range e.waits {
		if !there[seq] {
			delete(e.waits, seq)
			continue
		}
		list = append(list, w.offer)
		if w.tell(now) {
			text[string(w.offer.Instruction.ID)] = w.text()
		}
	}
	for key := range e.warned {
		if key.code == CodeWaiting && text[key.subject] == "" {
			e.flag(CodeWaiting, key.subject, "")
		}
	}
	for id, t := range text {
		e.flag(CodeWaiting, id, t)
	}
	e.passing.Store(&list)
}

// tell tells whether it is time for a person to hear of it.
func (w waitingOffer) tell(now time.Time) bool {
	start := w.offer.Instruction.Window.Start
	switch ahead := start.Sub(now); {
	case w.offer.Instruction.IsStop(), ahead < tellAtOnce:
		return true
	case ahead > tellAhead && w.until.Sub(now) > tellAhead:
		return false
	}
	return now.Sub(w.since) >= tellAfter
}

func (w waitingOffer) text() string {
	in := w.offer.Instruction
	text := fmt.Sprintf("it is not carried out yet (%s): %s", w.why.Reason, clip(w.why.Text))
	if in.IsStop() {
		return "a stop waits: " + text + "; " + remedy(w.why.Reason) + ", or end what it means with `flexd stop ID`"
	}
	if s := in.Window.Start; !s.IsZero() {
		text += "; it begins " + s.UTC().Format(time.RFC3339)
	}
	return text + "; " + remedy(w.why.Reason) + "; it is judged again by itself until " + w.until.UTC().Format(time.RFC3339)
}

// remedy is what a person can do about a reason that can pass.
func remedy(why flex.Reason) string {
	if text, ok := remedies[why]; ok {
		return text
	}
	return "look whether the market account shows the contract and its assets: see `flexd obligations`"
}

var remedies = map[flex.Reason]string{
	flex.ReasonUnavailable:      "take the declaration back if the asset can deliver: see `flexd status`",
	flex.ReasonSignatureInvalid: "ask the operator, and compare its key with market.operators",
	flex.ReasonSignatureMissing: "ask the operator for a signed copy",
	flex.ReasonNoKey:            "look at the key file of the operator under market.operators",
	flex.ReasonNoBaseline:       "nominate a baseline, or let the meter measure one",
}

// waitPause is the time until something that waits needs a look.
func (e *Engine) waitPause(now time.Time) time.Duration {
	wait := paceRest
	for _, w := range e.waits {
		wait = min(wait, max(0, w.until.Sub(now)))
		if begins := w.offer.Instruction.Window.Start.Sub(now); begins > 0 {
			wait = min(wait, begins)
		}
	}
	return wait
}
