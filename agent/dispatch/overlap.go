package dispatch

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// asked is the part of the window in which the record still asks for power.
func asked(r flex.Record) flex.Window {
	return flex.Window{Start: r.Window.Start, End: endsAt(r)}
}

// contends tells whether two records want the same asset at the same time.
// Touching windows do not; a record stopped before its start wants nothing.
func contends(a, b flex.Record) bool {
	wa, wb := asked(a), asked(b)
	if !wa.End.After(wa.Start) || !wb.End.After(wb.Start) || !wa.Overlaps(wb) {
		return false
	}
	return slices.ContainsFunc(a.Shares, func(s flex.AssetShare) bool {
		return slices.ContainsFunc(b.Shares, func(t flex.AssetShare) bool { return s.Asset == t.Asset })
	})
}

// overlap refuses what would take an asset from another obligation.
func overlap(o flex.Offer, t terms, c Context) *flex.Refusal {
	mine := t.onto(blank(o))
	for _, r := range c.Open {
		if r.ID != mine.ID && r.Obligation != mine.Obligation && !over(r, c.Now.At) && contends(r, mine) {
			return flex.Refuse(flex.ReasonOverlap, "instruction %s of obligation %s has the asset in %v", r.ID, r.Obligation, asked(r))
		}
	}
	return nil
}

// supersede ends older dispatches of the same obligation where the new one
// begins, without a gap: the older keeps the asset until that instant. It
// gives the records that changed.
func (v *Verdict) supersede(rec flex.Record, c Context) []flex.Record {
	var out []flex.Record
	for _, r := range c.Open {
		if r.ID == rec.ID || r.Obligation != rec.Obligation {
			continue
		}
		if over(r, c.Now.At) {
			continue
		}
		moved := r.StopBy == rec.ID && r.StopReason == flex.ReasonSuperseded
		if moved { // by an earlier revision of rec: judged anew
			r.StopAt, r.StopReason, r.StopBy = time.Time{}, "", ""
		}
		if !contends(r, rec) {
			if moved {
				out = append(out, r)
			}
			continue
		}
		next := cutBy(r, rec, c.Now)
		if next.State != r.State {
			v.Acks = append(v.Acks, ackOf(next, string(next.State), c.Now, next.Text))
			v.Note += fmt.Sprintf("; it supersedes %s", r.ID)
		}
		out = append(out, next)
	}
	return out
}

// cutBy lets rec take over from r. One that would never run is superseded at
// once.
func cutBy(r, rec flex.Record, now flex.Stamp) flex.Record {
	cut := rec.Window.Start
	if cut.Before(now.At) {
		cut = now.At
	}
	r.StopAt, r.StopReason, r.StopBy = cut, flex.ReasonSuperseded, rec.ID
	if r.State == flex.Active || cut.After(r.Window.Start) {
		return r
	}
	next, err := Step(r, Event{To: flex.Superseded, Fact: now, Reason: flex.ReasonSuperseded, Text: stopText(r)})
	if err != nil {
		return r // it stays open and ends at StopAt
	}
	return next
}
