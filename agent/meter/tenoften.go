package meter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// adjustFor is how long before the notice a day is compared with the days it
// is held against.
const adjustFor = 2 * time.Hour

// label is where a step lies on the local clock, counted from the event's day:
// the same step of another day shows the same time, whatever the season.
type label struct {
	day   int
	since time.Duration // since midnight, as the clock shows it
}

// past is what an asset did until an instant.
type past struct {
	quarters []flex.Interval // by start
	step     time.Duration
	zone     *time.Location
	until    time.Time
	busy     []flex.Window
}

// TenOfTen is the mean of the same local steps of the last eligible days, moved
// by how much the hours before the notice differ from them.
//
// Eligible is a day of the same kind (working days; weekends and bank holidays)
// before the event's, on which the asset was neither dispatched nor declared
// unavailable and of which every step that is needed was measured at least by
// half. With fewer than half of the wanted days there is no baseline. The
// adjustment is added, capped, and there only if at least half of the steps
// of the two hours before the notice lie on the event's day, undisturbed.
func TenOfTen(q Question, quarters []flex.Interval, r Rule, zone *time.Location, busy []flex.Window) (flex.Baseline, error) {
	start, n := q.frame(r.Step)
	p := past{quarters: quarters, step: r.Step, zone: zone, until: q.known(), busy: busy}
	day := civil(q.Window.Start.In(zone))
	labels := make([]label, n)
	for k := range labels {
		labels[k] = p.label(start.Add(time.Duration(k)*r.Step), day)
	}
	over := p.label(q.Window.End.Add(-1), day).day // days after the event's that it reaches into
	days, left := p.eligible(day, over, labels, r)
	want, kind := r.Days, "working days"
	if r.rests(day) {
		want, kind = r.RestDays, "weekend days and holidays"
	}
	if len(days) < (want+1)/2 {
		return flex.Baseline{}, fmt.Errorf("only %d of %d %s within %d days can be compared%s", len(days), want, kind, r.Lookback, left)
	}
	b := flex.Baseline{Asset: q.Asset, Method: flex.MethodTenOfTen, Start: start, Step: r.Step, Values: make([]flex.Watts, n)}
	for k := range labels {
		var sum int64
		for _, d := range days {
			e, _ := p.at(d, labels[k])
			sum += e
		}
		b.Values[k] = flex.Watts(flex.RoundDiv(sum, int64(len(days))*int64(r.Step/time.Second)))
	}
	b.Detail = fmt.Sprintf("mean of %d of %d %s from %s to %s%s", len(days), want, kind, days[len(days)-1].Format(time.DateOnly), days[0].Format(time.DateOnly), left)
	b.Detail += p.adjust(&b, q, day, days, r.Adjust)
	return b, nil
}

// rests tells weekends and bank holidays from working days.
func (r Rule) rests(day time.Time) bool {
	return day.Weekday() == time.Saturday || day.Weekday() == time.Sunday || r.Holiday(day.Format(time.DateOnly))
}

// leftOut counts the days of the right kind that are not eligible.
type leftOut struct{ disturbed, unmeasured int }

// String is for people, "" when none was left out.
func (l leftOut) String() string {
	var parts []string
	if l.disturbed > 0 {
		parts = append(parts, fmt.Sprintf("%d dispatched or unavailable", l.disturbed))
	}
	if l.unmeasured > 0 {
		parts = append(parts, fmt.Sprintf("%d not measured", l.unmeasured))
	}
	if len(parts) == 0 {
		return ""
	}
	return ", left out: " + strings.Join(parts, ", ")
}

// eligible are the latest days that can be compared, latest first; over is how
// many days after its first one a dispatch reaches.
func (p past) eligible(event time.Time, over int, labels []label, r Rule) (days []time.Time, left leftOut) {
	rests := r.rests(event)
	want := r.Days
	if rests {
		want = r.RestDays
	}
	for back := 1; back <= r.Lookback && len(days) < want; back++ {
		d := event.AddDate(0, 0, -back)
		from, to := Day(d, p.zone).Start, Day(d.AddDate(0, 0, over), p.zone).End
		switch {
		case r.rests(d) != rests || from.After(p.until):
		case meets(p.busy, from, to):
			left.disturbed++
		case slices.ContainsFunc(labels, func(l label) bool { _, ok := p.at(d, l); return !ok }):
			left.unmeasured++
		default:
			days = append(days, d)
		}
	}
	return days, left
}

