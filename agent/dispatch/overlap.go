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

// yields tells that a rehearsal ends for what the market asks for.
func yields(r, to flex.Record) bool { return r.Instruction.Test && !to.Instruction.Test }

// ranked tells that one of two waits while the other has what both want: they
// share no time, and neither ends the other.
func ranked(a, b flex.Record) bool {
	x, y := a.Dispatch(), b.Dispatch()
	return x.Outranks(y) || y.Outranks(x)
}

// overlap refuses what would take an asset from another obligation, and what
// would do nothing but wait for those of a higher priority.
func overlap(o flex.Offer, t terms, c Context) *flex.Refusal {
	mine := t.onto(blank(o))
	var before []flex.Record
	for _, r := range c.Open {
		if r.ID == mine.ID || r.Obligation == mine.Obligation || yields(r, mine) || over(r, c.Now.At) || !contends(r, mine) {
			continue
		}
		if !ranked(r, mine) {
			return flex.Refuse(flex.ReasonOverlap, "instruction %s of obligation %s has the asset in %v", r.ID, r.Obligation, asked(r))
		}
		if r.Priority > mine.Priority {
			before = append(before, r)
		}
	}
	if r, ok := crowdedOut(mine, before); ok {
		return flex.Refuse(flex.ReasonOverlap, "instruction %s of obligation %s has the asset in %v, with priority %d over %d, and leaves no time for it",
			r.ID, r.Obligation, asked(r), r.Priority, mine.Priority)
	}
	return nil
}

// crowdedOut tells that others have every asset of a record for all of its
// time, and names one of them.
func crowdedOut(rec flex.Record, others []flex.Record) (by flex.Record, all bool) {
	for _, sh := range rec.Shares {
		free := asked(rec).Start
		for range others {
			for _, r := range others {
				if w := asked(r); !w.Start.After(free) && w.End.After(free) && slices.ContainsFunc(r.Shares, func(x flex.AssetShare) bool { return x.Asset == sh.Asset }) {
					free, by = w.End, r
				}
			}
		}
		if free.Before(asked(rec).End) {
			return by, false
		}
	}
	return by, len(others) > 0
}

// supersede ends older dispatches of the same obligation where the new one
// begins, without a gap: the older keeps the asset until that instant, and
// goes on if the new one is ended before it begins. One that was superseded
// whole is final: it was told so, and needs a new instruction. A rehearsal is
// ended the same way; what gives way by its priority waits instead, and goes on
// afterwards. It gives the records that changed.
func (v *Verdict) supersede(rec flex.Record, c Context) []flex.Record {
	var out []flex.Record
	for _, r := range c.Open {
		moved := r.StopBy == rec.ID && r.StopReason == flex.ReasonSuperseded
		if r.ID != rec.ID && ranked(r, rec) && contends(r, rec) && !over(r, c.Now.At) {
			v.Note += waitsText(r, rec)
		}
		if r.ID == rec.ID || r.Obligation != rec.Obligation && !moved && !yields(r, rec) || over(r, c.Now.At) {
			continue
		}
		if moved { // by an earlier revision of rec: judged anew
			r.StopAt, r.StopReason, r.StopBy = time.Time{}, "", ""
		}
		by, cut := rec, contends(r, rec) && !ranked(r, rec)
		if moved { // what seemed free meanwhile may be taken
			by, cut = heir(r, world(c.Open, append(slices.Clone(out), rec)))
		}
		if !cut {
			if moved {
				out = append(out, r)
			}
			continue
		}
		next := cutBy(r, by, c.Now)
		if next.State != r.State {
			v.Acks = append(v.Acks, ackOf(next, string(next.State), c.Now, next.Text))
			v.Note += fmt.Sprintf("; %s is superseded", r.ID)
		}
		out = append(out, next)
	}
	return v.runOn(out, append(slices.Clone(out), rec), c)
}

// waitsText says which of two waits for the other.
func waitsText(a, b flex.Record) string {
	if a.Priority > b.Priority {
		a, b = b, a
	}
	return fmt.Sprintf("; %s waits while %s runs", a.ID, b.ID)
}

// runOn adds to changed the records that go on because the one they were to
// hand over to will never begin. news are the records of this decision.
func (v *Verdict) runOn(changed, news []flex.Record, c Context) []flex.Record {
	for _, r := range heirless(world(c.Open, news), c.Now) {
		text := fmt.Sprintf("goes on until %s: what was to supersede it will not begin", endsAt(r).UTC().Format(time.RFC3339))
		if r.State.Final() {
			text = r.Text
		}
		v.Acks = append(v.Acks, ackOf(r, string(r.State), c.Now, text))
		if i := slices.IndexFunc(changed, func(x flex.Record) bool { return x.ID == r.ID }); i >= 0 {
			changed[i] = r
			continue
		}
		changed = append(changed, r)
	}
	return changed
}

// world is what is open once news are stored.
func world(open, news []flex.Record) []flex.Record {
	out := slices.Clone(open)
	for _, n := range news {
		if i := slices.IndexFunc(out, func(r flex.Record) bool { return r.ID == n.ID }); i >= 0 {
			out[i] = n
			continue
		}
		out = append(out, n)
	}
	return slices.DeleteFunc(out, func(r flex.Record) bool { return r.State.Final() })
}

// heirless finds the records whose successor is gone before it began, or was
// taken over whole. Each goes on to its own end, or to where the next takes
// over. One that has handed over already stays as it is.
func heirless(open []flex.Record, now flex.Stamp) []flex.Record {
	var out []flex.Record
	for i, r := range open {
		if r.StopReason != flex.ReasonSuperseded || over(r, now.At) {
			continue
		}
		by := r.StopBy
		r.StopAt, r.StopReason, r.StopBy = time.Time{}, "", ""
		if over(r, now.At) || slices.ContainsFunc(open, func(x flex.Record) bool { return x.ID == by && contends(x, r) }) {
			continue
		}
		if next, ok := heir(r, open); ok {
			r = cutBy(r, next, now)
		}
		open[i] = r
		out = append(out, r)
	}
	return out
}

// heir is the first that takes r's assets: one of another obligation that was
// admitted for the time that seemed free, or a newer one of its own.
func heir(r flex.Record, open []flex.Record) (first flex.Record, ok bool) {
	for _, x := range open {
		if x.ID == r.ID || x.State.Final() || !contends(x, r) || ranked(x, r) {
			continue
		}
		if x.Obligation == r.Obligation && (x.State == flex.Pending || !termsSince(x).After(termsSince(r))) {
			continue // what waits for an answer supersedes when it is accepted
		}
		if !ok || x.Window.Start.Before(first.Window.Start) {
			first, ok = x, true
		}
	}
	return first, ok
}

// termsSince is when the record's terms came into force: the last admission,
// acceptance or revision.
func termsSince(r flex.Record) time.Time {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		var before flex.State
		if i > 0 {
			before = r.Steps[i-1].State
		}
		switch s := r.Steps[i]; s.State {
		case flex.Admitted, flex.Accepted:
			return s.Fact.At
		case flex.Scheduled, flex.Active:
			if before == s.State || before == flex.Active {
				return s.Fact.At
			}
		case flex.Waiting, flex.Pending, flex.Completed, flex.Refused, flex.Expired, flex.Cancelled, flex.Stopped, flex.Superseded:
		}
	}
	return time.Time{}
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
