package clock

import (
	"fmt"
	"time"

	"flexd/agent/flex"
)

// heard is what the date in somebody's answer says of the clock: it may be
// wrong, so it proves nothing, but a person is told.
type heard struct {
	by          string
	early, late time.Time // bounds of the true time at which this machine was booted
	at          flex.Stamp
}

// dateGrain is the resolution of an HTTP date (RFC 9110 section 6.6.1).
const dateGrain = time.Second

// Heard takes the date in an answer of by, that was asked for at sent and came
// at got, both with their monotonic readings.
func (w *Wall) Heard(by string, date, sent, got time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.read()
	w.heard = &heard{by: by, at: s, early: date.Add(time.Since(got) - s.Since), late: date.Add(dateGrain + time.Since(sent) - s.Since)}
}

// hearsay is how far the clock is at least behind (+) or ahead (-) of what was
// heard last, 0 when it fits; w.mu is held.
func (w *Wall) hearsay(s flex.Stamp) (by string, off time.Duration) {
	h := w.heard
	if h == nil || h.at.Boot != s.Boot || s.Since-h.at.Since > proofLife {
		return "", 0
	}
	switch line := s.Line(); {
	case h.early.Sub(line) > wrongBy:
		off = h.early.Sub(line)
	case line.Sub(h.late) > wrongBy:
		off = h.late.Sub(line)
	}
	return h.by, off
}

// Hearsay says in words how far the clock is at least from the date that was
// heard last; "" when it fits.
func (w *Wall) Hearsay() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return hearsayText(w.hearsay(w.read()))
}

// hearsayText says it in words, "" when the clock fits.
func hearsayText(by string, off time.Duration) string {
	grain := dateGrain
	if off.Abs() > 10*time.Minute { // the text wavers with every answer
		grain = time.Minute
	}
	switch {
	case off > 0:
		return fmt.Sprintf("about %v behind the date of %s", off.Round(grain), by)
	case off < 0:
		return fmt.Sprintf("about %v ahead of the date of %s", (-off).Round(grain), by)
	}
	return ""
}
