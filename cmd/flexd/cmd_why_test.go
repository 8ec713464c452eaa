package main

import (
	"testing"
	"time"
)

func TestInstantOf(t *testing.T) {
	now := time.Date(2026, 7, 2, 0, 30, 0, 0, time.UTC) // 01:30 in London
	for in, want := range map[string]string{
		"2026-03-01T17:30:05Z":      "2026-03-01T17:30:05Z",
		"2026-03-01T17:30:05+01:00": "2026-03-01T16:30:05Z",
		"01:15":                     "2026-07-02T00:15:00Z",
		"23:00:05":                  "2026-07-01T22:00:05Z",
		"01:31":                     "2026-07-01T00:31:00Z",
	} {
		got, err := instantOf(in, now, "Europe/London")
		if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s is %v (%v), want %s", in, got.UTC(), err, want)
		}
	}
	for _, in := range []string{"", "noon", "25:00", "2026-03-01"} {
		if got, err := instantOf(in, now, "Europe/London"); err == nil {
			t.Errorf("%q is %v", in, got)
		}
	}
	if _, err := instantOf("12:00", now, "Atlantis"); err == nil {
		t.Error("a zone that is not there")
	}
}
