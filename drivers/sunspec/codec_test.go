package sunspec

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"flexd/agent/flex"
)

// absent spells "not implemented" for a kind.
func absent(k kind, size int) []uint16 {
	w := make([]uint16, size)
	switch k {
	case u16, u32, u64:
		for i := range w {
			w[i] = 0xFFFF
		}
	case i16, sf, i32:
		w[0] = 0x8000
	case f32:
		w[0] = 0x7FC0
	case acc32, acc64, str:
	}
	return w
}

// blockOf is a model with every point not implemented.
func blockOf(id uint16) block {
	m := Model{ID: id, Len: 200}
	b := block{model: id, addr: 100, words: make([]uint16, m.size())}
	b.words[0], b.words[1] = id, m.Len
	for _, p := range layout(id) {
		if p.off+p.size <= len(b.words) {
			copy(b.words[p.off:], absent(p.kind, p.size))
		}
	}
	return b
}

func (b block) with(off int, words ...uint16) block {
	copy(b.words[off:], words)
	return b
}

var known = []uint16{1, 101, 102, 103, 111, 112, 113, 120, 121, 122, 123, 124, 160, 201, 202, 203, 204, 211, 212, 213, 214, 701, 702, 703, 704, 713, 714, 802}

func TestNothingIsReadFromAnImageWithNothingImplemented(t *testing.T) {
	for _, id := range known {
		b := blockOf(id)
		for _, p := range layout(id) {
			if v, ok := b.num(p.name); ok {
				t.Errorf("%d.%s = %g", id, p.name, v)
			}
			if s := b.text(p.name); s != "" {
				t.Errorf("%d.%s = %q", id, p.name, s)
			}
		}
	}
}

// The lengths are those of the model definitions, offsets as printed there.
func TestTheTableAgreesWithTheModels(t *testing.T) {
	for _, c := range []struct {
		model     uint16
		name      string
		off, size int
		writable  bool
	}{
		{1, "SN", 50, 16, false}, {101, "W", 14, 1, false}, {102, "W_SF", 15, 1, false}, {103, "St", 38, 1, false}, {103, "Evt1", 40, 2, false},
		{111, "W", 22, 2, false}, {112, "Hz", 24, 2, false}, {113, "St", 48, 1, false}, {120, "WRtg", 3, 1, false}, {120, "MaxDisChaRte", 25, 1, false},
		{121, "WMax", 2, 1, true}, {121, "WMax_SF", 22, 1, false}, {122, "StActCtl", 35, 2, false}, {123, "WMaxLimPct", 5, 1, true},
		{123, "WMaxLim_Ena", 9, 1, true}, {123, "WMaxLimPct_SF", 23, 1, false}, {124, "StorCtl_Mod", 5, 1, true}, {124, "ChaState", 8, 1, false},
		{124, "OutWRte", 12, 1, true}, {124, "InOutWRte_RvrtTms", 15, 1, true}, {124, "ChaGriSet", 17, 1, true}, {124, "InOutWRte_SF", 25, 1, false},
		{201, "W", 18, 1, false}, {203, "W_SF", 22, 1, false}, {204, "TotWhImp", 46, 2, false}, {213, "W", 28, 2, false}, {211, "TotWhImp", 68, 2, false}, {703, "ES", 2, 1, false}, {703, "ESRmpTms", 13, 2, false}, {701, "W", 10, 1, false}, {701, "TotWhInj", 19, 4, false},
		{701, "W_SF", 116, 1, false}, {702, "CtrlModes", 23, 2, false}, {702, "WMax", 26, 1, true}, {704, "WMaxLimPctEna", 14, 1, true},
		{704, "WMaxLimPctRvrtTms", 18, 2, true}, {704, "WMaxLimPctRvrtRem", 20, 2, false}, {704, "WSet", 24, 2, true}, {704, "WSetRvrtTms", 31, 2, true},
		{704, "WSetRvrtRem", 33, 2, false}, {704, "WSetPct_SF", 56, 1, false}, {713, "SoC", 4, 1, false},
		{160, "M3.DCW", 61, 1, false}, {160, "M4.DCW", 81, 1, false}, {714, "NPrt", 4, 1, false}, {714, "P1.PrtTyp", 20, 1, false}, {714, "P4.DCW", 107, 1, false},
		{802, "SoC", 11, 1, false}, {802, "ChaSt", 16, 1, false}, {802, "LocRemCtl", 17, 1, false}, {802, "CtrlHb", 19, 1, true}, {802, "W", 47, 1, false}, {802, "W_SF", 63, 1, false},
	} {
		p, _ := blockOf(c.model).point(c.name)
		if p.off != c.off || p.size != c.size || p.writable != c.writable {
			t.Errorf("%d.%s is %+v, want %+v", c.model, c.name, p, c)
		}
	}
}

