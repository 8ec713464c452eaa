package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// A second calendar that shares nothing with Windows: it walks through UTC in
// steps, reads the faces of the clocks, and keeps for each service day the
// time from the first to the last face that lies in its hours.

const bruteStep = 5 * time.Minute

// face is what calendar and clock show at one step.
type face struct {
	day     int // index into faces.days
	minutes int
}

type faces struct {
	from time.Time
	at   []face
	days []time.Time // civil days as noon UTC, each once
}

func facesOf(loc *time.Location, from, to time.Time) faces {
	f := faces{from: from}
	for t := from; t.Before(to); t = t.Add(bruteStep) {
		local := t.In(loc)
		y, m, d := local.Date()
		day := time.Date(y, m, d, 12, 0, 0, 0, time.UTC)
		if n := len(f.days); n == 0 || !f.days[n-1].Equal(day) {
			f.days = append(f.days, day)
		}
		f.at = append(f.at, face{len(f.days) - 1, local.Hour()*60 + local.Minute()})
	}
	return f
}

// wanted is the brute answer: for each step, is it in a service window?
func (f faces) wanted(ob flex.Obligation) []bool {
	start, end := int(ob.StartTime/time.Minute), int(ob.EndTime/time.Minute)
	if end == 23*60+59 {
		end = 24 * 60
	}
	night := end <= start
	first, last := make([]int, len(f.days)), make([]int, len(f.days))
	serves := make([]bool, len(f.days))
	for i := range first {
		first[i], serves[i] = -1, servesBrute(ob, f.days[i])
	}
	see := func(day, i int) {
		if day < 0 || !serves[day] {
			return
		}
		if first[day] < 0 {
			first[day] = i
		}
		last[day] = i
	}
	for i, c := range f.at {
		switch {
		case !night && c.minutes >= start && c.minutes < end, night && c.minutes >= start:
			see(c.day, i)
		case night && c.minutes < end:
			see(c.day-1, i)
		}
	}
	in := make([]bool, len(f.at))
	for d := range first {
		for i := first[d]; i >= 0 && i <= last[d]; i++ {
			in[i] = true
		}
	}
	return in
}

func servesBrute(ob flex.Obligation, day time.Time) bool {
	date := fmt.Sprintf("%04d-%02d-%02d", day.Year(), int(day.Month()), day.Day())
	if date < ob.StartDate || ob.EndDate != "" && date >= ob.EndDate {
		return false
	}
	if !ob.BankHolidays {
		region := ob.Region
		if region == "" {
			region = "england-and-wales"
		}
		if strings.Contains(holidays, region+" "+date) {
			return false
		}
	}
	return len(ob.Days) == 0 || slices.Contains(ob.Days, day.Weekday())
}

// between are the windows of the steps in [from, to), clipped to it.
func (f faces) between(in []bool, from, to time.Time) []flex.Window {
	var out []flex.Window
	lo, hi := int(from.Sub(f.from)/bruteStep), int(to.Sub(f.from)/bruteStep)
	for i := lo; i < hi; i++ {
		if !in[i] {
			continue
		}
		at := f.from.Add(time.Duration(i) * bruteStep)
		if i == lo || !in[i-1] {
			out = append(out, flex.Window{Start: at})
		}
		out[len(out)-1].End = at.Add(bruteStep)
	}
	return out
}

func clipped(ws []flex.Window, from, to time.Time) []flex.Window {
	var out []flex.Window
	for _, w := range ws {
		if w.Start.Before(from) {
			w.Start = from
		}
		if w.End.After(to) {
			w.End = to
		}
		out = append(out, w)
	}
	return out
}

// bruteShapes are the obligations that are compared.
func bruteShapes() map[string]flex.Obligation {
	weekdays := []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday}
	shape := func(start, end time.Duration, change func(*flex.Obligation)) flex.Obligation {
		ob := flex.Obligation{ID: "o", StartTime: start, EndTime: end, BankHolidays: true}
		if change != nil {
			change(&ob)
		}
		return ob
	}
	return map[string]flex.Obligation{
		"evening":                    shape(hm(16, 0), hm(20, 0), nil),
		"evening of working days":    shape(hm(16, 30), hm(20, 30), func(o *flex.Obligation) { o.Days, o.BankHolidays = weekdays, false }),
		"whole days":                 shape(0, hm(24, 0), func(o *flex.Obligation) { o.Days = weekdays }),
		"every hour of the year":     shape(0, hm(23, 59), nil),
		"to midnight":                shape(hm(21, 0), hm(23, 59), nil),
		"nights":                     shape(hm(22, 0), hm(6, 0), nil),
		"Friday and Saturday nights": shape(hm(23, 30), hm(1, 30), func(o *flex.Obligation) { o.Days = []time.Weekday{time.Friday, time.Saturday} }),
		"nights without holidays":    shape(hm(20, 0), hm(2, 30), func(o *flex.Obligation) { o.BankHolidays, o.Region = false, RegionScotland }),
		"a day from noon to noon":    shape(hm(12, 0), hm(12, 0), func(o *flex.Obligation) { o.Days = []time.Weekday{time.Saturday} }),
		"the hour of the change":     shape(hm(1, 0), hm(2, 0), nil),
		"across the change":          shape(hm(0, 30), hm(1, 30), nil),
		"within the hour":            shape(hm(1, 15), hm(1, 45), nil),
		"out of the hour":            shape(hm(1, 30), hm(3, 0), nil),
		"the American hour":          shape(hm(2, 0), hm(3, 0), nil),
		"a season": shape(hm(6, 0), hm(9, 0), func(o *flex.Obligation) {
			o.StartDate, o.EndDate, o.Days = "2026-10-24", "2027-03-29", []time.Weekday{time.Saturday, time.Sunday, time.Monday}
		}),
		"one night, last of its term": shape(hm(18, 0), hm(4, 0), func(o *flex.Obligation) { o.StartDate, o.EndDate = "2028-10-28", "2028-10-29" }),
		"Northern Ireland":            shape(hm(7, 0), hm(22, 0), func(o *flex.Obligation) { o.BankHolidays, o.Region = false, RegionNorthernIreland }),
	}
}

