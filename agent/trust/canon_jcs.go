package trust

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// maxDigits bounds a number's literal: no double needs more than 767 digits.
const maxDigits = 800

// JCS gives the canonical form of RFC 8785 of one JSON value.
func JCS(raw []byte) ([]byte, error) {
	n, err := parseNode(raw)
	if err != nil {
		return nil, fmt.Errorf("canonical JSON: %w", err)
	}
	out, err := appendJCS(nil, n)
	if err != nil {
		return nil, fmt.Errorf("canonical JSON: %w", err)
	}
	return out, nil
}

// appendJCS writes a value (RFC 8785 section 3.2).
func appendJCS(out []byte, n node) ([]byte, error) {
	switch n.kind {
	case kindNull:
		return append(out, "null"...), nil
	case kindBool:
		return append(out, n.text...), nil
	case kindText:
		return appendText(out, n.text), nil
	case kindNumber:
		text, err := formatNumber(n.text)
		return append(out, text...), err
	case kindList:
		return appendList(out, n.items)
	case kindObject:
		return appendObject(out, n)
	}
	return nil, errors.New("not a JSON value")
}

func appendList(out []byte, items []node) ([]byte, error) {
	out = append(out, '[')
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = appendJCS(out, item); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

// appendObject sorts the names by their UTF-16 code units (section 3.2.3),
// which is not the order of their UTF-8 bytes.
func appendObject(out []byte, n node) ([]byte, error) {
	type member struct {
		units []uint16
		index int
	}
	order := make([]member, len(n.names))
	for i, name := range n.names {
		order[i] = member{utf16.Encode([]rune(name)), i}
	}
	slices.SortFunc(order, func(a, b member) int { return slices.Compare(a.units, b.units) })
	out = append(out, '{')
	for i, m := range order {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendText(out, n.names[m.index]), ':')
		var err error
		if out, err = appendJCS(out, n.items[m.index]); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// appendText escapes only what must be (section 3.2.2.2).
func appendText(out []byte, text string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, `\b`...)
		case '\t':
			out = append(out, `\t`...)
		case '\n':
			out = append(out, `\n`...)
		case '\f':
			out = append(out, `\f`...)
		case '\r':
			out = append(out, `\r`...)
		default:
			if c < 0x20 {
				out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				out = append(out, c)
			}
		}
	}
	return append(out, '"')
}

// formatNumber writes a literal as ECMAScript writes its double (section
// 3.2.2.3). What a double cannot tell from another value is refused: a sum
// of money or an id must not be signed as its neighbour.
func formatNumber(literal string) (string, error) {
	if len(literal) > maxDigits {
		return "", fmt.Errorf("a number of %d digits", len(literal))
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || math.IsInf(f, 0) {
		return "", fmt.Errorf("the number %s does not fit a double", clip(literal))
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(literal), "e")
	if f == 0 && strings.ContainsAny(mantissa, "123456789") {
		return "", fmt.Errorf("the number %s does not fit a double", clip(literal))
	}
	out := ecmaNumber(f)
	if !strings.ContainsAny(literal, ".eE") && !sameInteger(literal, f, out) {
		return "", fmt.Errorf("the integer %s does not fit a double, which would say %s", clip(literal), out)
	}
	return out, nil
}

// ecmaNumber is Number::toString of ECMA-262 section 6.1.6.1.20: the
// shortest digits, with an exponent below 1e-6 and from 1e21.
func ecmaNumber(f float64) string {
	if f == 0 {
		return "0" // also for -0
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	text := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exp, _ := strings.Cut(text, "e")
	return mantissa + "e" + exp[:1] + strings.TrimLeft(exp[1:], "0")
}

// sameInteger tells whether an integer is the double itself, or the shortest
// way to write it.
func sameInteger(literal string, f float64, shortest string) bool {
	if math.Abs(f) <= 1<<53 {
		return literal == shortest || f == 0
	}
	n, ok := new(big.Int).SetString(literal, 10)
	if !ok {
		return false
	}
	exact, _ := big.NewFloat(f).Int(nil)
	if n.Cmp(exact) == 0 {
		return true
	}
	short, ok := new(big.Rat).SetString(shortest)
	return ok && short.IsInt() && short.Num().Cmp(n) == 0
}
