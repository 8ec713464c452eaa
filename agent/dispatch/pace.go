package dispatch

import (
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Pace is what an asset needs by its nature; zero: nothing.
type Pace struct {
	MinRun   time.Duration // it runs for so long at least, once started
	Recovery time.Duration // it rests for so long before it starts again
}

// rested are the dispatches that ended last, by asset.
type rested map[flex.AssetID]flex.Record

// note remembers a dispatch that is over and moved watts of the market.
func (m rested) note(r flex.Record) {
	if !r.State.Final() || r.FirstWrite.IsZero() || r.Instruction.Test {
		return
	}
	for _, s := range r.Shares {
		if old, ok := m[s.Asset]; !ok || endsAt(r).After(endsAt(old)) {
			m[s.Asset] = r
		}
	}
}

// list is each of them once.
func (m rested) list() (out []flex.Record) {
	for _, r := range m {
		if !slices.ContainsFunc(out, func(o flex.Record) bool { return o.ID == r.ID }) {
			out = append(out, r)
		}
	}
	return out
}

// keepPace takes out the shares of assets that could not run for long enough,
// or would not have rested. When nothing is left, the instruction is refused.
// What runs already may be shortened at will.
func (d *duty) keepPace(o flex.Offer, c Context) *flex.Refusal {
	if c.Pace == nil {
		return nil
	}
	var kept []flex.AssetShare
	var texts []string
	var why *flex.Refusal
	for _, s := range d.shares {
		pace := c.Pace(s.Asset)
		no := d.tooShort(s.Asset, pace.MinRun, c)
		if no == nil {
			no = d.tired(s.Asset, pace.Recovery, o, c)
		}
		if no == nil {
			kept = append(kept, s)
			continue
		}
		why = no
		d.withheld = append(d.withheld, s)
		texts = append(texts, no.Text)
	}
	if why == nil {
		return nil
	}
	if len(kept) == 0 {
		return flex.Refuse(why.Reason, "%s", strings.Join(texts, "; "))
	}
	d.shares = kept
	if d.why != "" {
		texts = slices.Insert(texts, 0, d.why)
	}
	d.why = strings.Join(texts, "; ")
	return nil
}

// tooShort refuses a window that ends before the asset may.
func (d *duty) tooShort(id flex.AssetID, least time.Duration, c Context) *flex.Refusal {
	if old := c.Existing; old != nil && !old.FirstWrite.IsZero() && !old.State.Final() {
		return nil
	}
	w := d.window
	if w.Start.Before(c.Now.At) {
		w.Start = c.Now.At
	}
	if least > 0 && w.Duration() < least {
		return flex.Refuse(flex.ReasonMinRun, "asset %s runs for at least %v once started, and %v is left of the window", id, least, w.Duration().Round(time.Second))
	}
	return nil
}

// tired refuses what begins before the asset has rested, or would leave it no
// rest before what is promised already. One that takes over without a gap is
// no new start.
func (d *duty) tired(id flex.AssetID, rest time.Duration, o flex.Offer, c Context) *flex.Refusal {
	mine := d.onto(blank(o))
	for _, r := range slices.Concat(c.Open, c.Ended) {
		w := asked(r)
		has := slices.ContainsFunc(r.Shares, func(s flex.AssetShare) bool { return s.Asset == id })
		same := r.ID == mine.ID && c.Existing != nil && !c.Existing.State.Final()
		if rest <= 0 || !has || same || !w.End.After(w.Start) || r.Instruction.Test && !mine.Instruction.Test {
			continue
		}
		before := mine.Window.Start.After(w.End) && mine.Window.Start.Before(w.End.Add(rest))
		after := w.Start.After(mine.Window.End) && w.Start.Before(mine.Window.End.Add(rest)) && !yields(r, mine)
		switch {
		case before:
			return flex.Refuse(flex.ReasonRecovery, "asset %s rests for %v after a dispatch: after instruction %s it can start at %s",
				id, rest, r.ID, w.End.Add(rest).UTC().Format(time.RFC3339))
		case after:
			return flex.Refuse(flex.ReasonRecovery, "asset %s rests for %v after a dispatch, and instruction %s begins at %s: this one would have to end at %s",
				id, rest, r.ID, w.Start.UTC().Format(time.RFC3339), w.Start.Add(-rest).UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// afford refuses what would write a device's memory too often in a day. What
// runs already has paid for it.
func (d *duty) afford(o flex.Offer, c Context) *flex.Refusal {
	if c.Afford == nil || c.Existing != nil && c.Existing.State == flex.Active {
		return nil
	}
	return c.Afford(d.onto(blank(o)).Dispatch())
}
