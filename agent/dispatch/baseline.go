package dispatch

import (
	"time"

	"flexd/agent/flex"
)

// freeze finds what the shares count from, as of the notice. What was frozen
// with an earlier revision stays as far as it covers the window: what is known
// since then does not count.
func (d *duty) freeze(o flex.Offer, c Context) *flex.Refusal {
	if c.Baseline == nil {
		return nil
	}
	notice := o.Received.At
	if notice.After(c.Now.At) || o.Received.Clock == flex.ClockUntrusted {
		notice = c.Now.At
	}
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

// covering finds the asset's baseline if it reaches over the whole window.
func covering(list []flex.Baseline, id flex.AssetID, w flex.Window) (flex.Baseline, bool) {
	for _, b := range list {
		end := b.Start.Add(time.Duration(len(b.Values)) * b.Step)
		if b.Asset == id && !b.Start.After(w.Start) && !end.Before(w.End) {
			return b, true
		}
	}
	return flex.Baseline{}, false
}
