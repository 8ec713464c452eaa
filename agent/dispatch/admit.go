package dispatch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Context is all that an offer is judged against.
type Context struct {
	Now       flex.Stamp
	Existing  *flex.Record    // what is stored under the offer's own id
	Tombstone *flex.Tombstone // a stop that is stored under the offer's own id
	Open      []flex.Record   // every record that is not final
	Answers   Answering       // what the market wants to hear of it
	Away      []flex.Unavailability
	Ended     []flex.Record           // the dispatch that ended last of each asset
	Pace      func(flex.AssetID) Pace // nil: no asset needs any
	// Baseline finds what an asset's share counts from; see Config.
	Baseline func(id flex.AssetID, w flex.Window, notice time.Time) (flex.Baseline, bool, error)
	// Afford tells why a device's memory does not stand a dispatch more; nil: it does.
	Afford func(flex.Dispatch) *flex.Refusal
	// KeepEnds refuses a change whose end is past as too late, where the market
	// does not mean it as a stop.
	KeepEnds bool
	own      *flex.Record // what is stored under the id of a stop
	// Contract is what the configuration says of a contract; nil: nothing.
	Contract func(flex.ObligationID, flex.CompetitionID) Contract
}

// Contract is the provider's own word on one contract.
type Contract struct {
	Priority  int  // an instruction takes the asset from those of a lower one
	Emergency bool // the owner's widest bounds hold
}

// Verdict is one decision: what to store, and what to announce with it.
type Verdict struct {
	// Hold leaves the offer undecided: the clock is not good enough to judge.
	Hold bool
	// Wait leaves the offer undecided too: its change is not in force before
	// it is answered. What else the verdict holds is stored all the same.
	Wait bool
	// Passing is why the offer waits, where that can pass; nil where it waits
	// for an answer. It is refused for it at Until.
	Passing    *flex.Refusal
	Until      time.Time
	Records    []flex.Record
	Tombstones []flex.Tombstone
	Acks       []flex.Ack
	// Note is the decision in one line for a technician; empty when the offer
	// only repeated what was decided before.
	Note string
}

// Admit judges an offer. It is total: every offer gets a verdict.
func Admit(o flex.Offer, c Context) Verdict {
	in := o.Instruction
	if c.Existing != nil && c.Existing.Instruction.Kind == flex.KindStop {
		c.own, c.Existing = c.Existing, nil // a stop that was refused, or waits, is nobody's dispatch
	}
	if in.IsStop() {
		return stop(o, c)
	}
	if ended(c.Existing) || c.Tombstone != nil {
		return refuse(o, c, flex.Refuse(flex.ReasonStopped, "instruction %s was stopped: that is final for this id", in.ID))
	}
	rev, v, done := revision(o, c)
	if done {
		return v
	}
	o.Instruction.Revision = rev
	if c.Now.Clock == flex.ClockUntrusted {
		return Verdict{Hold: true, Note: fmt.Sprintf("instruction %s is kept: the clock cannot be trusted yet", in.ID)}
	}
	if !c.KeepEnds && endMovedBack(in, c) {
		return stop(o, c)
	}
	return start(o, c)
}

// ended tells whether a stop was given for the record, whatever it does now.
// Being superseded is no stop of the id.
func ended(r *flex.Record) bool {
	if r == nil {
		return false
	}
	stopped := !r.StopAt.IsZero() && r.StopReason != flex.ReasonSuperseded
	return stopped || r.State == flex.Stopped || r.State == flex.Cancelled
}

// endMovedBack tells a change that puts the end of an open dispatch into the
// past: the operator wants it to be over.
func endMovedBack(in flex.Instruction, c Context) bool {
	return c.Existing != nil && !c.Existing.State.Final() && c.Existing.State != flex.Waiting && !in.Window.Open() && !in.Window.End.After(c.Now.At)
}

