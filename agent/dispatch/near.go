package dispatch

import (
	"slices"
	"time"

	"flexd/agent/flex"
)

// How far Near looks for the next change: first a few days, which is enough
// for most contracts, then as far as the contracts are listed ahead.
const (
	nearSoon = 3 * 24 * time.Hour
	nearFar  = 35 * 24 * time.Hour
	nearLead = 7 * 24 * time.Hour // the longest lead that is honoured
)

// NextWindow is the obligation's service window that is open at now, else the
// next that opens within the coming 35 days.
func NextWindow(ob flex.Obligation, now time.Time) (flex.Window, bool) {
	for _, far := range []time.Duration{nearSoon, nearFar} {
		ws, err := Windows(ob, now, now.Add(far))
		if err != nil || !ob.GoneAt.IsZero() {
			return flex.Window{}, false
		}
		if len(ws) > 0 && (ws[0].End.Before(now.Add(far)) || far == nearFar) {
			return ws[0], true
		}
	}
	return flex.Window{}, false
}

// Near tells whether a service window of an obligation that is not gone is
// open, or opens within lead: then instructions are to be expected. changes
// is when that answer changes next; zero when it does not within 35 days.
// What cannot be read is left out.
func Near(obs []flex.Obligation, now time.Time, lead time.Duration) (near bool, changes time.Time) {
	lead = min(max(lead, 0), nearLead)
	plans := plansOf(obs)
	for _, far := range []time.Duration{nearSoon, nearFar} {
		horizon := now.Add(far)
		near, changes = nearIn(plans, now, horizon, lead)
		if !changes.IsZero() {
			break
		}
	}
	return near, changes
}

// plansOf reads the calendars of the obligations that stand. A zone is
// loaded once: it may be read from a file.
func plansOf(obs []flex.Obligation) []plan {
	zones := map[string]*time.Location{}
	var out []plan
	for _, ob := range obs {
		if !ob.GoneAt.IsZero() {
			continue
		}
		name := zoneOf(ob)
		loc, ok := zones[name]
		if !ok {
			loc, _ = time.LoadLocation(name)
			zones[name] = loc
		}
		if loc == nil {
			continue
		}
		if p, err := planOf(ob, loc); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// nearIn answers by the windows up to the horizon; changes is zero when it
// does not lie before it.
func nearIn(plans []plan, now, horizon time.Time, lead time.Duration) (near bool, changes time.Time) {
	var all []flex.Window
	for _, p := range plans {
		for _, w := range p.windows(now, horizon.Add(lead)) {
			all = append(all, flex.Window{Start: w.Start.Add(-lead), End: w.End})
		}
	}
	slices.SortFunc(all, func(a, b flex.Window) int { return a.Start.Compare(b.Start) })
	for _, w := range join(all) {
		switch {
		case w.Contains(now):
			near, changes = true, w.End
		case w.Start.After(now) && !near:
			changes = w.Start
		default:
			continue
		}
		break
	}
	if !changes.Before(horizon) {
		changes = time.Time{}
	}
	return near, changes
}
