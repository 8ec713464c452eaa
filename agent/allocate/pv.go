package allocate

import (
	"maps"
	"slices"
	"time"

	"flexd/agent/flex"
)

// trail is how long PV power is remembered for a baseline, and trailMost
// bounds how many samples that may be.
const (
	trail     = time.Minute
	trailMost = 240
)

// nextState carries the state over: the PV trails grow, and a baseline is
// frozen for every dispatch that turns an asset down from now on.
func (w *work) nextState() State {
	old := w.in.State
	st := State{StaticLimit: old.StaticLimit, Before: old.Before}
	for _, a := range w.in.Assets {
		for _, id := range a.Devices {
			s, ok := w.byID[id]
			if !ok || s.dev.Role != flex.RolePV {
				continue
			}
			if st.PVTrail == nil {
				st.PVTrail = map[flex.DeviceID][]Sample{}
				st.PVBaseline = map[flex.DeviceID]map[flex.InstructionID]flex.Watts{}
			}
			if _, done := st.PVTrail[id]; !done {
				st.PVTrail[id] = grow(old.PVTrail[id], s.dev.Reading, w.in.Now)
				st.PVBaseline[id] = keep(old.PVBaseline[id], w.in.Dispatches)
			}
			w.freeze(st, old, a.ID, s)
		}
	}
	return st
}

// grow returns the last minute of samples with the newest reading added; it
// never touches the old slice.
func grow(old []Sample, r *flex.Reading, now time.Time) []Sample {
	inside := func(t time.Time) bool { return now.Sub(t) <= trail && now.Sub(t) >= -time.Second }
	out := make([]Sample, 0, len(old)+1)
	for _, s := range old {
		if inside(s.At) {
			out = append(out, s)
		}
	}
	if r != nil && r.Power != nil && inside(r.At) && (len(out) == 0 || r.At.After(out[len(out)-1].At)) {
		out = append(out, Sample{At: r.At, Power: max(0, *r.Power)})
	}
	return out[max(0, len(out)-trailMost):]
}

// keep drops the baselines of dispatches that are gone.
func keep(old map[flex.InstructionID]flex.Watts, ds []flex.Dispatch) map[flex.InstructionID]flex.Watts {
	out := map[flex.InstructionID]flex.Watts{}
	for _, d := range ds {
		if b, ok := old[d.ID]; ok {
			out[d.ID] = b
		}
	}
	return out
}

// freeze finds the baseline of a PV device for each dispatch that turns its
// asset down and has none yet. While the device is capped its own power says
// nothing: then the baseline under which it was capped goes on, after a restart
// the one that was kept with the cap; where none was, the cap found in force plus
// the share stands for it.
func (w *work) freeze(st, old State, asset flex.AssetID, s *slot) {
	id := s.dev.ID
	for _, d := range w.wants {
		share := shareOf(d, asset)
		if _, done := st.PVBaseline[id][d.ID]; done || share >= 0 {
			continue
		}
		capped := s.dev.Target.Order == flex.OrderCap
		before, kept := s.dev.Target.Before[d.ID]
		inherited, any := highest(old.PVBaseline[id])
		if !any {
			inherited, any = highest(s.dev.Target.Before)
		}
		switch {
		case capped && kept:
			st.PVBaseline[id][d.ID] = before
		case capped && any:
			st.PVBaseline[id][d.ID] = inherited
		case capped:
			st.PVBaseline[id][d.ID] = s.dev.Target.Power - share
		default:
			if mean, ok := meanOf(st.PVTrail[id]); ok {
				st.PVBaseline[id][d.ID] = mean
			}
		}
	}
}

func shareOf(d flex.Dispatch, asset flex.AssetID) (sum flex.Watts) {
	for _, sh := range d.Shares {
		if sh.Asset == asset {
			sum += sh.Power
		}
	}
	return sum
}

func highest(m map[flex.InstructionID]flex.Watts) (flex.Watts, bool) {
	if len(m) == 0 {
		return 0, false
	}
	return slices.Max(slices.Collect(maps.Values(m))), true
}

func meanOf(samples []Sample) (flex.Watts, bool) {
	if len(samples) == 0 {
		return 0, false
	}
	var sum flex.Watts
	for _, s := range samples {
		sum += s.Power
	}
	return sum / flex.Watts(len(samples)), true
}

// driveCaps turns PV down by power (≥ 0) below its baseline and tells how
// much of it was placed.
func (w *work) driveCaps(power flex.Watts, slots []*slot, claims []claim, limits *[]limit) flex.Watts {
	var able []*slot
	var ds []demand
	var bases []flex.Watts
	for _, s := range slots {
		base, ok := w.baseline(s, claims)
		if !ok {
			*limits = append(*limits, limit{flex.ReasonDeviceUnavailable, "stale", 0, say("%s was not measured in the minute before the start", word(s.dev.ID))})
			continue
		}
		if s.capped {
			base = s.cap // another asset has turned it down already
		}
		room := base
		if stale := s.dev.Reading == nil || !s.dev.Reading.Fresh(w.in.Now, staleAfter); stale {
			room = 0
			if s.dev.Target.Order == flex.OrderCap {
				room = max(0, base-s.dev.Target.Power)
			}
			*limits = append(*limits, limit{flex.ReasonDeviceUnavailable, "stale", 0, say("%s was last read more than %v ago: no new or lower cap", word(s.dev.ID), span(staleAfter))})
			if room == 0 {
				continue
			}
		}
		able, bases = append(able, s), append(bases, base)
		ds = append(ds, demand{key: string(s.dev.ID), weight: uint64(base), room: room})
	}
	var placed flex.Watts
	for i, p := range w.split.fill(power, ds) {
		s := able[i]
		placed += p
		s.capped, s.cap = true, max(0, bases[i]-p)
		s.why("share", s.cap, "%s gave %v before the start and is turned down by %v", word(s.dev.ID), watts(bases[i]), watts(p))
	}
	if placed < power && len(able) > 0 {
		*limits = append(*limits, limit{flex.ReasonEnergyInsufficient, "", 0, plain("generation before the start was less than the share")})
	}
	return placed
}

// baseline is the highest of those frozen for the claims.
func (w *work) baseline(s *slot, claims []claim) (flex.Watts, bool) {
	if s.before == nil {
		s.before = map[flex.InstructionID]flex.Watts{}
	}
	of := map[flex.InstructionID]flex.Watts{}
	for _, c := range claims {
		if b, ok := w.state.PVBaseline[s.dev.ID][c.id]; ok {
			of[c.id], s.before[c.id] = b, b
		}
	}
	return highest(of)
}