// revision applies the rules of identity: the same content again is no news,
// older revisions and contradictions are turned down, changed content without
// a revision of its own is the next one.
func revision(o flex.Offer, c Context) (rev int64, v Verdict, done bool) {
	in, old := o.Instruction, c.Existing
	behind := old != nil && in.HasRevision && in.Revision < old.Revision
	if old == nil || !binds(*old) || old.State == flex.Waiting && !behind || forged(o) {
		if in.HasRevision {
			return in.Revision, v, false
		}
		return max(1, in.Revision), v, false
	}
	same := sameTerms(in, old.Instruction)
	switch {
	case same && mayChange(*old) && (!in.HasRevision || in.Revision == old.Revision):
		return old.Revision, v, false // nothing stands: it is judged by what is known now
	case !in.HasRevision && same:
		return 0, v, true
	case !in.HasRevision:
		return old.Revision + 1, v, false
	case behind:
		return 0, refuse(o, c, flex.Refuse(flex.ReasonOldRevision, "revision %d is older than revision %d, which stands", in.Revision, old.Revision)), true
	case in.Revision == old.Revision && same:
		return 0, v, true
	case in.Revision == old.Revision:
		return 0, refuse(o, c, flex.Refuse(flex.ReasonConflict, "revision %d came before with other content, which stands", in.Revision)), true
	}
	return in.Revision, v, false
}

// sameTerms tells whether two instructions ask for the same. A market that
// only moves its own status word on has changed nothing.
func sameTerms(a, b flex.Instruction) bool {
	if a.Content != "" && a.Content == b.Content {
		return true
	}
	return a.Kind == b.Kind && a.Obligation == b.Obligation && a.Capacity == b.Capacity && a.Direction == b.Direction &&
		a.Window.Start.Equal(b.Window.Start) && a.Window.End.Equal(b.Window.End) && slices.Equal(a.Assets, b.Assets) &&
		a.Signature == b.Signature && slices.Equal(a.Problems, b.Problems)
}

// refuse turns the offer down. A record that stands under the same id keeps
// standing; it only remembers what was declined, so that a repetition is not
// announced again. The market hears of it where it waits for an answer.
func refuse(o flex.Offer, c Context, why *flex.Refusal) Verdict {
	in := o.Instruction
	note := fmt.Sprintf("instruction %s revision %d refused (%s): %s", in.ID, in.Revision, why.Reason, why.Text)
	ack := flex.Ack{Notification: o.Notification, Instruction: in.ID, Revision: in.Revision, State: string(flex.Refused),
		Reason: why.Reason, Text: why.Text, FactAt: c.Now.At, Test: in.Test}
	if old := c.Existing; old != nil {
		known := sameTerms(in, old.Instruction) && (ended(old) || old.State == flex.Refused && old.Reason == why.Reason)
		if old.Declined == declined(in, why.Reason) || known {
			return Verdict{Records: withoutAmend(old)}
		}
		rec := *old
		rec.Declined, rec.Amend = declined(in, why.Reason), nil
		if old.State == flex.Refused || old.State == flex.Waiting && why.Reason != flex.ReasonOldRevision { // nothing stands: show what was refused last
			rec = refused(o, c, why)
			rec.Steps = slices.Concat(old.Steps, rec.Steps)
		} else if ans := rejection(o, c, why); ans != nil {
			rec.Answer = ans
		}
		if old.State == flex.Pending && why.Reason != flex.ReasonOldRevision && why.Reason != flex.ReasonConflict {
			// nothing was promised, and what was asked for is no longer wanted
			if next, err := Step(rec, Event{To: flex.Refused, Fact: c.Now, Reason: why.Reason, Text: why.Text}); err == nil {
				rec = next
			}
		}
		return Verdict{Records: []flex.Record{rec}, Acks: []flex.Ack{ack}, Note: note}
	}
	return Verdict{Records: []flex.Record{refused(o, c, why)}, Acks: []flex.Ack{ack}, Note: note}
}

// declined is how a record remembers a change that was turned down.
func declined(in flex.Instruction, why flex.Reason) string {
	return strconv.FormatInt(in.Revision, 10) + ":" + string(why) + ":" + in.Content
}

