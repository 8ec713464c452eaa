package agent

import (
	"context"
	"slices"
	"time"

	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/agent/local"
)

// What a rehearsal asks when nothing else is said, and at most.
const (
	drillPercent = 10
	drillMost    = 50
	drillFor     = 60 * time.Second
)

// Drill rehearses a dispatch on the real devices with a part of their rating.
func (v *view) Drill(ctx context.Context, o local.DrillOrder, by string) (flex.InstructionID, error) {
	d := dispatch.Drill{Asset: o.Asset, For: time.Duration(o.Seconds) * time.Second, By: by}
	if o.Seconds == 0 {
		d.For = drillFor
	}
	percent := o.Percent
	if percent == 0 {
		percent = drillPercent
	}
	if percent < 1 || percent > drillMost {
		return "", flex.Refuse(flex.ReasonBadField, "a drill asks for 1 %% to %d %% of the rating, not %d %%", drillMost, percent)
	}
	if o.Power < 0 {
		return "", flex.Refuse(flex.ReasonBadField, "the power of a drill is a magnitude; the direction says which way")
	}
	d.Most = v.rating(o.Asset, o.Import) * flex.Watts(percent) / 100
	d.Power = d.Most
	if o.Power > 0 {
		d.Power = o.Power
	}
	if d.Power == 0 { // no rating: let the reason be told
		d.Power = 1
	}
	if o.Import {
		d.Power = -d.Power
	}
	return v.a.engine.Drill(ctx, d)
}

// rating is what the devices of an asset can give or take together, as far as
// they say; 0 when they do not.
func (v *view) rating(id flex.AssetID, takes bool) flex.Watts {
	var sum flex.Watts
	for _, a := range v.a.conf.cfg.Assets {
		if a.MarketID != id {
			continue
		}
		for _, d := range v.a.control.Status() {
			if slices.Contains(a.Devices, d.ID) {
				sum += part(d.Plate, takes)
			}
		}
		if a.MaxDispatch > 0 {
			sum = min(sum, a.MaxDispatch)
		}
	}
	return sum
}

func part(p flex.Nameplate, takes bool) flex.Watts {
	if takes && p.MaxCharge > 0 {
		return p.MaxCharge
	}
	if !takes && p.MaxDischarge > 0 {
		return p.MaxDischarge
	}
	return p.MaxPower
}