func (p past) label(t, day time.Time) label {
	at := t.In(p.zone)
	h, m, _ := at.Clock()
	return label{day: int(civil(at).Sub(day) / (24 * time.Hour)), since: time.Duration(h)*time.Hour + time.Duration(m)*time.Minute}
}

// at is the energy, Ws, of the step that shows the label, counted from a day;
// false where the clocks skip it or it was not measured. Of a step that comes
// twice it is the first.
func (p past) at(day time.Time, l label) (int64, bool) {
	t, shown := clockAt(day.AddDate(0, 0, l.day), l.since, p.zone)
	if !shown {
		return 0, false
	}
	return p.energy(t)
}

// energy is that of the step from t on, Ws.
func (p past) energy(t time.Time) (int64, bool) {
	if t.Add(p.step).After(p.until) {
		return 0, false
	}
	n, there := slices.BinarySearchFunc(p.quarters, t, func(i flex.Interval, t time.Time) int { return i.Start.Compare(t) })
	var sum int64
	for want := t; want.Before(t.Add(p.step)); want = want.Add(steps[1]) {
		if !there || n >= len(p.quarters) || !p.quarters[n].Start.Equal(want) || !p.quarters[n].Sound() {
			return 0, false
		}
		sum, n = sum+p.quarters[n].Energy, n+1
	}
	return sum, true
}

// adjust moves the baseline by how much the event's day differed from the
// others before the notice, and tells what it did.
func (p past) adjust(b *flex.Baseline, q Question, event time.Time, days []time.Time, limit flex.Percent) string {
	if limit == 0 {
		return ""
	}
	var off, n int64
	midnight := Day(event, p.zone).Start
	for t := p.until.Truncate(p.step).Add(-p.step); !t.Before(midnight) && !t.Before(p.until.Truncate(p.step).Add(-adjustFor)); t = t.Add(-p.step) {
		actual, ok := p.energy(t)
		usual, known := p.usual(t, event, days)
		if ok && known && !meets(p.busy, t, t.Add(p.step)) {
			off, n = off+actual-usual, n+1
		}
	}
	if 2*n < int64(adjustFor/p.step) {
		return "; not adjusted: the two hours before the notice tell too little"
	}
	by := flex.Watts(flex.RoundDiv(off, n*int64(p.step/time.Second)))
	most := flex.Watts(flex.RoundDiv(int64(magnitude(b, q.Window))*int64(limit), int64(flex.Full)))
	text := fmt.Sprintf("; adjusted by %v", by.Clamp(-most, most))
	if by.Abs() > most {
		text += fmt.Sprintf(" instead of %v (at most %v of it)", by, limit)
	}
	for k := range b.Values {
		b.Values[k] += by.Clamp(-most, most)
	}
	return text
}

// usual is the mean of the same step on the other days, false when fewer than
// half of them have it.
func (p past) usual(t, event time.Time, days []time.Time) (int64, bool) {
	var sum, n int64
	for _, d := range days {
		if e, ok := p.at(d, p.label(t, event)); ok {
			sum, n = sum+e, n+1
		}
	}
	if 2*n < int64(len(days)) || n == 0 {
		return 0, false
	}
	return flex.RoundDiv(sum, n), true
}

// magnitude is the mean magnitude of the steps that lie in the window.
func magnitude(b *flex.Baseline, w flex.Window) flex.Watts {
	var sum, n int64
	for k, v := range b.Values {
		at := b.Start.Add(time.Duration(k) * b.Step)
		if w.Overlaps(flex.Window{Start: at, End: at.Add(b.Step)}) {
			sum, n = sum+int64(v.Abs()), n+1
		}
	}
	return flex.Watts(flex.RoundDiv(sum, max(1, n)))
}
