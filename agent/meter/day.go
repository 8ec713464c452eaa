package meter

import (
	"time"
	_ "time/tzdata" // a gateway without zone files has local days too

	"flexd/agent/flex"
)

// civil is the calendar day of t, where t is, as midnight UTC, so that days can
// be counted without a clock change in between.
func civil(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// Day is a local calendar day: of 46, 48 or 50 half-hours where the clocks
// change by one hour.
func Day(date time.Time, zone *time.Location) flex.Window {
	day := civil(date)
	start, _ := clockAt(day, 0, zone)
	end, _ := clockAt(day.AddDate(0, 0, 1), 0, zone)
	return flex.Window{Start: start, End: end}
}

// clockAt is the UTC instant at which the local clocks show a time of day, the
// first where that comes twice. Where it is skipped it is the instant at which
// the clocks jump, and shown is false.
func clockAt(day time.Time, since time.Duration, zone *time.Location) (t time.Time, shown bool) {
	want := day.Add(since) // as if the zone were UTC
	_, before := want.Add(-24 * time.Hour).In(zone).Zone()
	_, after := want.Add(24 * time.Hour).In(zone).Zone()
	first, second := want.Add(-time.Duration(before)*time.Second), want.Add(-time.Duration(after)*time.Second)
	for _, t := range []time.Time{earlier(first, second), later(first, second)} {
		if _, off := t.In(zone).Zone(); t.Add(time.Duration(off) * time.Second).Equal(want) {
			return t, true
		}
	}
	jump, _ := later(first, second).In(zone).ZoneBounds()
	return jump.UTC(), false
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Joined puts intervals together to a longer step, which is a multiple of
// theirs: those of which every part is known. list is by start.
func Joined(list []flex.Interval, step time.Duration) []flex.Interval {
	var out []flex.Interval
	var sum flex.Interval
	have := time.Duration(0)
	for _, i := range list {
		if i.Step == step {
			out = append(out, i)
			continue
		}
		if start := i.Start.Truncate(step); have == 0 || !start.Equal(sum.Start) {
			sum, have = flex.Interval{Start: start, Step: step, Quality: i.Quality}, 0
		}
		sum.Energy, sum.Seen = sum.Energy+i.Energy, sum.Seen+i.Seen
		sum.Quality = sum.Quality.Worse(i.Quality)
		if have += i.Step; have == step {
			out, have = append(out, sum), 0
		}
	}
	return out
}
