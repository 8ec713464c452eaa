package flex

import (
	"fmt"
	"time"
)

// Window is a half-open interval [Start, End) of UTC instants. A zero End
// means open: until further notice.
type Window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end,omitzero"`
}

// Open tells whether the end is not known.
func (w Window) Open() bool { return w.End.IsZero() }

// Contains tells whether t lies within [Start, End).
func (w Window) Contains(t time.Time) bool {
	return !t.Before(w.Start) && (w.Open() || t.Before(w.End))
}

// Covers tells whether v lies wholly within w; an open v is covered only by
// an open w.
func (w Window) Covers(v Window) bool {
	if v.Start.Before(w.Start) {
		return false
	}
	return w.Open() || !v.Open() && !v.End.After(w.End)
}

// Overlaps tells whether the two share an instant; touching windows do not.
func (w Window) Overlaps(v Window) bool {
	return (v.Open() || w.Start.Before(v.End)) && (w.Open() || v.Start.Before(w.End))
}

// Duration is End-Start, or 0 when open.
func (w Window) Duration() time.Duration {
	if w.Open() {
		return 0
	}
	return w.End.Sub(w.Start)
}

// String renders in UTC for logs.
func (w Window) String() string {
	if w.Open() {
		return fmt.Sprintf("%s until stopped", w.Start.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s to %s", w.Start.UTC().Format(time.RFC3339), w.End.UTC().Format(time.RFC3339))
}
