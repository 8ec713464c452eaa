package allocate

import (
	"time"

	"flexd/agent/flex"
)

// Preparation is a wish of the site's own: to charge a battery before a window.
// It has the lowest rank: it waits while any dispatch runs or is about to,
// and keeps the limits of the site and every bound of everyday use.
type Preparation struct {
	For         string // id of what asks
	Device      flex.DeviceID
	From, Until time.Time
	Power       flex.Watts   // magnitude of charging
	Goal        flex.Percent // charge at which it ends
	Text        string       // who asks and until when, for people
}

// prepare lets the preparations that are due charge what nobody else asks for.
func (w *work) prepare() {
	if len(w.wants)+len(w.coming) > 0 {
		return // charging beside a dispatch would take at the meter what it gives
	}
	for _, p := range w.in.Prepare {
		s := w.byID[p.Device]
		due := flex.Window{Start: p.From, End: p.Until}.Contains(w.in.Now)
		if s == nil || !due || s.wanted || s.offline || s.blocked != nil || !s.storage() || s.charged(p.Goal) {
			continue
		}
		if !s.dev.GridCharge {
			continue // no consent: the one who plans says so
		}
		power := min(p.Power, -s.lo)
		if power <= 0 {
			continue
		}
		s.wanted, s.set, s.want, s.until = true, true, -power, p.Until
		s.why("preflight", -p.Power, "%s, up to %v", word(p.Text), percent(p.Goal))
		if power < p.Power {
			w.lists.bounds = bounding(w.lists.bounds[:0], s, -1)
			for _, l := range w.lists.bounds {
				s.whys = append(s.whys, why{who: l.who, power: s.want, text: l.text})
			}
		}
	}
}

// charged tells whether the goal is reached; charging that has ended does not
// begin again for the last per cent.
func (s *slot) charged(goal flex.Percent) bool {
	r := s.dev.Reading
	if r == nil || r.SoC == nil {
		return true // nobody knows: do not charge
	}
	if s.running() < 0 {
		return *r.SoC >= goal
	}
	return *r.SoC > goal-slack
}
