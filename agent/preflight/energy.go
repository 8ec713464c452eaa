package preflight

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// energy compares what the batteries of an asset hold above their reserve, or
// can still take, with what the longest call within the window needs and the
// margin on top. What is sure to be charged in time is no reason.
func (v *verdict) energy(a allocate.Asset, sh flex.AssetShare) {
	have, need, known := v.balance(sh)
	if !known || have >= need {
		return
	}
	what := "can give %s above the reserve"
	if sh.Power < 0 {
		what = "can take %s more"
	}
	text := fmt.Sprintf("%s "+what+" now; %v for %v needs %s with %v of margin", batteries(v, a), kilowattHours(have),
		sh.Power.Abs(), v.s.Run.Round(time.Minute), kilowattHours(need), v.in.Margin)
	if plan, ok := v.charging(a); ok {
		v.note("%s; charged from %s on", text, plan.From.UTC().Format(time.RFC3339))
		return
	}
	v.add(flex.ReasonEnergyInsufficient, string(a.ID), "%s", text)
}

// charging is the plan that charges the asset's batteries in time, if there is
// one.
func (v *verdict) charging(a allocate.Asset) (allocate.Preparation, bool) {
	i := slices.IndexFunc(v.in.Plan, func(p allocate.Preparation) bool {
		return slices.Contains(a.Devices, p.Device) && p.Until.Equal(v.s.Window.Start)
	})
	if _, ok := charge(v.in, v.s); i < 0 || !ok {
		return allocate.Preparation{}, false
	}
	return v.in.Plan[i], true
}

// batteries names those of an asset.
func batteries(v *verdict, a allocate.Asset) string {
	var names []string
	for _, id := range a.Devices {
		if d, ok := v.find(id); ok && d.Role != flex.RolePV {
			names = append(names, string(id))
		}
	}
	return strings.Join(names, ", ")
}

// balance is the energy that the batteries of a share's asset can give or
// take, and what is needed, Wh; false where it cannot be told. Turning
// generation down helps an import: then the planner's own forecast judges
// alone.
func (v *verdict) balance(sh flex.AssetShare) (have, need float64, known bool) {
	i := slices.IndexFunc(v.in.Site.Assets, func(a allocate.Asset) bool { return a.ID == sh.Asset })
	if i < 0 {
		return 0, 0, false
	}
	for _, id := range v.in.Site.Assets[i].Devices {
		d, ok := v.find(id)
		switch {
		case !ok || d.Role == flex.RoleMeter:
		case d.Role == flex.RolePV && sh.Power < 0:
			return 0, 0, false
		case d.Role == flex.RolePV:
		case d.Reading == nil:
			return 0, 0, false // it does not answer: said already
		case d.Reading.SoC == nil || d.Plate.Energy <= 0:
			v.note("the energy of %s is not known: it is judged by its power alone", id)
			return 0, 0, false
		default:
			known = true
			have += v.usable(d, sh.Power > 0)
		}
	}
	need = float64(sh.Power.Abs()) * v.s.Run.Hours() * (1 + float64(v.in.Margin)/float64(flex.Full))
	return have, math.Floor(need), known
}

// usable is what a battery can give above its reserve, or take, Wh. What the
// owner allows a day bounds a window of today only.
func (v *verdict) usable(d allocate.Device, gives bool) float64 {
	size, soc := float64(d.Plate.Energy), *d.Reading.SoC
	if !gives {
		return max(0, size*float64(d.Full()-soc)/float64(flex.Full))
	}
	out := max(0, size*float64(soc-d.Reserve(v.s.Use))/float64(flex.Full))
	if v.stored {
		return out
	}
	return min(out, v.allowed(d))
}

// allowed is what the owner lets the battery give in the window, Wh.
func (v *verdict) allowed(d allocate.Device) float64 {
	if left := d.Owner.Left; left != nil && v.s.Use != flex.UseEmergency && v.today() {
		return float64(*left)
	}
	return math.Inf(1)
}

// today tells whether the window begins on the day that the owner's count of
// cycles is of.
func (v *verdict) today() bool {
	zone := v.in.Zone
	if zone == nil {
		zone = time.UTC
	}
	return v.s.Window.Start.In(zone).Format(time.DateOnly) <= v.in.Now.At.In(zone).Format(time.DateOnly)
}

func kilowattHours(wh float64) string { return fmt.Sprintf("%.1f kWh", wh/1000) }
