package sim

import "testing"

// Lengths and offsets as published, noted by hand from the model documents:
// the tables above are checked against them, not against themselves.
func TestTablesHaveThePublishedShape(t *testing.T) {
	lengths := map[int]int{1: 66, 101: 50, 102: 50, 103: 50, 120: 26, 121: 30, 122: 44, 123: 24, 124: 24,
		201: 105, 203: 105, 701: 153, 702: 50, 704: 65, 713: 7, 64900: 9}
	for id, want := range lengths {
		if m := must(tableOf(id))(t); m.length != want {
			t.Errorf("model %d has %d registers, want %d", id, m.length, want)
		}
	}
	offsets := []struct {
		model  int
		name   string
		offset int
	}{
		{1, "Mn", 2}, {1, "Md", 18}, {1, "SN", 50}, {1, "DA", 66},
		{103, "W", 14}, {103, "W_SF", 15}, {103, "WH", 24}, {103, "St", 38}, {103, "Evt1", 40},
		{120, "DERTyp", 2}, {120, "WRtg", 3}, {120, "MaxChaRte", 23}, {120, "MaxDisChaRte", 25},
		{121, "WMax", 2}, {121, "WMax_SF", 22},
		{122, "StActCtl", 35}, {122, "Tms", 41},
		{123, "Conn", 4}, {123, "WMaxLimPct", 5}, {123, "WMaxLimPct_RvrtTms", 7}, {123, "WMaxLim_Ena", 9}, {123, "WMaxLimPct_SF", 23},
		{124, "WChaMax", 2}, {124, "StorCtl_Mod", 5}, {124, "ChaState", 8}, {124, "OutWRte", 12}, {124, "InWRte", 13},
		{124, "InOutWRte_RvrtTms", 15}, {124, "ChaGriSet", 17}, {124, "InOutWRte_SF", 25},
		{203, "W", 18}, {203, "W_SF", 22}, {203, "TotWhExp", 38}, {203, "TotWhImp", 46}, {203, "Evt", 105},
		{701, "W", 10}, {701, "TotWhInj", 19}, {701, "ThrotSrc", 111}, {701, "W_SF", 116},
		{702, "WMaxRtg", 2}, {702, "CtrlModes", 23}, {702, "WMax", 26}, {702, "W_SF", 45},
		{704, "WMaxLimPctEna", 14}, {704, "WMaxLimPctRvrtTms", 18}, {704, "WMaxLimPctRvrtRem", 20},
		{704, "WSetEna", 22}, {704, "WSet", 24}, {704, "WSetEnaRvrt", 30}, {704, "WSetRvrtTms", 31}, {704, "WSetRvrtRem", 33},
		{704, "WMaxLimPct_SF", 54}, {704, "WSet_SF", 55}, {713, "SoC", 4}, {713, "Pct_SF", 8},
	}
	for _, want := range offsets {
		m := must(tableOf(want.model))(t)
		found := false
		for _, p := range m.points {
			if p.name == want.name {
				found = true
				if p.offset != want.offset {
					t.Errorf("%d.%s at %d, want %d", want.model, want.name, p.offset, want.offset)
				}
			}
		}
		if !found {
			t.Errorf("%d.%s is missing", want.model, want.name)
		}
	}
}

// The usual chain puts these points at wire addresses every installer knows.
func TestUsualChainHasTheUsualAddresses(t *testing.T) {
	p := NewPlant(Config{})
	defer p.Close()
	b := must(p.AddBattery(Battery{Rated: 5000, Capacity: 10_000}))(t)
	for _, want := range []struct {
		model int
		name  string
		addr  uint16
	}{{123, "WMaxLimPct", 40233}, {123, "WMaxLim_Ena", 40237}, {124, "StorCtl_Mod", 40259}, {124, "OutWRte", 40266}} {
		if addr, _, ok := b.Point(want.model, want.name); !ok || addr != want.addr {
			t.Errorf("%d.%s at %d, want %d", want.model, want.name, addr, want.addr)
		}
	}
	if addr, words := b.Registers(); int(addr)+len(words) != 40282 || words[len(words)-2] != 0xFFFF {
		t.Errorf("the chain ends at %d", int(addr)+len(words)-2)
	}
}

func TestTablesRefuseNonsense(t *testing.T) {
	for _, text := range []string{"A", "A:", "A:u8", "A:s0", "A:s33", "A:s-1"} {
		if _, err := parseTable(9, text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	if _, err := tableOf(999); err == nil {
		t.Error("model 999 was found")
	}
}
