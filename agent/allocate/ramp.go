package allocate

import (
	"slices"
	"time"

	"flexd/agent/flex"
)

// rampAhead is how far ahead of its measured power a slow device is told: its
// reading may be as old as that.
const rampAhead = 2 * time.Second

// byRamp divides power (≥ 0) as fill does, but gives to faster devices what slow
// ones cannot reach within rampAhead; as they come up they take their own parts
// back. What the fast cannot take is told to the slow all the same: nobody else
// could give it sooner.
func (w *work) byRamp(power flex.Watts, ds []demand, slots []*slot, export bool) []flex.Watts {
	var near []demand // only where one is slow
	for i, s := range slots {
		if s.dev.Ramp <= 0 || s.measured == nil {
			continue
		}
		at := *s.measured
		if !export {
			at = -at
		}
		reach := max(0, at) + flex.Watts(float64(s.dev.Ramp)*rampAhead.Seconds())
		if reach >= ds[i].room {
			continue
		}
		if near == nil {
			near = slices.Clone(ds)
		}
		near[i].room = reach
	}
	if near == nil {
		return w.split.fill(power, ds)
	}
	out := slices.Clone(w.split.fill(power, near))
	rest := power
	for i, p := range out {
		rest -= p
		near[i].room = ds[i].room - p
	}
	if rest > 0 {
		for i, p := range w.split.fill(rest, near) {
			out[i] += p
		}
	}
	return out
}
