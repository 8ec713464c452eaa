package regmap

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The kinds of value a map has. Each reads itself and refuses, with its line,
// what it cannot mean.
type (
	status     string
	role       string
	roles      []role
	sources    map[string]string
	permission string
	quantity   string
	access     string
	memory     string
	echo       string
	when       string
	span       time.Duration
	number     float64
	sign       float64
	hexword    uint64
	order      string // high_first, low_first, or "" for the map's
	terms      []string
	names      []string
	words      []int64
	operands   []operand
)

// address is where a point lies: a wire address, or an offset in a SunSpec
// model, counted from the model's ID register.
type address struct {
	wire  int
	model int // 0: wire
}

// operand is where a value comes from: a number, a point, or a word of what
// is wanted.
type operand struct {
	set   bool
	word  string
	point string
	num   float64
}

// after is the time until a device falls back: a duration, never or unknown.
type after struct {
	word string
	d    time.Duration
}

func (a after) timed() bool { return a.d > 0 }

// Words of the choices.
const (
	statusUnverified = "unverified"
	statusVerified   = "verified"

	ofAC      quantity = "ac"
	ofBattery quantity = "battery"
	ofGrid    quantity = "grid"
	// ofInverter is the AC power of an inverter that carries PV as well: a
	// battery is told its own power with the PV's on top.
	ofInverter quantity = "inverter"

	readOnly  access = "r"
	writeOnly access = "w"
	readWrite access = "rw"

	volatile   memory = "volatile"
	persistent memory = "persistent"
	unknown    memory = "unknown"

	echoEqual echo = "equal"
	echoNone  echo = "none"

	whenAlways    when = ""
	whenCharge    when = "charge"
	whenDischarge when = "discharge"
	whenIdle      when = "idle"
	whenGrid      when = "grid" // charging, more than the PV gives
	whenSun       when = "sun"  // charging, no more than the PV gives

	gridCharge permission = "grid_charge"

	never   = "never"
	unsure  = "unknown"
	lowest  = "low_first"
	highest = "high_first"
)

// What a value may be taken from.
const (
	wordPower     = "power"     // signed, + towards the grid or discharging
	wordInverse   = "-power"    // the same with the other sign
	wordCharge    = "charge"    // what is charged, else 0
	wordDischarge = "discharge" // what is discharged, else 0
	wordMagnitude = "magnitude"
	wordSeconds   = "seconds" // the lease
	wordMinutes   = "minutes" // the lease, rounded up
	wordFound     = "found"   // what was there before us
	wordPercent   = "percent" // the power in % of the rating of its direction
	wordMinus     = "-percent"
)

var valueWords = []string{wordPower, wordInverse, wordCharge, wordDischarge, wordMagnitude, wordSeconds, wordMinutes, wordFound, wordPercent, wordMinus}

func atLine(n *yaml.Node, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", n.Line) + fmt.Sprintf(format, args...)}}
}

func scalar(n *yaml.Node, check func(string) error) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || len(n.Value) > 512 {
		return "", atLine(n, "a plain value is needed here")
	}
	if err := check(n.Value); err != nil {
		return "", atLine(n, "%q: %v", n.Value, err)
	}
	return n.Value, nil
}

func oneOf(choices ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(choices, s) {
			return errors.New("choose " + strings.Join(choices, ", "))
		}
		return nil
	}
}

// choice reads one of some words.
func choice[T ~string](n *yaml.Node, to *T, choices ...string) error {
	s, err := scalar(n, oneOf(choices...))
	*to = T(s)
	return err
}

// UnmarshalYAML reads unverified or verified.
func (s *status) UnmarshalYAML(n *yaml.Node) error {
	return choice(n, s, statusUnverified, statusVerified)
}

// UnmarshalYAML reads what the device is for.
func (r *role) UnmarshalYAML(n *yaml.Node) error {
	return choice(n, r, "storage", "pv", "hybrid", "meter")
}