func TestEveryScaleFactorNamedIsInTheTableAndInTheSameRequest(t *testing.T) {
	for _, id := range known {
		for _, p := range layout(id) {
			if p.off+p.size > maxRead {
				continue // not read
			}
			if s, ok := blockOf(id).point(p.scale); p.scale != "" && (!ok || s.kind != sf) {
				t.Errorf("%d.%s: scale %q", id, p.name, p.scale)
			}
		}
	}
}

func TestValuesAreDecoded(t *testing.T) {
	for _, c := range []struct {
		name  string
		b     block
		point string
		want  float64
		ok    bool
	}{
		{"a signed value below zero", blockOf(103).with(14, 0xFFF6, 1), "W", -100, true},
		{"a scale of ten to the minus two", blockOf(103).with(16, 5001, 0xFFFE), "Hz", 50.01, true},
		{"a value without its scale factor is unusable", blockOf(103).with(14, 100, 0x8000), "W", 0, false},
		{"a scale factor beyond the standard is unusable", blockOf(103).with(14, 100, 11), "W", 0, false},
		{"zero is a value", blockOf(103).with(14, 0, 0), "W", 0, true},
		{"minus one is a value of a signed point", blockOf(103).with(14, 0xFFFF, 0), "W", -1, true},
		{"an accumulator at zero is not implemented", blockOf(103).with(24, 0, 0, 0), "WH", 0, false},
		{"an accumulator counts", blockOf(103).with(24, 1, 2, 0), "WH", 65538, true},
		{"a float", blockOf(113).with(22, 0x44BB, 0x8000), "W", 1500, true},
		{"an infinite float is unusable", blockOf(113).with(22, 0x7F80, 0), "W", 0, false},
		{"a signed double register", blockOf(704).with(24, 0xFFFF, 0xFC18).with(55, 0), "WSet", -1000, true},
		{"a counter of 64 bits", blockOf(701).with(19, 0, 0, 1, 0).with(120, 3), "TotWhInj", 65536000, true},
		{"a point beyond the end is absent", block{model: 103, words: blockOf(103).with(14, 5, 0).words[:15]}, "W", 0, false},
		{"a point of another model is absent", blockOf(103), "WSet", 0, false},
		{"an unknown model has no points", block{model: 64001, words: make([]uint16, 9)}, "W", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := c.b.num(c.point)
			if ok != c.ok || ok && math.Abs(got-c.want) > 1e-9 {
				t.Errorf("got %g %v, want %g %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestAWriteNeverCrossesWhatIsReadOnly(t *testing.T) {
	for _, m := range []method{wset, rates, limit123, limit704} {
		c, _ := controlOf(m)
		b := blockOf(c.model)
		for _, ends := range [][2]string{{c.first, c.last}, {c.enable, c.enable}} {
			r, err := b.span(ends[0], ends[1])
			if err != nil {
				t.Fatal(err)
			}
			covered := 0
			for _, p := range layout(c.model) {
				if at := p.off - int(r.Addr-b.addr); at >= 0 && at < len(r.Words) {
					covered += p.size
					if !p.writable {
						t.Errorf("%s: %s is read-only", m, p.name)
					}
				}
			}
			if covered != len(r.Words) {
				t.Errorf("%s: %s to %s: %d of %d registers are known", m, ends[0], ends[1], covered, len(r.Words))
			}
		}
		if _, err := b.span(c.first, "no such point"); err == nil && c.model == 704 {
			t.Errorf("%s: a run over a read-only point", m)
		}
	}
}

// hostile is an image of random words for all models; whatever they say, a
// reading stays within bounds and a plan within the registers' rules.
func hostile(seed uint64) image {
	r := rand.New(rand.NewPCG(seed, 1))
	im := image{at: time.Unix(0, 0), blocks: map[uint16]block{}}
	for _, id := range known {
		if r.IntN(4) == 0 {
			continue
		}
		b := blockOf(id)
		for i := 2; i < len(b.words); i++ {
			switch r.IntN(4) {
			case 0:
				b.words[i] = uint16(r.Uint32())
			case 1:
				b.words[i] = uint16(r.IntN(100))
			case 2:
				b.words[i] = uint16(-r.IntN(4))
			}
		}
		if r.IntN(5) == 0 {
			b.words = b.words[:2+r.IntN(len(b.words)-1)]
		}
		im.blocks[id] = b
	}
	return im
}

func checkImage(t *testing.T, im image, w int64) {
	t.Helper()
	for _, role := range []flex.Role{flex.RolePV, flex.RoleStorage, flex.RoleHybrid, flex.RoleMeter} {
		f := &found{role: role}
		if role != flex.RoleMeter {
			f.set, f.cap = methods(role, im, false)
			f.rate(im)
		}
		f.capabilities(im)
		r := f.reading(im, ImportPositive, nil)
		if r.Power != nil && r.Power.Abs() > flex.MaxPower || r.SoC != nil && (*r.SoC < 0 || *r.SoC > flex.Full) {
			t.Errorf("reading out of bounds: %+v", r)
		}
		for _, o := range []flex.Order{flex.OrderSet, flex.OrderCap, flex.OrderNone} {
			p, err := f.plan(flex.Target{Order: o, Power: flex.Watts(w)}, im, memory{adopt: w&1 == 0, gridCharge: w&2 == 0})
			if err != nil {
				continue
			}
			for _, reg := range p.writes {
				b := blockAt(im, reg)
				for i := range reg.Words {
					if !writableAt(b, int(reg.Addr-b.addr)+i) {
						t.Errorf("%s writes register %d of model %d", p.method, int(reg.Addr-b.addr)+i, b.model)
					}
				}
			}
		}
		d := &Device{}
		_, _, _ = d.handbacks(flex.JournalEntry{}, im)
		_, _, _ = neutral(im)
	}
}

func writableAt(b block, off int) bool {
	for _, p := range layout(b.model) {
		if off >= p.off && off < p.off+p.size {
			return p.writable && p.name != "WChaMax" && p.name != "MinRsvPct" && p.name != "WMax"
		}
	}
	return false
}

func TestNoImageIsTooHostile(t *testing.T) {
	for seed := range uint64(3000) {
		im := hostile(seed)
		for id, b := range im.blocks { // addresses apart, as in a chain
			b.addr = id * 60
			im.blocks[id] = b
		}
		checkImage(t, im, int64(seed%40000)-20000)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(uint16(103), int64(1000), []byte{0, 103, 0, 50, 1, 2})
	f.Add(uint16(124), int64(-1000), []byte{0, 124, 0, 24, 0x80, 0})
	f.Add(uint16(704), int64(0), []byte{0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, id uint16, w int64, raw []byte) {
		words := make([]uint16, min(len(raw)/2, maxRead))
		for i := range words {
			words[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		base := blockOf(121).with(2, 10000).with(22, 0)
		base.addr = 5000
		checkImage(t, image{blocks: map[uint16]block{121: base, id: {model: id, addr: 100, words: words}}}, w)
	})
}
