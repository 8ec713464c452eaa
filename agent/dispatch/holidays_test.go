package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// listed are the days of a region and year in the data, without those that
// were proclaimed once.
func listed(t *testing.T, region string, year int, once bool) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(holidays) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(parts) != 3 || parts[2] == "" {
			t.Fatalf("line %q is not a region, a date and a name", line)
		}
		day, err := time.Parse(time.DateOnly, parts[1])
		if err != nil || weekend(day) {
			t.Errorf("line %q is not a working day", line)
		}
		if name, ok := knownRegion(parts[0]); !ok || name == RegionNone {
			t.Errorf("line %q: the region is not known", line)
		}
		if !BankHoliday(parts[0], parts[1]) {
			t.Errorf("line %q is not found: is the list in order?", line)
		}
		if parts[0] == region && day.Year() == year && (once || !strings.HasSuffix(parts[2], "(once)")) {
			out = append(out, parts[1])
		}
	}
	slices.Sort(out)
	return out
}

func TestHolidayDataAgreesWithTheRules(t *testing.T) {
	for region, most := range map[string]int{RegionEnglandWales: 8, RegionScotland: 9, RegionNorthernIreland: 10} {
		for year := 2024; year <= 2028; year++ {
			have, want := listed(t, region, year, false), ruledHolidays(region, year)
			slices.Sort(want)
			if len(have) != most || !slices.Equal(have, want) {
				t.Errorf("%s %d: data %v, rules %v", region, year, have, want)
			}
		}
	}
}

func TestBankHolidays(t *testing.T) {
	for _, tc := range []struct {
		region, date string
		want         bool
		why          string
	}{
		{"", "2026-04-06", true, "Easter Monday; no region is England and Wales"},
		{RegionEnglandWales, "2026-08-31", true, "last Monday of August"},
		{RegionEnglandWales, "2026-12-26", false, "a Saturday: the substitute counts"},
		{RegionEnglandWales, "2026-12-28", true, "substitute for Boxing Day"},
		{RegionEnglandWales, "2028-01-03", true, "substitute for New Year's Day"},
		{RegionEnglandWales, "2028-01-04", false, "2 January is Scottish"},
		{RegionEnglandWales, "2026-06-15", false, "once, in Scotland"},
		{RegionScotland, "2026-06-15", true, "once, for the football World Cup"},
		{RegionScotland, "2026-01-02", true, "2nd January"},
		{RegionScotland, "2027-01-04", true, "substitute for 2nd January"},
		{RegionScotland, "2028-01-04", true, "2nd January after the substitute for the first"},
		{RegionScotland, "2026-04-06", false, "no Easter Monday"},
		{RegionScotland, "2026-08-03", true, "first Monday of August"},
		{RegionScotland, "2026-08-31", false, "not the last"},
		{RegionScotland, "2024-12-02", true, "substitute for St Andrew's Day"},
		{RegionNorthernIreland, "2024-03-18", true, "substitute for St Patrick's Day"},
		{RegionNorthernIreland, "2026-07-13", true, "substitute for the Battle of the Boyne"},
		{RegionNorthernIreland, "2026-07-12", false, "a Sunday"},
		{RegionNorthernIreland, "2026-04-06", true, "Easter Monday"},
		{RegionEnglandWales, "2033-12-27", true, "beyond the list: Boxing Day's substitute by the rules"},
		{RegionEnglandWales, "2033-12-26", true, "beyond the list: Christmas Day's or Boxing Day's own day"},
		{RegionEnglandWales, "2035-03-23", true, "beyond the list: Good Friday"},
		{RegionScotland, "2023-01-03", true, "before the list: substitute for New Year's Day"},
		{RegionScotland, "2029-12-25", true, "beyond the list"},
		{RegionNone, "2026-12-25", false, "no holidays at all"},
		{"atlantis", "2026-12-25", false, "an unknown region"},
		{"", "2026-12-25 Christmas", false, "not a date"},
		{"", "", false, "nothing"},
		{"", "26-12-2025", false, "not a date either"},
	} {
		if got := BankHoliday(tc.region, tc.date); got != tc.want {
			t.Errorf("%s %s is %v: %s", tc.region, tc.date, got, tc.why)
		}
	}
}

// Easter Sundays as printed in the Book of Common Prayer's table to find
// Easter, extremes included.
func TestEaster(t *testing.T) {
	for year, want := range map[int]string{1818: "03-22", 1943: "04-25", 1954: "04-18", 1981: "04-19", 2000: "04-23", 2008: "03-23", 2011: "04-24",
		2019: "04-21", 2024: "03-31", 2025: "04-20", 2026: "04-05", 2027: "03-28", 2028: "04-16", 2029: "04-01", 2030: "04-21", 2038: "04-25", 2049: "04-18", 2076: "04-19", 2100: "03-28"} {
		if got := easterSunday(year).Format(time.DateOnly); got != fmt.Sprintf("%d-%s", year, want) {
			t.Errorf("Easter %d is %s, want %s", year, got, want)
		}
	}
}

func FuzzBankHoliday(f *testing.F) {
	f.Add("", "2026-12-25")
	f.Add("scotland", "9999-11-30")
	f.Add("none", "\n")
	f.Add("northern-ireland", "0000-00-00")
	f.Add("england-and-wales", "-001-01-01")
	f.Fuzz(func(t *testing.T, region, date string) {
		day, err := time.Parse(time.DateOnly, date)
		if BankHoliday(region, date) && (err != nil || weekend(day)) {
			t.Errorf("%q of %q is no working day", date, region)
		}
	})
}
