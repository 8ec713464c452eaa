package preflight

import (
	"time"

	"flexd/agent/flex"
)

// due is the lead whose check is to be made now for a window: the smallest one
// that has begun, unless a check for it, or for a smaller one, was made. So
// each check is made once, and one that was missed is made up for by the
// nearest.
func due(leads []time.Duration, start, now time.Time, made time.Duration) (time.Duration, bool) {
	ahead := start.Sub(now)
	if ahead <= 0 {
		return 0, false
	}
	var lead time.Duration
	for _, l := range leads {
		if ahead <= l && (lead == 0 || l < lead) {
			lead = l
		}
	}
	return lead, lead > 0 && (made == 0 || lead < made)
}

// nextDue is when the next check of a window becomes due, zero when none will.
func nextDue(leads []time.Duration, start, now time.Time) time.Time {
	var next time.Time
	for _, l := range leads {
		if at := start.Add(-l); at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// key names one window of one subject.
type key struct {
	kind, id string
	start    int64
}

func keyOf(kind, id string, start time.Time) key { return key{kind, id, start.Unix()} }

func of(p flex.Preflight) key { return keyOf(p.Kind, p.ID, p.Window.Start) }
