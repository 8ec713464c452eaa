package dispatch

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestWhatOnlyMakesADutySmallerIsTakenWhateverIsDeclared(t *testing.T) {
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	hours := func(from, to float64) flex.Window {
		at := func(h float64) time.Time { return noon.Add(time.Duration(h * float64(time.Hour))) }
		return flex.Window{Start: at(from), End: at(to)}
	}
	share := func(asset flex.AssetID, w flex.Watts) flex.AssetShare { return flex.AssetShare{Asset: asset, Power: w} }
	old := &flex.Record{State: flex.Scheduled, Window: hours(0, 4), Shares: []flex.AssetShare{share("a", 5000)}}
	for _, tc := range []struct {
		name   string
		old    *flex.Record
		window flex.Window
		shares []flex.AssetShare
		want   bool
	}{
		{"less power", old, hours(0, 4), []flex.AssetShare{share("a", 3000)}, true},
		{"the same power, shorter", old, hours(1, 3), []flex.AssetShare{share("a", 5000)}, true},
		{"more power", old, hours(0, 4), []flex.AssetShare{share("a", 5001)}, false},
		{"longer", old, hours(0, 5), []flex.AssetShare{share("a", 3000)}, false},
		{"earlier", old, hours(-1, 4), []flex.AssetShare{share("a", 3000)}, false},
		{"the other direction", old, hours(0, 4), []flex.AssetShare{share("a", -3000)}, false},
		{"another asset", old, hours(0, 4), []flex.AssetShare{share("a", 1000), share("b", 1000)}, false},
		{"without an end", old, flex.Window{Start: noon}, []flex.AssetShare{share("a", 1000)}, false},
		{"a new instruction", nil, hours(0, 4), []flex.AssetShare{share("a", 3000)}, false},
		{"one that has ended", &flex.Record{State: flex.Completed, Window: hours(0, 4), Shares: old.Shares}, hours(0, 4), []flex.AssetShare{share("a", 3000)}, false},
	} {
		d := duty{terms: terms{window: tc.window, shares: tc.shares}}
		if got := d.reduces(tc.old); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// The same through admission: less is taken while the asset is declared away,
// more is not.
func TestAReductionIsAdmittedUnderADeclaration(t *testing.T) {
	gone := []flex.Unavailability{away("a", 0, 9*time.Hour)}
	for _, tc := range []struct{ asked, want flex.Watts }{{3000, 3000}, {6000, 5000}} {
		old := Admit(offer(nil), Context{Now: stampAt(noon)}).Records[0]
		v := Admit(offer(func(o *flex.Offer) {
			o.Instruction.Revision, o.Instruction.Capacity, o.Instruction.Content = 2, tc.asked, "c2"
		}), Context{Now: stampAt(noon), Away: gone, Existing: &old})
		if len(v.Records) != 1 || len(v.Records[0].Shares) != 1 || v.Records[0].Shares[0].Power != tc.want {
			t.Errorf("asked %v: %+v", tc.asked, v.Records)
		}
	}
}