// UnmarshalYAML reads one or several roles.
func (r *roles) UnmarshalYAML(n *yaml.Node) error {
	items, err := list(n, 4)
	for _, item := range items {
		var one role
		if rerr := one.UnmarshalYAML(item); rerr != nil {
			return rerr
		}
		*r = append(*r, one)
	}
	return err
}

// String is the roles for people.
func (r roles) String() string {
	out := make([]string, len(r))
	for i, one := range r {
		out[i] = string(one)
	}
	return strings.Join(out, ", ")
}

// UnmarshalYAML reads a list of sources, or sources by a short name that
// points can cite.
func (s *sources) UnmarshalYAML(n *yaml.Node) error {
	*s = sources{}
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		return nil // told as missing
	}
	if n.Kind != yaml.MappingNode {
		items, err := list(n, 64)
		for i, item := range items {
			text, serr := scalar(item, visible)
			if serr != nil {
				return serr
			}
			(*s)[strconv.Itoa(i+1)] = text
		}
		return err
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		text, err := scalar(n.Content[i+1], visible)
		if err != nil {
			return err
		}
		(*s)[n.Content[i].Value] = text
	}
	return nil
}

// UnmarshalYAML reads which consent a point needs.
func (p *permission) UnmarshalYAML(n *yaml.Node) error { return choice(n, p, string(gridCharge)) }

// UnmarshalYAML reads what a power is of.
func (q *quantity) UnmarshalYAML(n *yaml.Node) error {
	return choice(n, q, string(ofAC), string(ofBattery), string(ofGrid), string(ofInverter))
}

// UnmarshalYAML reads r, w or rw.
func (a *access) UnmarshalYAML(n *yaml.Node) error {
	return choice(n, a, string(readOnly), string(writeOnly), string(readWrite))
}

// UnmarshalYAML reads what a write wears out.
func (m *memory) UnmarshalYAML(n *yaml.Node) error {
	return choice(n, m, string(volatile), string(persistent), string(unknown))
}

// UnmarshalYAML reads whether a write can be read back.
func (e *echo) UnmarshalYAML(n *yaml.Node) error {
	return choice(n, e, string(echoEqual), string(echoNone))
}

// UnmarshalYAML reads for which direction a step is.
func (w *when) UnmarshalYAML(n *yaml.Node) error {
	err := choice(n, w, "always", string(whenCharge), string(whenDischarge), string(whenIdle), string(whenGrid), string(whenSun))
	if *w == "always" {
		*w = whenAlways
	}
	return err
}

// UnmarshalYAML reads the order of registers.
func (o *order) UnmarshalYAML(n *yaml.Node) error { return choice(n, o, highest, lowest) }

// UnmarshalYAML reads the kind of a point.
func (k *Kind) UnmarshalYAML(n *yaml.Node) error {
	return choice(n, k, string(U16), string(S16), string(U32), string(S32), string(U64), string(S64), string(F32), string(Str))
}

// UnmarshalYAML reads 1 or -1.
func (s *sign) UnmarshalYAML(n *yaml.Node) error {
	text, err := scalar(n, oneOf("1", "-1"))
	*s = 1
	if text == "-1" {
		*s = -1
	}
	return err
}

// UnmarshalYAML reads a duration of at most a day.
func (d *span) UnmarshalYAML(n *yaml.Node) error {
	var v time.Duration
	_, err := scalar(n, func(s string) (err error) {
		if v, err = time.ParseDuration(s); err != nil || v < 0 || v > 24*time.Hour {
			return errors.New(`write a duration with its unit, such as "20s", up to 24h`)
		}
		return nil
	})
	*d = span(v)
	return err
}

// UnmarshalYAML reads a duration, never or unknown.
func (a *after) UnmarshalYAML(n *yaml.Node) error {
	if n.Value == never || n.Value == unsure {
		a.word = n.Value
		return nil
	}
	var d span
	if err := d.UnmarshalYAML(n); err != nil || d <= 0 {
		return atLine(n, `%q: write a duration such as "60s", never or unknown`, n.Value)
	}
	a.d = time.Duration(d)
	return nil
}

