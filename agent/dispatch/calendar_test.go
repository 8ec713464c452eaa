package dispatch

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func hm(h, m int) time.Duration { return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute }

func utc(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		return time.Time{}
	}
	return t
}

func TestWindows(t *testing.T) {
	weekdays := []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday}
	base := flex.Obligation{ID: "o", StartDate: "2025-01-01", EndDate: "2029-01-01", Zone: "Europe/London", BankHolidays: true}
	with := func(start, end time.Duration, change func(*flex.Obligation)) flex.Obligation {
		ob := base
		ob.StartTime, ob.EndTime = start, end
		if change != nil {
			change(&ob)
		}
		return ob
	}
	for _, tc := range []struct {
		name string
		ob   flex.Obligation
		from string
		to   string
		want string // UTC, "start/end start/end"
	}{
		{"winter is UTC", with(hm(16, 0), hm(20, 0), nil), "2026-01-15 00:00", "2026-01-16 00:00", "2026-01-15 16:00/2026-01-15 20:00"},
		{"summer is an hour ahead", with(hm(16, 0), hm(20, 0), nil), "2026-07-15 00:00", "2026-07-16 00:00", "2026-07-15 15:00/2026-07-15 19:00"},
		{"a day of 23 hours", with(0, hm(23, 59), func(o *flex.Obligation) { o.StartDate, o.EndDate = "2026-03-29", "2026-03-30" }), "2026-03-28 12:00", "2026-03-31 00:00", "2026-03-29 00:00/2026-03-29 23:00"},
		{"a day of 25 hours", with(0, hm(24, 0), func(o *flex.Obligation) { o.StartDate, o.EndDate = "2026-10-25", "2026-10-26" }), "2026-10-24 12:00", "2026-10-27 00:00", "2026-10-24 23:00/2026-10-26 00:00"},
		{"the hour that comes twice is two hours", with(hm(1, 0), hm(2, 0), nil), "2026-10-25 00:00", "2026-10-25 12:00", "2026-10-25 00:00/2026-10-25 02:00"},
		{"the hour that is skipped is none", with(hm(1, 0), hm(2, 0), nil), "2026-03-29 00:00", "2026-03-29 12:00", ""},
		{"a start in the skipped hour waits for the jump", with(hm(1, 30), hm(3, 0), nil), "2026-03-29 00:00", "2026-03-29 12:00", "2026-03-29 01:00/2026-03-29 02:00"},
		{"overnight over the change", with(hm(22, 0), hm(6, 0), nil), "2026-10-24 22:00", "2026-10-25 12:00", "2026-10-24 21:00/2026-10-25 06:00"},
		{"overnight belongs to its first day", with(hm(22, 0), hm(2, 0), func(o *flex.Obligation) { o.Days = []time.Weekday{time.Friday} }), "2026-01-15 00:00", "2026-01-20 00:00", "2026-01-16 22:00/2026-01-17 02:00"},
		{"the end date is exclusive", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.EndDate = "2026-01-16" }), "2026-01-14 12:00", "2026-01-18 00:00", "2026-01-15 09:00/2026-01-15 10:00"},
		{"the last night reaches beyond it", with(hm(22, 0), hm(2, 0), func(o *flex.Obligation) { o.EndDate = "2026-01-16" }), "2026-01-15 12:00", "2026-01-18 00:00", "2026-01-15 22:00/2026-01-16 02:00"},
		{"23:59:59 is midnight, and touching windows join", with(hm(20, 0), hm(23, 59)+59*time.Second, func(o *flex.Obligation) { o.StartTime = 0 }), "2026-01-14 12:00", "2026-01-14 13:00", "2026-01-12 00:00/2026-01-17 00:00"},
		{"service days", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.Days = weekdays }), "2026-01-16 00:00", "2026-01-20 00:00", "2026-01-16 09:00/2026-01-16 10:00 2026-01-19 09:00/2026-01-19 10:00"},
		{"bank holidays out", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.BankHolidays = false }), "2026-12-25 00:00", "2026-12-27 00:00", "2026-12-26 09:00/2026-12-26 10:00"},
		{"the substitute day counts", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.BankHolidays, o.Days = false, weekdays }), "2026-12-28 00:00", "2026-12-29 12:00", "2026-12-29 09:00/2026-12-29 10:00"},
		{"Scotland's own day is out", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.BankHolidays, o.Region = false, RegionScotland }), "2026-11-30 00:00", "2026-12-01 12:00", "2026-12-01 09:00/2026-12-01 10:00"},
		{"and is a working day elsewhere", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.BankHolidays = false }), "2026-11-30 00:00", "2026-12-01 00:00", "2026-11-30 09:00/2026-11-30 10:00"},
		{"Northern Ireland's substitute day is out", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.BankHolidays, o.Region = false, RegionNorthernIreland }), "2026-07-13 00:00", "2026-07-14 12:00", "2026-07-14 08:00/2026-07-14 09:00"},
		{"no region's holidays", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.BankHolidays, o.Region = false, RegionNone }), "2026-12-25 00:00", "2026-12-26 00:00", "2026-12-25 09:00/2026-12-25 10:00"},
		{"a night counts by the day it begins on", with(hm(22, 0), hm(6, 0), func(o *flex.Obligation) { o.BankHolidays = false }), "2026-12-24 12:00", "2026-12-27 12:00", "2026-12-24 22:00/2026-12-25 06:00 2026-12-26 22:00/2026-12-27 06:00"},
		{"a holiday beyond the list is out", with(hm(9, 0), hm(10, 0), func(o *flex.Obligation) { o.BankHolidays, o.EndDate = false, "" }), "2035-12-25 00:00", "2035-12-28 00:00", "2035-12-27 09:00/2035-12-27 10:00"},
		{"bank holidays in", with(hm(9, 0), hm(10, 0), nil), "2026-12-25 00:00", "2026-12-26 00:00", "2026-12-25 09:00/2026-12-25 10:00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ws, err := Windows(tc.ob, utc(tc.from), utc(tc.to))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range ws {
				got = append(got, w.Start.Format("2006-01-02 15:04")+"/"+w.End.Format("2006-01-02 15:04"))
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("windows %q, want %q", s, tc.want)
			}
		})
	}
}

