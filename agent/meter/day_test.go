package meter

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

func zoneOf(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// Local days join without a gap, and those on which the clocks change have two
// half-hours less or more.
func TestLocalDays(t *testing.T) {
	london := zoneOf(t, "Europe/London")
	short := map[string]bool{"2026-03-29": true, "2027-03-28": true, "2028-03-26": true}
	long := map[string]bool{"2026-10-25": true, "2027-10-31": true, "2028-10-29": true}
	end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for day := end; day.Year() < 2029; day = day.AddDate(0, 0, 1) {
		want, name := 48, day.Format(time.DateOnly)
		if short[name] {
			want = 46
		} else if long[name] {
			want = 50
		}
		w := Day(day, london)
		if got := int(w.Duration() / (30 * time.Minute)); got != want || !w.Start.Equal(end) || w.Start.In(london).Format("2006-01-02 15:04") != name+" 00:00" {
			t.Errorf("%s: %d half-hours from %v", name, got, w.Start)
		}
		end = w.End
	}
}

func TestWhatTheClocksShow(t *testing.T) {
	for _, c := range []struct {
		zone, day string
		since     time.Duration
		want      string
		shown     bool
	}{
		{"Europe/London", "2026-10-25", 90 * time.Minute, "2026-10-25T00:30:00Z", true}, // twice: the first
		{"Europe/London", "2026-10-25", 2 * time.Hour, "2026-10-25T02:00:00Z", true},
		{"Europe/London", "2026-03-29", 90 * time.Minute, "2026-03-29T01:00:00Z", false}, // never
		{"Europe/London", "2026-07-01", 0, "2026-06-30T23:00:00Z", true},
		{"Australia/Lord_Howe", "2026-04-05", 105 * time.Minute, "2026-04-04T14:45:00Z", true}, // by half an hour
		{"America/New_York", "2026-11-01", time.Hour, "2026-11-01T05:00:00Z", true},
		{"Asia/Beirut", "2026-03-29", 0, "2026-03-28T22:00:00Z", false}, // midnight is skipped
		{"Asia/Kathmandu", "2026-11-02", time.Hour, "2026-11-01T19:15:00Z", true},
	} {
		day, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			t.Fatal(err)
		}
		if got, shown := clockAt(day, c.since, zoneOf(t, c.zone)); got.Format(time.RFC3339) != c.want || shown != c.shown {
			t.Errorf("%s %s %v: %s %v, want %s %v", c.zone, c.day, c.since, got.Format(time.RFC3339), shown, c.want, c.shown)
		}
	}
}

func TestHalfHoursNeedBothQuarters(t *testing.T) {
	q := func(minutes int, energy int64, quality flex.Quality) flex.Interval {
		return flex.Interval{Start: t0.Add(time.Duration(minutes) * time.Minute), Step: 15 * time.Minute, Energy: energy, Seen: 10 * time.Minute, Quality: quality}
	}
	got := Joined([]flex.Interval{q(15, 1, flex.QualityPower), q(30, 2, flex.QualityPower), q(45, 3, flex.QualityEstimated), q(75, 4, flex.QualityPower), q(90, 5, flex.QualityPower)}, 30*time.Minute)
	if len(got) != 1 || got[0].Energy != 5 || got[0].Seen != 20*time.Minute || got[0].Quality != flex.QualityEstimated || !got[0].Start.Equal(t0.Add(30*time.Minute)) {
		t.Errorf("%+v", got)
	}
}
