package meter

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// What to do when a method gives nothing.
const (
	FallbackRefuse = "refuse"
	FallbackZero   = flex.MethodZero
	FallbackRecent = flex.MethodRecent
)

const halfHour = 30 * time.Minute

// recentMost is how far back a recent mean may look for undisturbed minutes.
const recentMost = 3 * time.Hour

// Rule is how an asset's baseline is found.
type Rule struct {
	Method   string
	Fallback string
	Span     time.Duration // recent: whole minutes that are averaged, at most 2 h

	Step     time.Duration // 10-of-10: 15 or 30 minutes
	Days     int           // working days that are averaged
	RestDays int           // the same of weekends and bank holidays
	Lookback int           // calendar days
	// Adjust caps the same-day adjustment, as a part of the mean magnitude of
	// the baseline; 0: no adjustment.
	Adjust flex.Percent
	// Holiday tells whether a local date (YYYY-MM-DD) is a bank holiday.
	Holiday func(date string) bool
}

// minutesBack is how long one-minute intervals are remembered for it.
func (r *Rule) minutesBack() time.Duration {
	if r == nil || r.Method != flex.MethodRecent && r.Fallback != FallbackRecent {
		return 0
	}
	return recentMost + time.Hour
}

// daysBack is the same for quarters of an hour.
func (r *Rule) daysBack() time.Duration {
	if r == nil || r.Method != flex.MethodTenOfTen {
		return 0
	}
	return time.Duration(r.Lookback+3) * 24 * time.Hour
}

// Question is what a baseline is wanted for.
type Question struct {
	Asset  flex.AssetID
	Window flex.Window // of the dispatch, never open
	// Notice is when the dispatch became known: nothing that was measured or
	// declared from then on counts.
	Notice time.Time
}

// known is the end of what counts: a window that has begun disturbs it too.
func (q Question) known() time.Time {
	if q.Window.Start.Before(q.Notice) {
		return q.Window.Start
	}
	return q.Notice
}

// frame is the window in whole steps, with one more on either side.
func (q Question) frame(step time.Duration) (start time.Time, n int) {
	start = q.Window.Start.UTC().Truncate(step).Add(-step)
	end := q.Window.End.UTC().Add(2*step - 1).Truncate(step)
	return start, int(end.Sub(start) / step)
}

// Zero is the baseline of an asset that would have done nothing.
func Zero(q Question, detail string) flex.Baseline {
	start, n := q.frame(halfHour)
	return flex.Baseline{Asset: q.Asset, Method: flex.MethodZero, Start: start, Step: halfHour, Values: make([]flex.Watts, n), Detail: detail}
}

// Recent is the mean of the last minutes before the notice in which the asset
// was left alone. minutes are by start.
func Recent(q Question, minutes []flex.Interval, span time.Duration, busy []flex.Window) (flex.Baseline, error) {
	want := int(span / time.Minute)
	var energy, n int64
	var first, last time.Time
	for _, i := range slices.Backward(minutes) {
		if i.End().After(q.known()) || !i.Sound() || meets(busy, i.Start, i.End()) {
			continue
		}
		if int(n) == want || q.known().Sub(i.Start) > recentMost {
			break
		}
		if n == 0 {
			last = i.End()
		}
		first = i.Start
		energy, n = energy+i.Energy, n+1
	}
	if int(n)*2 < want {
		return flex.Baseline{}, fmt.Errorf("only %d of %d minutes before %s were measured without a dispatch", n, want, stamp(q.known()))
	}
	start, steps := q.frame(halfHour)
	b := flex.Baseline{Asset: q.Asset, Method: flex.MethodRecent, Start: start, Step: halfHour, Values: make([]flex.Watts, steps),
		Detail: fmt.Sprintf("mean of %d minutes from %s to %s", n, stamp(first), stamp(last))}
	mean := flex.Watts(flex.RoundDiv(energy, n*60))
	for k := range b.Values {
		b.Values[k] = mean
	}
	return b, nil
}

// Nominated is what was declared before the notice.
func Nominated(q Question, nom flex.Nomination) (flex.Baseline, error) {
	step := time.Duration(0)
	var known []flex.Stated
	for _, p := range nom.Pieces {
		if !p.At.After(q.Notice) && q.Window.Overlaps(flex.Window{Start: p.Start, End: p.End()}) {
			known = append(known, p)
			if step == 0 || p.Step < step {
				step = p.Step
			}
		}
	}
	if step <= 0 {
		return flex.Baseline{}, fmt.Errorf("nothing is nominated for %v", q.Window)
	}
	start, n := q.frame(step)
	b := flex.Baseline{Asset: q.Asset, Method: flex.MethodNominated, Start: start, Step: step}
	var by flex.Stated
	for k := range n {
		t := start.Add(time.Duration(k) * step)
		w, p, ok := statedAt(known, t)
		switch {
		case ok:
			b.Values, by = append(b.Values, w), p
		case q.Window.Overlaps(flex.Window{Start: t, End: t.Add(step)}):
			return flex.Baseline{}, fmt.Errorf("nothing is nominated for the %v from %s", step, stamp(t))
		case len(b.Values) == 0:
			b.Start = t.Add(step)
		}
	}
	b.Detail = fmt.Sprintf("nominated by %s at %s", by.By, stamp(by.At))
	return b, nil
}

// statedAt finds what was declared for an instant.
func statedAt(pieces []flex.Stated, t time.Time) (flex.Watts, flex.Stated, bool) {
	for _, p := range pieces {
		if !t.Before(p.Start) && t.Before(p.End()) {
			return p.Values[int(t.Sub(p.Start)/p.Step)], p, true
		}
	}
	return 0, flex.Stated{}, false
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04Z") }
