package dispatch

import (
	"fmt"
	"slices"
	"strings"

	"flexd/agent/flex"
)

// duty is what an admitted instruction binds this site to, without what was
// declared unavailable.
type duty struct {
	terms
	withheld  []flex.AssetShare
	why       string // the declarations' words
	baselines []flex.Baseline
}

// reduces tells that an admitted duty is only made smaller or shorter. That is
// taken whatever is declared: refused, the site would be bound to more.
func (d *duty) reduces(old *flex.Record) bool {
	if old == nil || old.State.Final() || old.State == flex.Waiting || len(d.shares) == 0 ||
		d.window.Start.Before(old.Window.Start) || d.window.Open() || !old.Window.Open() && d.window.End.After(old.Window.End) {
		return false
	}
	for _, s := range d.shares {
		i := slices.IndexFunc(old.Shares, func(o flex.AssetShare) bool { return o.Asset == s.Asset })
		if i < 0 || s.Power.Abs() > old.Shares[i].Power.Abs() || (s.Power < 0) != (old.Shares[i].Power < 0) {
			return false
		}
	}
	return true
}

// withhold takes out the shares of assets that are declared unavailable in
// the window. When nothing is left, the instruction is refused.
func (d *duty) withhold(away []flex.Unavailability) *flex.Refusal {
	var texts []string
	kept := make([]flex.AssetShare, 0, len(d.shares))
	for _, s := range d.shares {
		i := slices.IndexFunc(away, func(u flex.Unavailability) bool { return u.Asset == s.Asset && u.Stands(d.window) })
		if i < 0 {
			kept = append(kept, s)
			continue
		}
		d.withheld = append(d.withheld, s)
		texts = append(texts, awayText(away[i]))
	}
	d.why = strings.Join(texts, "; ")
	if len(kept) == 0 && len(d.withheld) > 0 {
		return flex.Refuse(flex.ReasonUnavailable, "%s", d.why)
	}
	if len(d.withheld) > 0 {
		d.shares = kept
	}
	return nil
}

// onto binds the record.
func (d duty) onto(rec flex.Record) flex.Record {
	rec = d.terms.onto(rec)
	rec.Withheld, rec.Baselines = d.withheld, d.baselines
	return rec.With(flex.Partial, len(d.withheld) > 0)
}

// remarks are what was added to the operator's words.
func (d duty) remarks() string {
	if d.note != "" && d.why != "" {
		return d.note + "; " + d.why
	}
	return d.note + d.why
}

// awayText tells a declaration to people.
func awayText(u flex.Unavailability) string {
	text := fmt.Sprintf("asset %s is declared unavailable, %v, by %s", u.Asset, u.Window, u.By)
	if u.Reason != "" {
		text += ": " + u.Reason
	}
	return text
}

// withheldText tells why a record is partial from the outset.
func withheldText(shares []flex.AssetShare) string {
	return sharesText(shares) + " is withheld: declared unavailable, or not ready for it"
}
