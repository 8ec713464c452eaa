package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// stop carries out a stop. It acts on receipt, whatever its times and other
// fields say; only a signature that is known to be wrong can refuse it.
func stop(o flex.Offer, c Context) Verdict {
	in := o.Instruction
	if forged(o) {
		return turnDown(o, c, flex.Refuse(flex.Reason(o.Signature), "the stop is not proven to be signed by operator %q", in.Operator))
	}
	if repeated(in, c) {
		return Verdict{Records: carriedOut(c)}
	}
	ids, hits := aims(in, c)
	at := c.Now
	if got := sinceReceived(o, c.Now); got.At.Before(at.At) && !got.At.IsZero() {
		at = got
	}
	reason := flex.ReasonStopped
	if in.Kind != flex.KindStop {
		reason = flex.ReasonStatus
	}
	var v Verdict
	for _, id := range ids {
		v.Tombstones = append(v.Tombstones, flex.Tombstone{ID: id, By: in.ID, At: at, Reason: reason})
	}
	var names []string
	for _, r := range hits {
		next := halt(r, at, reason, in.ID)
		if next.StopAt.Equal(r.StopAt) && next.State == r.State {
			continue
		}
		names = append(names, string(r.ID))
		v.Records = append(v.Records, next)
		if next.State != r.State {
			v.Acks = append(v.Acks, ackOf(next, string(next.State), at, next.Text))
		}
	}
	v.Records = append(v.runOn(v.Records, v.Records, c), carriedOut(c)...)
	switch {
	case len(names) > 0:
		v.Note = fmt.Sprintf("stop %s ends %s", in.ID, strings.Join(names, ", "))
	case c.Tombstone == nil && c.Existing == nil && in.Kind == flex.KindStop:
		v.Note = fmt.Sprintf("stop %s kept: nothing of it is running, a later start of its target will be refused", in.ID)
	}
	return v
}

// forged tells that the operator's signature speaks against the offer, or that
// nobody can judge it.
func forged(o flex.Offer) bool {
	why := flex.Reason(o.Signature)
	return untrusted(why)
}

// repeated knows a stop for everything that was carried out before: it must
// not end what began since.
func repeated(in flex.Instruction, c Context) bool {
	return c.Tombstone != nil && c.Tombstone.By == in.ID && len(in.Stops) == 0 && c.Existing == nil
}

// aims finds what a stop means: the ids that are final from now on, and the
// open records that end.
func aims(in flex.Instruction, c Context) (ids []flex.InstructionID, hits []flex.Record) {
	ids = append([]flex.InstructionID{in.ID}, in.Stops...)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	all := c.Existing == nil && unaimed(in)
	for _, r := range c.Open {
		if slices.Contains(ids, r.ID) || all && concerns(in, r) && meets(in, asked(r), c.Now.At) {
			hits = append(hits, r)
		}
	}
	return ids, hits
}

// concerns is meant for a record. One that waits has no shares yet: what its
// instruction names counts.
func concerns(in flex.Instruction, r flex.Record) bool {
	if r.State != flex.Waiting {
		return meant(in, r.Obligation, r.Shares)
	}
	var named []flex.AssetShare
	for _, id := range r.Instruction.Assets {
		named = append(named, flex.AssetShare{Asset: id})
	}
	return meant(in, r.Instruction.Obligation, named)
}

// unaimed knows a stop that names no target. What was called back by a status
// word names itself.
func unaimed(in flex.Instruction) bool { return in.Kind == flex.KindStop && len(in.Stops) == 0 }

// meant tells whether a stop without a target may mean a dispatch of the
// obligation with the shares; it ends those that it meets. What it does not
// name does not narrow it; one that names nothing at all means nothing.
func meant(in flex.Instruction, ob flex.ObligationID, shares []flex.AssetShare) bool {
	if in.Obligation == "" && len(in.Assets) == 0 || in.Obligation != "" && in.Obligation != ob {
		return false
	}
	return len(in.Assets) == 0 || slices.ContainsFunc(shares, func(s flex.AssetShare) bool { return slices.Contains(in.Assets, s.Asset) })
}

// halt ends an open record at the instant. One that never began is cancelled
// at once; else it stays open until its release is proven.
func halt(r flex.Record, at flex.Stamp, reason flex.Reason, by flex.InstructionID) flex.Record {
	if r.StopReason != "" && r.StopReason != flex.ReasonSuperseded {
		return r // stopped before: the first stop counts
	}
	if r.StopAt.IsZero() || at.At.Before(r.StopAt) {
		r.StopAt = at.At
	}
	r.StopReason, r.StopBy = reason, by
	if r.State == flex.Active || r.StopAt.After(r.Window.Start) {
		return r
	}
	next, err := Step(r, Event{To: flex.Cancelled, Fact: at, Reason: reason, Text: stopText(r)})
	if err != nil {
		return r
	}
	return next
}

// earliest of two instants, where zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