func TestWindowsRefuseWhatTheyCannotRead(t *testing.T) {
	for _, ob := range []flex.Obligation{
		{Zone: "Mars/Olympus", EndTime: hm(1, 0)},
		{StartDate: "01/02/2026", EndTime: hm(1, 0)},
		{EndDate: "soon", EndTime: hm(1, 0)},
		{StartTime: hm(25, 0), EndTime: hm(1, 0)},
		{EndTime: -time.Second},
		{EndTime: hm(1, 0), Region: "Schottland"},
	} {
		if ws, err := Windows(ob, utc("2026-01-01 00:00"), utc("2026-01-02 00:00")); err == nil {
			t.Errorf("%+v gives %v, want an error", ob, ws)
		}
	}
}

// FuzzWindows: whatever a market lists, the windows are in order, apart and
// within the question's days.
func FuzzWindows(f *testing.F) {
	f.Add("Europe/London", "", "2026-01-01", "2027-01-01", int64(hm(16, 0)), int64(hm(20, 0)), int64(1774742400), false)
	f.Add("America/New_York", "scotland", "2026-03-08", "", int64(hm(2, 0)), int64(hm(2, 30)), int64(1772928000), true)
	f.Add("Australia/Lord_Howe", "none", "2026-99-99", "2026-01-01", int64(0), int64(0), int64(0), false)
	f.Add("Africa/Cairo", "northern-ireland", "", "", int64(hm(23, 59)), int64(hm(24, 0)), int64(-62135596800), false)
	f.Fuzz(func(t *testing.T, zone, region, first, last string, start, end, at int64, holidaysToo bool) {
		ob := flex.Obligation{Zone: zone, Region: region, StartDate: first, EndDate: last, StartTime: time.Duration(start), EndTime: time.Duration(end), BankHolidays: holidaysToo}
		from := time.Unix(at%(1<<40), 0)
		to := from.Add(50 * time.Hour)
		ws, err := Windows(ob, from, to)
		if err != nil {
			return
		}
		for i, w := range ws {
			if !w.End.After(w.Start) || i > 0 && !w.Start.After(ws[i-1].End) || !w.Overlaps(flex.Window{Start: from, End: to}) {
				t.Errorf("windows %v of %+v", ws, ob)
			}
		}
	})
}
