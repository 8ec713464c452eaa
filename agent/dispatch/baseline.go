package dispatch

import (
	"time"

	"flexd/agent/flex"
)

// freeze finds what the shares count from, as of the notice. What was frozen
// with an earlier revision stays where it covers the window, or is the same for
// all time; beyond that it is found anew as of the first notice, and only where
// that gives nothing as of this one.
func (d *duty) freeze(o flex.Offer, c Context) *flex.Refusal {
	if c.Baseline == nil {
		return nil
	}
	own := o.Received.At
	if own.After(c.Now.At) || o.Received.Clock == flex.ClockUntrusted {
		own = c.Now.At
	}
	notice := own
	var kept []flex.Baseline
	if old := c.Existing; old != nil && !old.State.Final() {
		kept = old.Baselines
		if len(old.Steps) > 0 && old.Steps[0].Fact.At.Before(notice) {
			notice = old.Steps[0].Fact.At
		}
	}
	for _, s := range d.shares {
		if b, ok := covering(kept, s.Asset, d.window); ok {
			d.baselines = append(d.baselines, b)
			continue
		}
		b, held, err := c.Baseline(s.Asset, d.window, notice)
		if err != nil && notice.Before(own) {
			b, held, err = c.Baseline(s.Asset, d.window, own)
		}
		switch why, refused := flex.RefusalOf(err); {
		case refused:
			return why
		case err != nil:
			return flex.Refuse(flex.ReasonNoBaseline, "asset %s: %v", s.Asset, err)
		case held:
			d.baselines = append(d.baselines, b)
		}
	}
	return nil
}

// covering finds the asset's baseline if it holds for the whole window.
func covering(list []flex.Baseline, id flex.AssetID, w flex.Window) (flex.Baseline, bool) {
	for _, b := range list {
		if b.Asset != id || b.Step <= 0 || len(b.Values) == 0 {
			continue
		}
		end := b.Start.Add(time.Duration(len(b.Values)) * b.Step)
		if !b.Start.After(w.Start) && !end.Before(w.End) {
			return b, true
		}
		if b.Method == flex.MethodRecent || b.Method == flex.MethodZero {
			return stretched(b, w), true
		}
	}
	return flex.Baseline{}, false
}

// stretched is a baseline of one value for all time, told for a window.
func stretched(b flex.Baseline, w flex.Window) flex.Baseline {
	value := b.Values[0]
	b.Start, b.Values = w.Start.Truncate(b.Step), nil
	for at := b.Start; at.Before(w.End); at = at.Add(b.Step) {
		b.Values = append(b.Values, value)
	}
	return b
}
