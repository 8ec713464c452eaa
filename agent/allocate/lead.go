package allocate

import (
	"slices"
	"time"

	"flexd/agent/flex"
)

// MaxLead bounds how early a device is told: for so long it may give power that
// nobody has asked for yet.
const MaxLead = 30 * time.Second

// lead is how much earlier than the start the device is told.
func (d *Device) lead() time.Duration {
	if d.Role != flex.RoleStorage && d.Role != flex.RoleHybrid {
		return 0 // generation is turned down from what it gives at the start
	}
	return min(max(0, d.Lead), MaxLead)
}

// early are the dispatches that begin within MaxLead.
func (w *work) early() {
	out := w.coming[:0]
	for _, d := range w.in.Dispatches {
		ahead := d.Window.Start.Sub(w.in.Now)
		if ahead > 0 && ahead <= MaxLead && d.Wants(d.Window.Start) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, byStart)
	w.coming = out
}

// of are the dispatches that an asset is driven for: those that ask for power
// now; for an asset at rest those that begin next, and how far ahead, if one of
// its devices is so slow that it must be told now. Where something runs, the
// devices are under way: two powers would add up.
func (w *work) of(a *Asset) (ds []flex.Dispatch, ahead time.Duration) {
	w.lists.wants = naming(w.lists.wants[:0], w.wants, a.ID, w.in.Now)
	if len(w.lists.wants) > 0 {
		return w.lists.wants, 0
	}
	start := firstStart(w.coming, a.ID)
	w.lists.coming = naming(w.lists.coming[:0], w.coming, a.ID, start)
	ds = w.lists.coming
	if len(ds) == 0 {
		return nil, 0
	}
	ds = slices.DeleteFunc(ds, func(d flex.Dispatch) bool { return !d.Window.Start.Equal(start) })
	ahead = start.Sub(w.in.Now)
	for _, id := range a.Devices {
		if s := w.byID[id]; s != nil && s.dev.lead() >= ahead {
			return ds, ahead
		}
	}
	return nil, 0
}

// naming are those that the asset is driven for at an instant: of those that
// name it, what none outranks.
func naming(out, ds []flex.Dispatch, id flex.AssetID, at time.Time) []flex.Dispatch {
	for i := range ds { // most name another: they are not copied
		if !names(&ds[i], id) {
			continue
		}
		if _, waits := ds[i].Outranking(ds, id, at); !waits {
			out = append(out, ds[i])
		}
	}
	return out
}

func names(d *flex.Dispatch, id flex.AssetID) bool {
	return slices.ContainsFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Asset == id })
}

// firstStart is when the first of those that name the asset begins.
func firstStart(ds []flex.Dispatch, id flex.AssetID) time.Time {
	for i := range ds { // by start
		if names(&ds[i], id) {
			return ds[i].Window.Start
		}
	}
	return time.Time{}
}

// onlyDue takes the target back from the devices whose lead has not come.
func (w *work) onlyDue(a *Asset, ahead time.Duration) {
	for _, id := range a.Devices {
		s := w.byID[id]
		switch {
		case s == nil:
		case s.dev.lead() >= ahead:
			s.why("lead", s.want, "%s is told %v before the start", word(id), span(s.dev.lead()))
		default:
			s.wanted, s.set, s.capped, s.want, s.cap = false, false, false, 0, 0
			s.whys, s.claims, s.until = s.whys[:0], s.claims[:0], time.Time{}
		}
	}
}

// leads shows the instants at which the devices of a dispatch's assets are told.
func leads(in *Input, d *flex.Dispatch, see func(time.Time)) {
	for _, a := range in.Assets {
		if a.Control == Observe || !slices.ContainsFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Asset == a.ID }) {
			continue
		}
		for i := range in.Devices {
			dev := &in.Devices[i]
			if l := dev.lead(); l > 0 && slices.Contains(a.Devices, dev.ID) {
				see(d.Window.Start.Add(-l))
			}
		}
	}
}
