package sunspec

import (
	"slices"
	"testing"
)

// of is a block of a model with some of its points set.
func of(model uint16, set map[string]uint16) block {
	size := 0
	for _, p := range layout(model) {
		size = max(size, p.off+p.size)
	}
	b := block{model: model, addr: 40_000, words: make([]uint16, size)}
	for name, v := range set {
		if p, ok := b.point(name); ok {
			b = b.with(p.off, v)
		}
	}
	return b
}

// What is to be out of force is so before its values go back, and what is to be
// in force again is so after.
func TestTheOrderOfARestore(t *testing.T) {
	c, _ := controlOf(limit123)
	old := of(123, map[string]uint16{"WMaxLimPct": 80})
	ours := of(123, map[string]uint16{"WMaxLimPct": 30, "WMaxLimPct_RvrtTms": 60})
	for _, tc := range []struct {
		name     string
		ena, was int64
		want     []string
	}{
		{"ours is in force, nothing was found so", 1, 0, []string{"enable", "values"}},
		{"the device fell back, an order was found", 0, 1, []string{"values", "enable"}},
		{"in force, and found so", 1, 1, []string{"values"}},
	} {
		h, err := c.restore(claim{cur: ours, old: old, ours: ours, has: true}, tc.ena, tc.was)
		if err != nil {
			t.Fatal(err)
		}
		enable, _ := ours.point(c.enable)
		var got []string
		for _, r := range h.writes {
			kind := "values"
			if r.Addr == ours.addr+uint16(enable.off) && len(r.Words) == 1 {
				kind = "enable"
			}
			got = append(got, kind)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: wrote %v, want %v", tc.name, got, tc.want)
		}
	}
}

// A cap with no time to fall back after is not one of ours.
func TestACapWithoutATimerIsNotOurs(t *testing.T) {
	c, _ := controlOf(limit123)
	old := of(123, nil)
	for timer, want := range map[uint16]bool{0: false, 60: true} {
		cur := of(123, map[string]uint16{"WMaxLimPct": 30, "WMaxLimPct_RvrtTms": timer, "WMaxLim_Ena": 1})
		if got := c.mine(claim{cur: cur, old: old}, true); got != want {
			t.Errorf("falls back after %d s: ours %v", timer, got)
		}
	}
}

// Leave to charge from the grid is taken back where it was ours to give, and
// taking it back is proven.
func TestTheGridsConsentGoesBack(t *testing.T) {
	c, _ := controlOf(rates)
	with := func(v uint16) block { return of(124, map[string]uint16{"ChaGriSet": v}) }
	for _, tc := range []struct {
		name           string
		cur, old, ours uint16
		writes         int
	}{
		{"ours", 1, 0, 1, 1}, {"others'", 1, 0, 0, 0}, {"as it was found", 0, 0, 1, 0},
	} {
		h, err := c.withdrawConsent(claim{cur: with(tc.cur), old: with(tc.old), ours: with(tc.ours), has: true})
		if err != nil || len(h.writes) != tc.writes {
			t.Errorf("%s: %d writes, %v", tc.name, len(h.writes), err)
		}
	}
	h, err := c.restore(claim{cur: with(1), old: with(0), ours: with(1), has: true}, 0, 0)
	if err != nil || !slices.Contains(h.expects, expect{124, "ChaGriSet", 0, true}) {
		t.Errorf("a restore proves %v, %v", h.expects, err)
	}
}