func TestWindowsAgreeWithAnIndependentCalendar(t *testing.T) {
	from, to := utc("2026-01-01 00:00"), utc("2029-01-01 00:00")
	const margin = 3 * 24 * time.Hour
	for _, zone := range []string{"Europe/London", "America/New_York", "Asia/Kolkata"} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			loc, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			f := facesOf(loc, from.Add(-margin), to.Add(margin))
			for name, ob := range bruteShapes() {
				ob.Zone = zone
				p, err := planOf(ob, loc)
				if err != nil {
					t.Fatal(err)
				}
				in, bad := f.wanted(ob), 0
				for day := from; day.Before(to) && bad < 3; day = day.AddDate(0, 0, 1) {
					next := day.AddDate(0, 0, 1)
					got, want := clipped(p.windows(day, next), day, next), f.between(in, day, next)
					if !slices.EqualFunc(got, want, sameWindow) {
						t.Errorf("%s, %s:\nwindows %v\nclocks  %v", name, day.Format(time.DateOnly), got, want)
						bad++
					}
				}
				for year := 2026; year <= 2028; year++ { // and in one question
					a, b := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(year+1, 1, 1, 0, 0, 0, 0, time.UTC)
					ws, err := Windows(ob, a, b)
					if got, want := clipped(ws, a, b), f.between(in, a, b); err != nil || !slices.EqualFunc(got, want, sameWindow) {
						t.Errorf("%s, %d: %d windows, the clocks give %d (%v)", name, year, len(got), len(want), err)
					}
				}
			}
		})
	}
}

func sameWindow(a, b flex.Window) bool { return a.Start.Equal(b.Start) && a.End.Equal(b.End) }

// The clocks of the United Kingdom change at 01:00 UTC on the last Sundays of
// March and October (Summer Time Order 2002). Written by hand.
func TestClockChangesOf2026To2028(t *testing.T) {
	day := flex.Obligation{ID: "day", EndTime: hm(24, 0), BankHolidays: true}
	hour := flex.Obligation{ID: "hour", StartTime: hm(1, 0), EndTime: hm(2, 0), BankHolidays: true}
	night := flex.Obligation{ID: "night", StartTime: hm(22, 0), EndTime: hm(6, 0), BankHolidays: true}
	evening := flex.Obligation{ID: "evening", StartTime: hm(16, 0), EndTime: hm(20, 0), BankHolidays: true}
	for _, tc := range []struct {
		date string // local, of the change
		want map[flex.ObligationID]string
		eve  string // the night that begins the day before
	}{
		{"2026-03-29", map[flex.ObligationID]string{"day": "2026-03-29 00:00/2026-03-29 23:00", "hour": "", "evening": "2026-03-29 15:00/2026-03-29 19:00"}, "2026-03-28 22:00/2026-03-29 05:00"},
		{"2026-10-25", map[flex.ObligationID]string{"day": "2026-10-24 23:00/2026-10-26 00:00", "hour": "2026-10-25 00:00/2026-10-25 02:00", "evening": "2026-10-25 16:00/2026-10-25 20:00"}, "2026-10-24 21:00/2026-10-25 06:00"},
		{"2027-03-28", map[flex.ObligationID]string{"day": "2027-03-28 00:00/2027-03-28 23:00", "hour": "", "evening": "2027-03-28 15:00/2027-03-28 19:00"}, "2027-03-27 22:00/2027-03-28 05:00"},
		{"2027-10-31", map[flex.ObligationID]string{"day": "2027-10-30 23:00/2027-11-01 00:00", "hour": "2027-10-31 00:00/2027-10-31 02:00", "evening": "2027-10-31 16:00/2027-10-31 20:00"}, "2027-10-30 21:00/2027-10-31 06:00"},
		{"2028-03-26", map[flex.ObligationID]string{"day": "2028-03-26 00:00/2028-03-26 23:00", "hour": "", "evening": "2028-03-26 15:00/2028-03-26 19:00"}, "2028-03-25 22:00/2028-03-26 05:00"},
		{"2028-10-29", map[flex.ObligationID]string{"day": "2028-10-28 23:00/2028-10-30 00:00", "hour": "2028-10-29 00:00/2028-10-29 02:00", "evening": "2028-10-29 16:00/2028-10-29 20:00"}, "2028-10-28 21:00/2028-10-29 06:00"},
	} {
		on, err := time.Parse(time.DateOnly, tc.date)
		if err != nil {
			t.Fatal(err)
		}
		check := func(ob flex.Obligation, begins time.Time, want string) {
			ob.StartDate, ob.EndDate = begins.Format(time.DateOnly), begins.AddDate(0, 0, 1).Format(time.DateOnly)
			ws, err := Windows(ob, begins.AddDate(0, 0, -1), begins.AddDate(0, 0, 3))
			got := ""
			for _, w := range ws {
				got += w.Start.Format("2006-01-02 15:04") + "/" + w.End.Format("2006-01-02 15:04")
			}
			if err != nil || got != want {
				t.Errorf("%s %s: %q (%v), want %q", tc.date, ob.ID, got, err, want)
			}
		}
		for _, ob := range []flex.Obligation{day, hour, evening} {
			check(ob, on, tc.want[ob.ID])
		}
		check(night, on.AddDate(0, 0, -1), tc.eve)
	}
}
