package regmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Kind is how a point lies in its registers.
type Kind string

// The kinds. Str is text of a given number of registers, padded with NUL or
// blanks.
const (
	U16 Kind = "u16"
	S16 Kind = "s16"
	U32 Kind = "u32"
	S32 Kind = "s32"
	U64 Kind = "u64"
	S64 Kind = "s64"
	F32 Kind = "f32"
	Str Kind = "str"
)

// size is the number of registers, 0 for text, whose map says it.
func (k Kind) size() int {
	switch k {
	case U16, S16:
		return 1
	case U32, S32, F32:
		return 2
	case U64, S64:
		return 4
	case Str:
	}
	return 0
}

// absent are the bit patterns that commonly mean "not implemented" (SunSpec
// and several vendors use the same ones). A map may name others.
func (k Kind) absent(raw uint64) bool {
	switch k {
	case S16:
		return raw == 0x8000
	case U32:
		return raw == 0xFFFFFFFF
	case S32:
		return raw == 0x80000000
	case U64:
		return raw == math.MaxUint64
	case S64:
		return raw == 1<<63
	case F32:
		return math.IsNaN(float64(math.Float32frombits(uint32(raw)))) || math.IsInf(float64(math.Float32frombits(uint32(raw))), 0)
	case U16, Str:
	}
	return false // 0xFFFF is a number on many maps: a map has to say so
}

// bits joins registers, the most significant first unless low is set.
func bits(words []uint16, low bool) uint64 {
	var v uint64
	for i := range words {
		w := words[i]
		if low {
			w = words[len(words)-1-i]
		}
		v = v<<16 | uint64(w)
	}
	return v
}

// split is the reverse of bits.
func split(v uint64, n int, low bool) []uint16 {
	out := make([]uint16, n)
	for i := n - 1; i >= 0; i-- {
		out[i] = uint16(v)
		v >>= 16
	}
	if low {
		slices.Reverse(out)
	}
	return out
}

// number reads a value as the device means it, before scale and sign.
func (k Kind) number(raw uint64) float64 {
	switch k {
	case S16:
		return float64(int16(raw))
	case S32:
		return float64(int32(raw))
	case S64:
		return float64(int64(raw))
	case F32:
		return float64(math.Float32frombits(uint32(raw)))
	case U16, U32, U64, Str:
	}
	return float64(raw)
}

var errRange = errors.New("the value does not fit the register")

// raw is the reverse of number. Whole types take whole numbers only: rounding
// is the business of whoever knows which way is safe.
func (k Kind) raw(v float64) (uint64, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%v: %w", v, errRange)
	}
	if k == F32 {
		if math.Abs(v) > math.MaxFloat32 {
			return 0, fmt.Errorf("%v: %w", v, errRange)
		}
		return uint64(math.Float32bits(float32(v))), nil
	}
	lo, hi := k.limits()
	if v != math.Trunc(v) || v < lo || v > hi {
		return 0, fmt.Errorf("%v is not within %v to %v: %w", v, lo, hi, errRange)
	}
	if v < 0 {
		return uint64(int64(v)), nil
	}
	return uint64(v), nil
}

// limits are what a whole type holds; 64-bit values are bounded to what a
// float has exactly.
func (k Kind) limits() (lo, hi float64) {
	const exact = 1 << 53
	switch k {
	case U16:
		return 0, math.MaxUint16
	case S16:
		return math.MinInt16, math.MaxInt16
	case U32:
		return 0, math.MaxUint32
	case S32:
		return math.MinInt32, math.MaxInt32
	case U64:
		return 0, exact
	case S64:
		return -exact, exact
	case F32, Str:
	}
	return 0, 0
}

// text reads a string, up to the first NUL, without blanks at its ends.
func text(words []uint16) string {
	raw := make([]byte, 0, 2*len(words))
	for _, w := range words {
		raw = binary.BigEndian.AppendUint16(raw, w)
	}
	if i := bytes.IndexByte(raw, 0); i >= 0 {
		raw = raw[:i]
	}
	clean := bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return -1
		}
		return r
	}, raw)
	return string(bytes.TrimSpace(clean))
}
