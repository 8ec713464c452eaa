package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// kind is a point's type as the tables spell it.
type kind string

const (
	kindU16 kind = "u16"
	kindI16 kind = "i16"
	kindE16 kind = "e16"
	kindB16 kind = "b16"
	kindB32 kind = "b32"
	kindU32 kind = "u32"
	kindI32 kind = "i32"
	kindU64 kind = "u64"
	kindA32 kind = "a32"
	kindA64 kind = "a64"
	kindSF  kind = "sf"
	kindPad kind = "pad"
	kindStr kind = "s"
)

// point is one point of a model at its offset from the model's id register.
type point struct {
	name     string
	kind     kind
	offset   int
	words    int
	writable bool
	scale    string // the point holding the scale factor
}

// model is one information model as laid out on the wire.
type model struct {
	id     int
	length int // registers after id and length
	points []point
}

// parseTable reads a register table in the notation of models.go.
func parseTable(id int, text string) (model, error) {
	m := model{id: id}
	offset := 2
	for _, token := range strings.Fields(text) {
		name, rest, ok := strings.Cut(token, ":")
		if !ok {
			return model{}, fmt.Errorf("model %d: %q has no type", id, token)
		}
		rest, scale, _ := strings.Cut(rest, "/")
		rest, writable := strings.CutSuffix(rest, "!")
		k, words, err := parseKind(rest)
		if err != nil {
			return model{}, fmt.Errorf("model %d, point %s: %w", id, name, err)
		}
		m.points = append(m.points, point{name, k, offset, words, writable, scale})
		offset += words
	}
	m.length = offset - 2
	return m, nil
}

// parseKind reads a type word and tells how many registers it takes.
func parseKind(text string) (kind, int, error) {
	switch k := kind(text); k {
	case kindU16, kindI16, kindE16, kindB16, kindSF, kindPad:
		return k, 1, nil
	case kindB32, kindU32, kindI32, kindA32:
		return k, 2, nil
	case kindU64, kindA64:
		return k, 4, nil
	case kindStr:
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(text, "s")); err == nil && n > 0 && n <= 32 {
		return kindStr, n, nil
	}
	return "", 0, fmt.Errorf("unknown type %q", text)
}

// tableOf is the register table of a model this package can simulate.
func tableOf(id int) (model, error) {
	var text string
	switch id {
	case 1:
		text = table1
	case 101, 102, 103:
		text = table103
	case 120:
		text = table120
	case 121:
		text = table121
	case 122:
		text = table122
	case 123:
		text = table123
	case 124:
		text = table124
	case 201, 202, 203, 204:
		text = table203
	case 701:
		text = table701
	case 702:
		text = table702
	case 704:
		text = table704
	case 713:
		text = table713
	case 64900:
		text = table64900
	default:
		return model{}, fmt.Errorf("no register table for model %d", id)
	}
	return parseTable(id, text)
}

// absent is what a register of this kind reads when the point is not
// implemented (SunSpec information model specification, table of data types).
func (p point) absent(word int) uint16 {
	switch p.kind {
	case kindI16, kindSF, kindPad:
		return 0x8000
	case kindI32:
		if word == 0 {
			return 0x8000
		}
		return 0
	case kindA32, kindA64, kindStr:
		return 0
	case kindU16, kindE16, kindB16, kindB32, kindU32, kindU64:
	}
	return 0xFFFF
}
