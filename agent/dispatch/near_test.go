package dispatch

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestNear(t *testing.T) {
	evening := flex.Obligation{ID: "e", StartTime: hm(16, 0), EndTime: hm(20, 0), BankHolidays: true, Zone: "Europe/London"}
	morning := flex.Obligation{ID: "m", StartTime: hm(6, 0), EndTime: hm(7, 0), BankHolidays: true, Zone: "Europe/London"}
	follow := flex.Obligation{ID: "f", StartTime: hm(20, 0), EndTime: hm(21, 0), BankHolidays: true, Zone: "Europe/London"}
	always := flex.Obligation{ID: "a", EndTime: hm(24, 0), BankHolidays: true, Zone: "Europe/London"}
	monthly := evening
	monthly.StartDate, monthly.EndDate = "2026-02-02", "2026-02-03"
	far := evening
	far.StartDate = "2027-01-01"
	gone := evening
	gone.GoneAt = utc("2026-01-01 00:00")
	broken := evening
	broken.Zone = "Mars/Olympus"
	const lead = 15 * time.Minute
	for _, tc := range []struct {
		name    string
		obs     []flex.Obligation
		now     string
		near    bool
		changes string
	}{
		{"long before", []flex.Obligation{evening}, "2026-01-15 09:00", false, "2026-01-15 15:45"},
		{"at the lead", []flex.Obligation{evening}, "2026-01-15 15:45", true, "2026-01-15 20:00"},
		{"at the end it is over", []flex.Obligation{evening}, "2026-01-15 20:00", false, "2026-01-16 15:45"},
		{"the next of several", []flex.Obligation{evening, morning}, "2026-01-15 21:00", false, "2026-01-16 05:45"},
		{"touching ones are one", []flex.Obligation{follow, evening}, "2026-01-15 17:00", true, "2026-01-15 21:00"},
		{"a day of 23 hours", []flex.Obligation{evening}, "2026-03-28 20:00", false, "2026-03-29 14:45"},
		{"weeks ahead", []flex.Obligation{monthly}, "2026-01-15 09:00", false, "2026-02-02 15:45"},
		{"too far ahead to tell", []flex.Obligation{far}, "2026-01-15 09:00", false, ""},
		{"always", []flex.Obligation{always}, "2026-01-15 09:00", true, ""},
		{"gone", []flex.Obligation{gone}, "2026-01-15 17:00", false, ""},
		{"what cannot be read is left out", []flex.Obligation{broken, evening}, "2026-01-15 17:00", true, "2026-01-15 20:00"},
		{"none", nil, "2026-01-15 17:00", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			near, changes := Near(tc.obs, utc(tc.now), lead)
			text := ""
			if !changes.IsZero() {
				text = changes.UTC().Format("2006-01-02 15:04")
			}
			if near != tc.near || text != tc.changes {
				t.Errorf("near %v until %q, want %v until %q", near, text, tc.near, tc.changes)
			}
		})
	}
}

// TestNearChangesWhenItSays walks a year of changes and looks on both sides.
func TestNearChangesWhenItSays(t *testing.T) {
	var obs []flex.Obligation
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range 6 {
		start := time.Duration(rng.IntN(24)) * time.Hour
		obs = append(obs, flex.Obligation{ID: flex.ObligationID(fmt.Sprint(i)), StartTime: start, EndTime: (start + hm(1+rng.IntN(3), 30)) % hm(24, 0),
			Days: []time.Weekday{time.Weekday(rng.IntN(7)), time.Weekday(rng.IntN(7))}, Zone: "Europe/London"})
	}
	now := utc("2026-01-01 00:00")
	for range 400 {
		near, at := Near(obs, now, time.Hour)
		if at.IsZero() || !at.After(now) {
			t.Fatalf("no change after %v: %v", now, at)
		}
		before, _ := Near(obs, at.Add(-time.Second), time.Hour)
		after, _ := Near(obs, at, time.Hour)
		if before != near || after == near {
			t.Fatalf("at %v: %v before, %v after, said %v", at, before, after, near)
		}
		now = at
	}
}

func TestNextWindow(t *testing.T) {
	ob := flex.Obligation{ID: "e", StartTime: hm(16, 0), EndTime: hm(20, 0), BankHolidays: true, Days: []time.Weekday{time.Thursday}}
	for now, want := range map[string]string{"2026-01-15 17:00": "2026-01-15 16:00", "2026-01-15 20:00": "2026-01-22 16:00", "2026-01-16 00:00": "2026-01-22 16:00"} {
		if w, ok := NextWindow(ob, utc(now)); !ok || w.Start.Format("2006-01-02 15:04") != want {
			t.Errorf("after %s: %v %v, want %s", now, w, ok, want)
		}
	}
	ob.EndDate = "2026-01-01"
	if w, ok := NextWindow(ob, utc("2026-01-16 00:00")); ok {
		t.Errorf("a contract that is over has %v", w)
	}
}

func BenchmarkNear(b *testing.B) {
	var obs []flex.Obligation
	for i := range 500 {
		obs = append(obs, flex.Obligation{ID: flex.ObligationID(fmt.Sprint(i)), StartTime: hm(i%24, 0), EndTime: hm((i+3)%24, 0), Zone: "Europe/London"})
	}
	now := utc("2026-01-15 09:00")
	for b.Loop() {
		Near(obs, now, time.Hour)
	}
}
