package meter

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

// BenchmarkTenOfTen is what an admission waits for: sixty days, and thousands
// of dispatches ahead.
func BenchmarkTenOfTen(b *testing.B) {
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		b.Fatal(err)
	}
	start := time.Date(2026, 11, 18, 17, 0, 0, 0, time.UTC)
	rule := &Rule{Method: flex.MethodTenOfTen, Step: halfHour, Days: 10, RestDays: 4, Lookback: 60, Adjust: 2000, Holiday: func(string) bool { return false }}
	clock := &wall{now: start, trust: flex.ClockSynced}
	m := New(Config{Assets: []Asset{{ID: "a", Meter: "grid", Rule: rule}}, Shelf: &shelf{}, Wall: clock, Zone: zone, Health: alarms{}})
	for at := start.AddDate(0, 0, -61); at.Before(start); at = at.Add(15 * time.Minute) {
		m.assets[0].days = append(m.assets[0].days, flex.Interval{Start: at, Step: 15 * time.Minute, Energy: 900, Seen: 15 * time.Minute, Quality: flex.QualityPower})
	}
	for n := range 5000 {
		from := start.Add(time.Duration(n) * time.Hour)
		m.Note(flex.Changes{Records: []flex.Record{{ID: flex.InstructionID(from.String()), State: flex.Scheduled, Window: flex.Window{Start: from, End: from.Add(time.Hour)},
			Shares: []flex.AssetShare{{Asset: "a", Power: 1}}}}})
	}
	w := flex.Window{Start: start.Add(time.Minute), End: start.Add(4 * time.Hour)}
	for b.Loop() {
		if _, err := m.Try(b.Context(), "a", w, start); err != nil {
			b.Fatal(err)
		}
	}
}
