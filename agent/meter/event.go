package meter

import (
	"time"

	"flexd/agent/flex"
)

// LooksBack is how long it must be remembered that an asset was dispatched: 0
// where no baseline asks for it.
func (m *Meter) LooksBack() time.Duration {
	var most time.Duration
	for _, g := range m.assets {
		most = max(most, g.Rule.minutesBack(), g.Rule.daysBack())
	}
	return most
}

// event is a dispatch of this site: its assets did not do what they would have.
type event struct {
	shares []flex.AssetShare
	window flex.Window
}

// eventOf is the dispatch of a record, false where no watt was asked for.
func eventOf(r flex.Record) (event, bool) {
	switch r.State {
	case flex.Waiting, flex.Refused, flex.Expired, flex.Cancelled, flex.Superseded:
		return event{}, false
	case flex.Completed, flex.Stopped:
		if r.FirstWrite.IsZero() {
			return event{}, false // nothing was written: held, observed, or offline
		}
	case flex.Admitted, flex.Pending, flex.Accepted, flex.Scheduled, flex.Active:
	}
	w := r.Window
	if !r.StopAt.IsZero() && (w.Open() || r.StopAt.Before(w.End)) {
		w.End = r.StopAt
	}
	return event{shares: r.Shares, window: w}, w.Open() || w.End.After(w.Start)
}

// Note takes what was decided: dispatches and declarations disturb what an
// asset would have done.
func (m *Meter) Note(ch flex.Changes) {
	if len(ch.Records)+len(ch.Unavailable) == 0 || m.LooksBack() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range ch.Records {
		if e, ok := eventOf(r); ok {
			m.events[r.ID] = e
		} else {
			delete(m.events, r.ID)
		}
	}
	for _, u := range ch.Unavailable {
		m.away[u.ID] = u
	}
}

// forgetEvents drops what no baseline looks back to; mu is held.
func (m *Meter) forgetEvents(reached time.Time) {
	back := m.LooksBack()
	for id, e := range m.events {
		if !e.window.Open() && reached.Sub(e.window.End) > back {
			delete(m.events, id)
		}
	}
	for id, u := range m.away {
		if reached.Sub(u.Window.End) > back {
			delete(m.away, id)
		}
	}
}

// disturbed are the times before an instant in which an asset was dispatched,
// and with away those in which it was declared unavailable; mu is held.
func (m *Meter) disturbed(id flex.AssetID, until time.Time, away bool) []flex.Window {
	var out []flex.Window
	for _, e := range m.events {
		if !e.window.Start.Before(until) {
			continue
		}
		for _, s := range e.shares {
			if s.Asset == id {
				out = append(out, e.window)
			}
		}
	}
	for _, u := range m.away {
		w := u.Window
		if !u.Withdrawn.IsZero() && u.Withdrawn.Before(w.End) {
			w.End = u.Withdrawn
		}
		if away && u.Asset == id && w.End.After(w.Start) && w.Start.Before(until) {
			out = append(out, w)
		}
	}
	return out
}

// meets tells whether one of the windows shares an instant with [from, to).
func meets(list []flex.Window, from, to time.Time) bool {
	for _, w := range list {
		if w.Overlaps(flex.Window{Start: from, End: to}) {
			return true
		}
	}
	return false
}
