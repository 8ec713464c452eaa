package dispatch

import (
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // a gateway without zone files must still keep the market's hours

	"flexd/agent/flex"
)

// defaultZone is where Piclo's markets state their hours.
const defaultZone = "Europe/London"

// longestLook bounds how many days one question may walk through.
const longestLook = 400

// Windows are the obligation's service windows that share an instant with
// [from, to), in UTC, ordered, touching ones joined. A window that reaches
// beyond the days around the question is given as far as those days go.
//
// A window belongs to the local day it begins on: that day must be a service
// day, and its bank holiday counts, not that of the morning after. Of an hour
// that comes twice a window begins with the first and ends with the second;
// within an hour that is skipped it begins or ends where the clocks jump.
func Windows(ob flex.Obligation, from, to time.Time) ([]flex.Window, error) {
	loc, err := time.LoadLocation(zoneOf(ob))
	if err != nil {
		return nil, fmt.Errorf("obligation %s: zone %q: %w", ob.ID, ob.Zone, err)
	}
	plan, err := planOf(ob, loc)
	if err != nil {
		return nil, fmt.Errorf("obligation %s: %w", ob.ID, err)
	}
	return plan.windows(from, to), nil
}

// plan is an obligation's calendar, read and checked.
type plan struct {
	ob          flex.Obligation
	loc         *time.Location
	first, last time.Time        // service days as midnight UTC, last exclusive; zero is unbounded
	start, end  time.Duration    // since local midnight; end may lie on the next day
	off         map[int][]string // bank holidays by year, as far as they were asked for
}

func planOf(ob flex.Obligation, loc *time.Location) (p plan, err error) {
	p = plan{ob: ob, loc: loc, off: map[int][]string{}}
	if p.first, p.last, err = serviceDays(ob); err != nil {
		return p, err
	}
	if p.start, p.end, err = dayHours(ob); err != nil {
		return p, err
	}
	if _, ok := knownRegion(ob.Region); !ok && !ob.BankHolidays {
		return p, fmt.Errorf("region %q has no list of bank holidays: use %s, %s, %s or %s",
			ob.Region, RegionEnglandWales, RegionScotland, RegionNorthernIreland, RegionNone)
	}
	return p, nil
}

func (p plan) windows(from, to time.Time) []flex.Window {
	var all []flex.Window
	day := civil(from.In(p.loc)).AddDate(0, 0, -2)
	stop := civil(to.In(p.loc)).AddDate(0, 0, 2)
	if day.Before(p.first) {
		day = p.first
	}
	if most := day.AddDate(0, 0, longestLook); stop.After(most) {
		stop = most
	}
	if !p.last.IsZero() && !stop.Before(p.last) {
		stop = p.last.AddDate(0, 0, -1)
	}
	for ; !day.After(stop); day = day.AddDate(0, 0, 1) {
		if !p.serves(day) {
			continue
		}
		w := flex.Window{Start: instant(day, p.start, p.loc, false), End: instant(day, p.end, p.loc, true)}
		if w.End.After(w.Start) { // an hour that the clock skips is no window
			all = append(all, w)
		}
	}
	ask := flex.Window{Start: from, End: to}
	return slices.DeleteFunc(join(all), func(w flex.Window) bool { return !w.Overlaps(ask) })
}

func zoneOf(ob flex.Obligation) string {
	if ob.Zone == "" {
		return defaultZone
	}
	return ob.Zone
}

// serviceDays reads the first day and the exclusive last; absent is unbounded.
func serviceDays(ob flex.Obligation) (first, last time.Time, err error) {
	if ob.StartDate != "" {
		if first, err = time.Parse(time.DateOnly, ob.StartDate); err != nil {
			return first, last, fmt.Errorf("start date %q is not YYYY-MM-DD", ob.StartDate)
		}
	}
	if ob.EndDate != "" {
		if last, err = time.Parse(time.DateOnly, ob.EndDate); err != nil {
			return first, last, fmt.Errorf("end date %q is not YYYY-MM-DD", ob.EndDate)
		}
	}
	return first, last, nil
}

// dayHours gives start and end since local midnight. 23:59 and 23:59:59 mean
// midnight; an end that is not after the start lies on the next day.
func dayHours(ob flex.Obligation) (start, end time.Duration, err error) {
	const day = 24 * time.Hour
	start, end = ob.StartTime, ob.EndTime
	if start < 0 || start >= day || end < 0 || end > day {
		return 0, 0, fmt.Errorf("service hours %v to %v are not hours of a day", start, end)
	}
	if end == day-time.Minute || end == day-time.Second {
		end = day
	}
	if end <= start {
		end += day
	}
	return start, end, nil
}

// serves tells whether a window begins on the day. No service days given
// means every day.
func (p plan) serves(day time.Time) bool {
	if len(p.ob.Days) > 0 && !slices.Contains(p.ob.Days, day.Weekday()) {
		return false
	}
	if p.ob.BankHolidays {
		return true
	}
	off, ok := p.off[day.Year()]
	if !ok {
		off = holidaysOf(p.ob.Region, day.Year())
		p.off[day.Year()] = off
	}
	return len(off) == 0 || !slices.Contains(off, day.Format(time.DateOnly))
}

// civil is the calendar day of t as midnight UTC, so that days can be counted
// without a clock change in between.
func civil(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// instant is the UTC instant at which the clocks at loc show the time of day.
// Of an hour that comes twice it takes the first, or with late the second; an
// hour that is skipped begins and ends where the clocks jump.
func instant(day time.Time, since time.Duration, loc *time.Location, late bool) time.Time {
	shown := day.Add(since) // as if the zone were UTC
	_, before := shown.Add(-24 * time.Hour).In(loc).Zone()
	_, after := shown.Add(24 * time.Hour).In(loc).Zone()
	a := shown.Add(-time.Duration(before) * time.Second)
	b := shown.Add(-time.Duration(after) * time.Second)
	okA, okB := showsAs(a, loc, shown), showsAs(b, loc, shown)
	switch {
	case okA && okB && late == b.After(a):
		return b
	case okA:
		return a
	case okB:
		return b
	}
	jump, _ := a.In(loc).ZoneBounds()
	return jump.UTC()
}

func showsAs(t time.Time, loc *time.Location, shown time.Time) bool {
	_, off := t.In(loc).Zone()
	return t.Add(time.Duration(off) * time.Second).Equal(shown)
}

// join merges windows that touch or overlap; ws is ordered by start.
func join(ws []flex.Window) []flex.Window {
	var out []flex.Window
	for _, w := range ws {
		if n := len(out); n > 0 && !w.Start.After(out[n-1].End) {
			if w.End.After(out[n-1].End) {
				out[n-1].End = w.End
			}
			continue
		}
		out = append(out, w)
	}
	return out
}