// withoutAmend is the record without a change that waits, if there is one.
func withoutAmend(old *flex.Record) []flex.Record {
	if old.Amend == nil {
		return nil
	}
	rec := *old
	rec.Amend = nil
	return []flex.Record{rec}
}

// refused is the record of an instruction that never got further.
func refused(o flex.Offer, c Context, why *flex.Refusal) flex.Record {
	rec := blank(o)
	rec.State, rec.Reason, rec.Text = flex.Refused, why.Reason, why.Text
	rec.Steps = []flex.Transition{{State: flex.Refused, Fact: c.Now, Reason: why.Reason, Text: why.Text}}
	rec.Answer = rejection(o, c, why)
	return rec
}

// blank is a record at the very beginning of its life.
func blank(o flex.Offer) flex.Record {
	in := o.Instruction
	return flex.Record{Version: recordVersion, ID: in.ID, Notification: o.Notification, Door: o.Door, Instruction: in,
		Obligation: o.Obligation.ID, Revision: in.Revision, Window: in.Window}
}

// start judges a start whose identity is clear.
func start(o flex.Offer, c Context) Verdict {
	terms, why := judge(o, c)
	if why == nil {
		why = overlap(o, terms, c)
	}
	d := duty{terms: terms}
	if why == nil && !d.reduces(c.Existing) {
		why = d.withhold(c.Away)
	}
	if why == nil {
		why = d.keepPace(o, c)
	}
	if why == nil {
		why = d.freeze(o, c)
	}
	if why == nil {
		why = d.afford(o, c)
	}
	if why != nil {
		return turnDown(o, c, why)
	}
	if old := c.Existing; old != nil && !old.State.Final() && old.State != flex.Waiting {
		return amend(o, d, c)
	}
	rec := blank(o)
	if c.Existing != nil {
		rec.Steps = slices.Clone(c.Existing.Steps) // a new life under an old id keeps its history
	}
	rec = d.onto(rec)
	if terms.window.Start.Before(c.Now.At) {
		rec = rec.With(flex.LateStart, true)
	}
	if o.Signature == string(flex.Unverified) {
		rec = rec.With(flex.Unverified, true)
	}
	text := fmt.Sprintf("%v %s, our share %s, %v", o.Instruction.Capacity, o.Instruction.Direction, sharesText(rec.Shares), rec.Window)
	if note := d.remarks(); note != "" {
		text += " (" + note + ")"
	}
	v := Verdict{Note: fmt.Sprintf("instruction %s admitted: %s", rec.ID, text)}
	return v.climb(o, rec, c, Event{To: flex.Admitted, Fact: c.Now, Text: text})
}

// sharesText lists shares for people.
func sharesText(shares []flex.AssetShare) string {
	parts := make([]string, len(shares))
	for i, s := range shares {
		parts[i] = fmt.Sprintf("%v on %s", s.Power, s.Asset)
	}
	return strings.Join(parts, " and ")
}

// ackOf announces a step of the record.
func ackOf(rec flex.Record, state string, fact flex.Stamp, text string) flex.Ack {
	w := rec.Window
	ack := flex.Ack{Notification: rec.Notification, Instruction: rec.ID, Revision: rec.Revision, State: state,
		Conditions: slices.Clone(rec.Conditions), Reason: rec.Reason, Text: text, FactAt: fact.At,
		Shares: rec.Shares, ShareHash: rec.ShareHash, Window: &w, Test: rec.Instruction.Test}
	ack.History = slices.Clone(rec.History)
	if state == string(flex.Admitted) {
		ack.Baselines = rec.Baselines
	}
	if rec.State.Final() {
		ack.Energy = flex.EnergyTotal(rec.Energy)
		if late, ok := rec.ReleaseLate(); ok {
			s := flex.InSeconds(late)
			ack.ReleaseLate = &s
		}
	}
	return ack
}
