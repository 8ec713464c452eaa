package main

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestATypedTimeIsTheSites(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"2026-07-01 16:00":     "2026-07-01T15:00:00Z",
		"2026-12-24T16:00":     "2026-12-24T16:00:00Z",
		"2026-10-25 01:30":     "comes twice",
		"2026-03-29 01:30":     "does not exist in Europe/London",
		"2026-10-25 02:00":     "2026-10-25T02:00:00Z",
		"24 December 16:00":    "is not a time",
		"2026-12-24 16:00 GMT": "is not a time",
	} {
		got, err := localInstant("--from", in, london)
		switch {
		case err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want %s", in, err, want)
		case err == nil && got.UTC().Format(time.RFC3339) != want:
			t.Errorf("%s is %s, want %s", in, got.UTC().Format(time.RFC3339), want)
		}
	}
}

func TestAWindowIsShownInItsZone(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 7, 1, 16, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		w    flex.Window
		want string
	}{
		{flex.Window{Start: at.In(london), End: at.Add(time.Hour).In(london)}, "2026-07-01 17:00:00 to 18:00:00 BST"},
		{flex.Window{Start: at, End: at.Add(time.Hour)}, "2026-07-01 16:00:00 to 17:00:00 UTC"},
		{flex.Window{Start: at.In(london), End: at.Add(9 * time.Hour).In(london)}, "2026-07-01 17:00:00 BST to 2026-07-02 02:00:00 BST"},
		{flex.Window{Start: at.In(london)}, "2026-07-01 17:00:00 BST until stopped"},
	} {
		if got := during(tc.w); got != tc.want {
			t.Errorf("%s, want %s", got, tc.want)
		}
	}
}
