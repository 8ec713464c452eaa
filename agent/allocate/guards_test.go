package allocate

import (
	"testing"

	"flexd/agent/flex"
)

func reads(power, battery flex.Watts, soc flex.Percent) *flex.Reading {
	return &flex.Reading{Power: &power, Battery: &battery, SoC: &soc}
}

// A battery that has reached its reserve does not begin again a moment later,
// and one that runs goes on to its reserve.
func TestAReserveIsLeftBeforeABatteryBeginsAgain(t *testing.T) {
	for _, tc := range []struct {
		name  string
		soc   flex.Percent
		holds flex.Watts
		want  flex.Watts
	}{
		{"at rest, half a percent above", 2050, 0, 0},
		{"at rest, a percent above", 2100, 0, 5000},
		{"running, half a percent above", 2050, 3000, 5000},
		{"running, at its reserve", 2000, 3000, 0},
	} {
		d := Device{ID: "bat", Role: flex.RoleStorage, ReserveSoC: 2000, Reading: reads(0, 0, tc.soc), Target: flex.Target{Order: flex.OrderSet, Power: tc.holds}}
		s := slot{dev: &d, lo: -5000, hi: 5000}
		s.roomByCharge()
		if s.hi != tc.want {
			t.Errorf("%s: up to %v, want %v", tc.name, s.hi, tc.want)
		}
	}
}

// What a hybrid's panels give is never less than nothing, whatever its losses.
func TestProductionIsNeverNegative(t *testing.T) {
	for battery, want := range map[flex.Watts]flex.Watts{1500: 0, 400: 600} {
		d := Device{Role: flex.RoleHybrid, Reading: reads(1000, battery, 5000)}
		if got := (&slot{dev: &d}).production(); got != want {
			t.Errorf("1 kW of which the battery gives %v: %v from the panels, want %v", battery, got, want)
		}
	}
}

// The smallest of the ratings counts, and a generator of unknown size is larger
// than any limit.
func TestTheSmallestRatingCounts(t *testing.T) {
	derated := flex.Watts(3000)
	for _, tc := range []struct {
		own, plate flex.Watts
		derated    *flex.Watts
		want       flex.Watts
	}{
		{10_000, 5000, nil, 5000}, {4000, 5000, nil, 4000}, {0, 5000, nil, 5000}, {10_000, 5000, &derated, 3000}, {0, 0, nil, 0},
	} {
		d := Device{Plate: flex.Nameplate{MaxPower: tc.plate}, Reading: &flex.Reading{MaxPower: tc.derated}}
		if got := rating(tc.own, &d); got != tc.want {
			t.Errorf("own %v, plate %v: %v, want %v", tc.own, tc.plate, got, tc.want)
		}
	}
	if got := pvRating(&Device{}); got != flex.MaxPower {
		t.Errorf("a generator of unknown size counts as %v", got)
	}
}

// A cap above what a generator gives adds nothing to the exchange.
func TestACapAddsNothing(t *testing.T) {
	gives := flex.Watts(2000)
	for cap, want := range map[flex.Watts]flex.Watts{5000: 1000, 2000: 1000, 500: -500} {
		w := work{slots: []slot{{dev: &Device{Role: flex.RolePV}, wanted: true, capped: true, cap: cap, measured: &gives}}}
		if got, known := w.byMeter(1000, true); !known || got != want {
			t.Errorf("capped at %v: the meter would show %v, want %v", cap, got, want)
		}
	}
}

// Shares come back by asset, in whatever order capacities were named.
func TestSharesAreOrderedByAsset(t *testing.T) {
	got, err := Split(3000, []Weight{{"c", 1000}, {"a", 3000}, {"b", 2000}})
	if err != nil || len(got) != 3 || got[0].Asset != "a" || got[1].Asset != "b" || got[2].Asset != "c" || got[0].Power != 1500 {
		t.Errorf("%v, %v", got, err)
	}
}
