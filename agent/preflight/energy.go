package preflight

import (
	"fmt"
	"math"
	"strings"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// energy compares what the batteries of an asset hold above their reserve, or
// can still take, with what the longest call within the window needs and the
// margin on top. Turning generation down helps an import: then the planner's
// own forecast judges alone.
func (v *verdict) energy(a allocate.Asset, sh flex.AssetShare) {
	var have float64
	var names []string
	for _, id := range a.Devices {
		d, ok := v.find(id)
		switch {
		case !ok || d.Role == flex.RoleMeter:
		case d.Role == flex.RolePV && sh.Power < 0:
			return
		case d.Role == flex.RolePV:
		case d.Reading == nil:
			return // it does not answer: said already
		case d.Reading.SoC == nil || d.Plate.Energy <= 0:
			v.note("the energy of %s is not known: it is judged by its power alone", id)
			return
		default:
			names = append(names, string(id))
			have += v.usable(d, sh.Power > 0)
		}
	}
	need := float64(sh.Power.Abs()) * v.s.Run.Hours() * (1 + float64(v.in.Margin)/float64(flex.Full))
	if len(names) == 0 || have >= math.Floor(need) {
		return
	}
	what := "can give %s above the reserve"
	if sh.Power < 0 {
		what = "can take %s more"
	}
	v.add(flex.ReasonEnergyInsufficient, string(a.ID), "%s "+what+" now; %v for %v needs %s with %v of margin",
		strings.Join(names, ", "), kilowattHours(have), sh.Power.Abs(), v.s.Run.Round(time.Minute), kilowattHours(need), v.in.Margin)
}

// usable is what a battery can give above its reserve, or take, Wh. What the
// owner allows a day bounds a window of today only.
func (v *verdict) usable(d allocate.Device, gives bool) float64 {
	size, soc := float64(d.Plate.Energy), *d.Reading.SoC
	if !gives {
		return max(0, size*float64(d.Full()-soc)/float64(flex.Full))
	}
	out := max(0, size*float64(soc-d.Reserve(v.s.Use))/float64(flex.Full))
	if left := d.Owner.Left; left != nil && v.s.Use != flex.UseEmergency && v.today() {
		out = min(out, float64(*left))
	}
	return out
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
