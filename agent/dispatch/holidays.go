package dispatch

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Regions that have bank holidays of their own, in the words of
// gov.uk/bank-holidays; RegionNone has none at all.
const (
	RegionEnglandWales    = "england-and-wales" // also what "" means
	RegionScotland        = "scotland"
	RegionNorthernIreland = "northern-ireland"
	RegionNone            = "none"
)

// holidays lists one day a line: "scotland 2026-11-30 St Andrew's Day".
//
//go:embed holidays.txt
var holidays string

// knownRegion gives the region's full name.
func knownRegion(region string) (string, bool) {
	switch region {
	case "":
		return RegionEnglandWales, true
	case RegionEnglandWales, RegionScotland, RegionNorthernIreland, RegionNone:
		return region, true
	}
	return region, false
}

// BankHoliday tells whether the local date (YYYY-MM-DD) is a bank holiday of
// the region; "" is England and Wales, and an unknown region has none. Years
// that the list does not hold follow the rules, so that the calendar never
// ends in silence; what is proclaimed for one day only is not known for them.
func BankHoliday(region, date string) bool {
	day, err := time.Parse(time.DateOnly, date)
	return err == nil && slices.Contains(holidaysOf(region, day.Year()), date)
}

// holidaysOf are the bank holidays of one year, as YYYY-MM-DD.
func holidaysOf(region string, year int) []string {
	region, ok := knownRegion(region)
	if !ok || region == RegionNone {
		return nil
	}
	prefix := fmt.Sprintf("%s %04d-", region, year)
	at := strings.Index(holidays, "\n"+prefix)
	if at < 0 {
		return ruledHolidays(region, year)
	}
	var out []string
	for line := range strings.Lines(holidays[at+1:]) {
		if !strings.HasPrefix(line, prefix) {
			break // the list is ordered by region and date
		}
		_, rest, _ := strings.Cut(line, " ")
		date, _, _ := strings.Cut(rest, " ")
		out = append(out, date)
	}
	return out
}

// ruledHolidays are the days of one year by the standing rules: the Banking
// and Financial Dealings Act 1971, schedule 1; the St Andrew's Day Bank
// Holiday (Scotland) Act 2007; and the customary royal proclamations.
func ruledHolidays(region string, year int) []string {
	var fixed, moving []time.Time
	on := func(m time.Month, d int) time.Time { return time.Date(year, m, d, 0, 0, 0, 0, time.UTC) }
	fixed = append(fixed, on(time.January, 1))
	easter := easterSunday(year)
	moving = append(moving, easter.AddDate(0, 0, -2), mondayFrom(on(time.May, 1)), mondayFrom(on(time.May, 25)))
	switch region {
	case RegionScotland:
		fixed = append(fixed, on(time.January, 2), on(time.November, 30))
		moving = append(moving, mondayFrom(on(time.August, 1)))
	case RegionNorthernIreland:
		fixed = append(fixed, on(time.March, 17), on(time.July, 12))
		fallthrough
	default:
		moving = append(moving, easter.AddDate(0, 0, 1), mondayFrom(on(time.August, 25)))
	}
	fixed = append(fixed, on(time.December, 25), on(time.December, 26))
	out := make([]string, 0, len(fixed)+len(moving))
	for _, d := range moving {
		out = append(out, d.Format(time.DateOnly))
	}
	return append(out, substituted(fixed)...)
}

// substituted moves days that fall on a weekend to the next day that is
// neither a weekend nor another holiday. days are ordered; one that falls on
// a working day keeps it.
func substituted(days []time.Time) []string {
	var out []string
	for _, d := range days {
		if !weekend(d) {
			out = append(out, d.Format(time.DateOnly))
		}
	}
	for _, d := range days {
		if !weekend(d) {
			continue
		}
		for weekend(d) || slices.Contains(out, d.Format(time.DateOnly)) {
			d = d.AddDate(0, 0, 1)
		}
		out = append(out, d.Format(time.DateOnly))
	}
	return out
}

func weekend(d time.Time) bool { return d.Weekday() == time.Saturday || d.Weekday() == time.Sunday }

// mondayFrom is the first Monday at or after the day.
func mondayFrom(d time.Time) time.Time {
	return d.AddDate(0, 0, int(time.Monday+7-d.Weekday())%7)
}

// easterSunday by the Gregorian computus (Meeus, Jones, Butcher).
func easterSunday(year int) time.Time {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 19*l) / 433
	month := (h + l - 7*m + 90) / 25
	day := (h + l - 7*m + 33*month + 19) % 32
	return time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
}
