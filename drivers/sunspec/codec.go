package sunspec

import (
	"math"
	"strings"
)

// kind is the type of a point.
type kind byte

const (
	u16 kind = iota // also enum16 and bitfield16
	i16
	u32 // also enum32 and bitfield32
	i32
	u64
	acc32 // accumulators: 0 means not implemented
	acc64
	f32
	sf // scale factor, a power of ten
	str
)

// Values that mean "not implemented" (SunSpec Device Information Model
// Specification 1.1, section 4.3.2), as they stand in the registers.
const (
	absent16  = 0xFFFF
	absentI16 = 0x8000
)

// maxExponent bounds a scale factor (same paper: -10 to 10).
const maxExponent = 10

// point is one value of a model.
type point struct {
	name     string
	off      int // from the model's ID register
	size     int // registers
	kind     kind
	writable bool
	scale    string // name of the point with its scale factor
}

// block is a model as it was read, from its ID register on. It may be shorter
// than the model: points beyond its end are absent.
type block struct {
	model uint16
	addr  uint16
	words []uint16
}

// point finds a point of the block's model that lies wholly within what was read.
func (b block) point(name string) (point, bool) {
	for _, p := range layout(b.model) {
		if p.name == name {
			return p, p.off+p.size <= len(b.words)
		}
	}
	return point{}, false
}

// raw is the integer in the registers; false when absent or not implemented.
func (b block) raw(name string) (int64, bool) {
	p, ok := b.point(name)
	if !ok {
		return 0, false
	}
	return integer(p.kind, b.words[p.off:p.off+p.size])
}

// integer decodes the registers of one point.
func integer(k kind, w []uint16) (int64, bool) {
	var v uint64
	for _, x := range w {
		v = v<<16 | uint64(x)
	}
	switch k {
	case u16:
		return int64(v), v != absent16
	case i16, sf:
		return int64(int16(v)), v != absentI16
	case u32:
		return int64(v), v != math.MaxUint32
	case i32:
		return int64(int32(v)), v != 1<<31
	case acc32:
		return int64(v), v != 0
	case u64, acc64:
		// Counters beyond 63 bits do not occur; all ones mean not implemented.
		return int64(v), v <= math.MaxInt64 && (k == u64 || v != 0)
	case f32, str:
	}
	return 0, false
}

// exponent is the scale factor of a point: 0 where none is named, absent where
// the named one is not implemented or beyond what the standard allows.
func (b block) exponent(p point) (int, bool) {
	if p.scale == "" {
		return 0, true
	}
	e, ok := b.raw(p.scale)
	if !ok || e < -maxExponent || e > maxExponent {
		return 0, false
	}
	return int(e), true
}

// num is the scaled value. A value whose scale factor is not implemented is
// unusable, and so is a floating point value that is not a finite number.
func (b block) num(name string) (float64, bool) {
	p, ok := b.point(name)
	if !ok {
		return 0, false
	}
	if p.kind == f32 {
		v := float64(math.Float32frombits(uint32(b.words[p.off])<<16 | uint32(b.words[p.off+1])))
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	v, ok := b.raw(name)
	if !ok {
		return 0, false
	}
	e, ok := b.exponent(p)
	if e < 0 {
		return float64(v) / math.Pow10(-e), ok // exact, where v times 0.1 is not
	}
	return float64(v) * math.Pow10(e), ok
}

// lsb is the smallest step of a point.
func (b block) lsb(name string) (float64, bool) {
	p, ok := b.point(name)
	if !ok {
		return 0, false
	}
	e, ok := b.exponent(p)
	return math.Pow10(e), ok
}

// has tells whether the point is there and implemented, with its scale factor.
func (b block) has(name string) bool {
	_, ok := b.num(name)
	return ok
}

// text is a string point: bytes up to the first NUL, printable ones only.
func (b block) text(name string) string {
	p, ok := b.point(name)
	if !ok || p.kind != str {
		return ""
	}
	var s strings.Builder
	for _, w := range b.words[p.off : p.off+p.size] {
		for _, c := range [2]byte{byte(w >> 8), byte(w)} {
			if c == 0 {
				return strings.TrimSpace(s.String())
			}
			if c < ' ' || c > '~' {
				c = '?'
			}
			s.WriteByte(c)
		}
	}
	return strings.TrimSpace(s.String())
}

// encode spells a raw value in the registers of a point.
func encode(p point, v int64) []uint16 {
	w := make([]uint16, p.size)
	for i := range w {
		w[p.size-1-i] = uint16(uint64(v) >> (16 * i))
	}
	return w
}
