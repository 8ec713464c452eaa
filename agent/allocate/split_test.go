package allocate

import (
	"math/rand/v2"
	"testing"

	"flexd/agent/flex"
)

func TestSplitIsExactAndTheSameEverywhere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := 1 + r.IntN(9)
		ws := make([]Weight, n)
		for i := range ws {
			ws[i] = Weight{Asset: flex.AssetID('a' + rune(i)), Capacity: flex.Watts(1 + r.Int64N(1_000_000))}
		}
		total := flex.Watts(r.Int64N(2_000_000) - 1_000_000)
		a, err := Split(total, ws)
		if err != nil {
			t.Fatal(err)
		}
		hash := Hash(ws)
		r.Shuffle(n, func(i, j int) { ws[i], ws[j] = ws[j], ws[i] })
		b, _ := Split(total, ws)
		var sum, odd flex.Watts
		for i, s := range a {
			if s != b[i] {
				t.Fatalf("order matters: %v and %v", a, b)
			}
			sum += s.Power
			if s.Power%Grain != 0 {
				odd++
			}
			if s.Power != 0 && (s.Power > 0) != (total > 0) {
				t.Fatalf("share %v of %v has the wrong sign", s, total)
			}
		}
		if sum != total || odd > 1 || Hash(ws) != hash {
			t.Fatalf("split of %v gives %v: sum %v, %d shares finer than a grain", total, a, sum, odd)
		}
	}
}

func TestSplitTable(t *testing.T) {
	for _, tc := range []struct {
		name  string
		total flex.Watts
		ws    []Weight
		want  []flex.Watts
	}{
		{"in proportion", 30_000, []Weight{{"a", 10_000}, {"b", 20_000}}, []flex.Watts{10_000, 20_000}},
		{"the largest remainder gets the grain", 100, []Weight{{"a", 1}, {"b", 1}, {"c", 1}}, []flex.Watts{40, 30, 30}},
		{"below a grain goes to the largest", 7, []Weight{{"a", 1}, {"b", 2}}, []flex.Watts{0, 7}},
		{"import keeps its sign", -20, []Weight{{"a", 1}, {"b", 1}}, []flex.Watts{-10, -10}},
		{"huge numbers do not overflow", flex.MaxPower, []Weight{{"a", flex.MaxPower}, {"b", flex.MaxPower}}, []flex.Watts{flex.MaxPower / 2, flex.MaxPower / 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Split(tc.total, tc.ws)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range got {
				if s.Power != tc.want[i] {
					t.Errorf("share of %s = %v, want %v", s.Asset, s.Power, tc.want[i])
				}
			}
		})
	}
	for _, bad := range [][]Weight{nil, {{"a", 0}}, {{"a", -1}}, {{"a", 1}, {"a", 1}}} {
		if got, err := Split(10, bad); err == nil {
			t.Errorf("Split over %v = %v, want an error", bad, got)
		}
	}
	if Hash([]Weight{{"a", 1}}) == Hash([]Weight{{"a", 2}}) {
		t.Error("other capacities must have another hash")
	}
}