// parseNumber reads a decimal or 0x number.
func parseNumber(s string) (float64, error) {
	if strings.HasPrefix(s, "0x") {
		v, err := strconv.ParseUint(s[2:], 16, 64)
		return float64(v), err
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || math.Abs(v) > 1e15 {
		return 0, errors.New("write a number")
	}
	return v, nil
}

// UnmarshalYAML reads a number.
func (v *number) UnmarshalYAML(n *yaml.Node) error {
	var f float64
	_, err := scalar(n, func(s string) (err error) { f, err = parseNumber(s); return err })
	*v = number(f)
	return err
}

// UnmarshalYAML reads a bit pattern.
func (v *hexword) UnmarshalYAML(n *yaml.Node) error {
	var u uint64
	_, err := scalar(n, func(s string) (err error) {
		if u, err = strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64); err != nil {
			return errors.New(`write a bit pattern such as "0x8000"`)
		}
		return nil
	})
	*v = hexword(u)
	return err
}

// UnmarshalYAML reads a wire address, or model+offset.
func (a *address) UnmarshalYAML(n *yaml.Node) error {
	_, err := scalar(n, func(s string) error {
		bad := errors.New(`write a wire address such as 40149 or 0xE004, or a SunSpec model and offset such as "124+12"`)
		if model, off, ok := strings.Cut(s, "+"); ok {
			m, err1 := strconv.Atoi(model)
			o, err2 := strconv.Atoi(off)
			if err1 != nil || err2 != nil || m < 1 || m > 65534 || o < 0 || o > 2000 {
				return bad
			}
			a.model, a.wire = m, o
			return nil
		}
		v, err := strconv.ParseUint(s, 0, 16)
		if err != nil {
			return bad
		}
		a.wire = int(v)
		return nil
	})
	return err
}

// list reads one value or a list of at most most.
func list(n *yaml.Node, most int) ([]*yaml.Node, error) {
	if n.Kind != yaml.SequenceNode {
		return []*yaml.Node{n}, nil
	}
	if len(n.Content) == 0 || len(n.Content) > most {
		return nil, atLine(n, "a list of 1 to %d is needed here", most)
	}
	return n.Content, nil
}

func visible(s string) error {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("a name is needed")
	}
	return nil
}

func readNames(n *yaml.Node) ([]string, error) {
	items, err := list(n, 64)
	var out []string
	for _, item := range items {
		s, serr := scalar(item, visible)
		if serr != nil {
			return nil, serr
		}
		out = append(out, s)
	}
	return out, err
}

// UnmarshalYAML reads one or several points to add up; a minus takes one off.
func (t *terms) UnmarshalYAML(n *yaml.Node) (err error) { *t, err = readNames(n); return err }

// UnmarshalYAML reads one or several points.
func (t *names) UnmarshalYAML(n *yaml.Node) (err error) { *t, err = readNames(n); return err }

// UnmarshalYAML reads one or several whole numbers.
func (w *words) UnmarshalYAML(n *yaml.Node) error {
	items, err := list(n, 64)
	for _, item := range items {
		var v int64
		if _, serr := scalar(item, func(s string) (err error) { v, err = strconv.ParseInt(s, 0, 64); return err }); serr != nil {
			return serr
		}
		*w = append(*w, v)
	}
	return err
}

// UnmarshalYAML reads a number, one of the words, or the name of a point.
func (o *operand) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, visible)
	if err != nil {
		return err
	}
	o.set = true
	if v, err := parseNumber(s); err == nil {
		o.num = v
	} else if slices.Contains(valueWords, s) {
		o.word = s
	} else {
		o.point = s
	}
	return nil
}

// UnmarshalYAML reads one or several operands.
func (o *operands) UnmarshalYAML(n *yaml.Node) error {
	items, err := list(n, 64)
	for _, item := range items {
		var v operand
		if oerr := v.UnmarshalYAML(item); oerr != nil {
			return oerr
		}
		*o = append(*o, v)
	}
	return err
}
