package flex

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Watts is active power in whole watts; positive is towards the grid.
type Watts int64

// Units of power, for conversion at the edges.
const (
	Watt     Watts = 1
	Kilowatt Watts = 1000
	Megawatt Watts = 1000 * Kilowatt
)

// MaxPower bounds every power that enters from outside: 10 GW is more than any
// site has, and far from overflow in sums and products.
const MaxPower = 10_000 * Megawatt

// WattHours is energy in whole watt-hours.
type WattHours int64

// String renders with the largest unit that keeps it exact to the watt:
// "12.5 kW", "-300 W".
func (w Watts) String() string {
	if w.Abs() < Kilowatt {
		return fmt.Sprintf("%d W", int64(w))
	}
	sign, a := "", w.Abs()
	if w < 0 {
		sign = "-"
	}
	s := fmt.Sprintf("%d.%03d", a/Kilowatt, a%Kilowatt)
	return sign + strings.TrimRight(strings.TrimRight(s, "0"), ".") + " kW"
}

// Abs is the magnitude.
func (w Watts) Abs() Watts {
	if w < 0 {
		return -w
	}
	return w
}

// Clamp limits w to [lo, hi].
func (w Watts) Clamp(lo, hi Watts) Watts { return max(lo, min(hi, w)) }

// ParseDecimal reads an exact decimal number of the given unit, such as
// "0.05000" in MW, as whole watts. It refuses what is not exact to the watt,
// exponents, blanks, and anything beyond MaxPower: a rounded instruction is a
// wrong instruction.
func ParseDecimal(number string, unit Watts) (Watts, error) {
	number, err := PlainNumber(number)
	if err != nil {
		return 0, err
	}
	digits, neg := strings.CutPrefix(number, "-")
	whole, frac, dotted := strings.Cut(digits, ".")
	if whole == "" || dotted && frac == "" || len(digits) > 24 {
		return 0, fmt.Errorf("%q is not a decimal number", clip(number))
	}
	var total, scale int64 = 0, int64(unit)
	for _, c := range whole {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not a decimal number", clip(number))
		}
		total = total*10 + int64(c-'0')
		if total > int64(MaxPower) {
			return 0, fmt.Errorf("%q is out of range", clip(number))
		}
	}
	if total > int64(MaxPower)/scale {
		return 0, fmt.Errorf("%q is out of range", clip(number))
	}
	total *= scale
	for _, c := range frac {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not a decimal number", clip(number))
		}
		if (scale%10 != 0 || scale == 0) && c != '0' {
			return 0, fmt.Errorf("%q is finer than one watt", clip(number))
		}
		scale /= 10
		total += int64(c-'0') * scale
	}
	if total > int64(MaxPower) {
		return 0, fmt.Errorf("%q is out of range", clip(number))
	}
	if neg {
		total = -total
	}
	return Watts(total), nil
}

// PlainNumber writes a number with an exponent, such as 5e-3, without one:
// exactly.
func PlainNumber(number string) (string, error) {
	mantissa, exponent, given := strings.Cut(strings.ToLower(number), "e")
	if !given {
		return number, nil
	}
	by, err := strconv.Atoi(exponent)
	whole, frac, dotted := strings.Cut(strings.TrimPrefix(mantissa, "-"), ".")
	if err != nil || by < -18 || by > 18 || whole == "" || dotted && frac == "" {
		return "", fmt.Errorf("%q is not a decimal number", clip(number))
	}
	digits, point := whole+frac, len(whole)+by
	if point < 0 {
		digits, point = strings.Repeat("0", -point)+digits, 0
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	out := strings.TrimLeft(digits[:point], "0")
	if out == "" {
		out = "0"
	}
	if rest := strings.TrimRight(digits[point:], "0"); rest != "" {
		out += "." + rest
	}
	if strings.HasPrefix(mantissa, "-") {
		out = "-" + out
	}
	return out, nil
}

// ParsePower reads a power with its unit, such as "100 kW", "2.5 MW" or
// "-300 W". The unit is mandatory.
func ParsePower(s string) (Watts, error) {
	text := strings.TrimSpace(s)
	for _, u := range []struct {
		name string
		unit Watts
	}{{"MW", Megawatt}, {"kW", Kilowatt}, {"W", Watt}} {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			return ParseDecimal(strings.TrimSpace(number), u.unit)
		}
	}
	return 0, fmt.Errorf("%q has no unit: write W, kW or MW, as in \"100 kW\"", clip(s))
}

// Percent is a share in hundredths of one per cent: 10000 is 100 %.
type Percent int32

// Full is 100 %.
const Full Percent = 10000

// String renders as "20 %" or "33.25 %".
func (p Percent) String() string {
	s := fmt.Sprintf("%.2f", float64(p)/100)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".") + " %"
}

// ParsePercent reads "20%" or "33.25 %"; the sign is mandatory and the value
// lies within 0 to 100.
func ParsePercent(s string) (Percent, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(s), "%")
	if !ok {
		return 0, fmt.Errorf("%q has no unit: write a percentage such as \"20%%\"", clip(s))
	}
	v, err := ParseDecimal(strings.TrimSpace(number), 100)
	if err != nil || v < 0 || v > Watts(Full) {
		return 0, fmt.Errorf("%q is not a percentage from 0%% to 100%% with at most two decimals", clip(s))
	}
	return Percent(v), nil
}

// PercentOf converts a fraction of one (0..1) measured by a device; NaN and
// values out of range yield ok = false.
func PercentOf(fraction float64) (p Percent, ok bool) {
	if math.IsNaN(fraction) || fraction < 0 || fraction > 1.01 {
		return 0, false
	}
	return min(Full, Percent(math.Round(fraction*float64(Full)))), true
}

// clip bounds an outside text that is quoted in an error.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
