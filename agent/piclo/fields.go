package piclo

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Bounds of the values of a document.
const (
	maxID        = 128
	maxText      = 512
	maxSignature = 8 << 10
	maxAssets    = 1000
	maxProblems  = 32
)

// fields reads one document by the profile's pointers and collects what it
// could not read: a problem is never lost and never stops the reading.
type fields struct {
	p        *Profile
	doc      any
	problems []flex.Refusal
	trace    *trace // nil: nobody asks how it was understood
}

func (f *fields) problem(reason flex.Reason, format string, args ...any) {
	if len(f.problems) < maxProblems {
		r := *flex.Refuse(reason, format, args...)
		f.problems = append(f.problems, r)
		f.trace.problem(r)
	}
}

// err is the first problem as an error, for documents that are taken whole
// or not at all.
func (f *fields) err() error {
	if len(f.problems) == 0 {
		return nil
	}
	return &f.problems[0]
}

// find looks a field up: every reading begins here.
func (f *fields) find(name string, ps pointers) (v any, at string, ok bool) {
	p, v, ok := ps.lookup(f.doc)
	f.trace.looked(name, ps, p, v, ok)
	if len(ps) > 0 {
		at = p.String()
	}
	return v, at, ok
}

// asText takes a text, or a whole number where ids are numbers.
func asText(v any, limit int) (string, error) {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case json.Number:
		if s = v.String(); strings.ContainsAny(s, ".eE") {
			return "", fmt.Errorf("%s is not text", clip(s))
		}
	default:
		return "", fmt.Errorf("%s is not text", kindOf(v))
	}
	if len(s) > limit {
		return "", fmt.Errorf("longer than %d characters", limit)
	}
	if !visible(s) {
		return "", fmt.Errorf("%q holds control characters or broken text", clip(s))
	}
	return s, nil
}

func kindOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case bool:
		return "true or false"
	case json.Number:
		return "a number"
	case string:
		return "a text"
	}
	return "null"
}

// text reads an optional text; given tells whether there was something.
func (f *fields) text(name string, ps pointers, limit int) (s string, given bool) {
	v, at, ok := f.find(name, ps)
	if !ok {
		return "", false
	}
	s, err := asText(v, limit)
	if err != nil {
		f.problem(flex.ReasonBadField, "%s: %v", at, err)
		return s, true
	}
	f.trace.means("%s", s)
	return s, true
}

// parsed reads a text through a parser; given as above.
func parsed[T any](f *fields, name string, ps pointers, parse func(string) (T, error)) (out T, given bool) {
	v, at, ok := f.find(name, ps)
	if !ok {
		return out, false
	}
	if n, ok := v.(json.Number); ok {
		if plain, err := flex.PlainNumber(n.String()); err == nil {
			v = json.Number(plain)
		}
	}
	s, err := asText(v, maxText)
	if err != nil {
		f.problem(flex.ReasonBadField, "%s: %v", at, err)
		return out, true
	}
	if out, err = parse(s); err != nil {
		f.problem(flex.ReasonBadField, "%s: %q %v", at, clip(s), err)
		return out, true
	}
	f.trace.value(out)
	return out, true
}

// need makes the absence of a field a problem.
func (f *fields) need(name string, given bool, ps pointers) {
	if !given && len(ps) > 0 {
		f.trace.again(name)
		f.problem(flex.ReasonBadField, "%s is missing", ps[0].String())
	}
}

// ids reads a list of ids, or a single one.
func (f *fields) ids(name string, ps pointers) []string {
	v, at, ok := f.find(name, ps)
	if !ok {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	if len(list) > maxAssets {
		f.problem(flex.ReasonBadField, "%s lists %d ids, more than %d", at, len(list), maxAssets)
		return nil
	}
	var out []string
	seen := map[string]bool{}
	for _, item := range list {
		id, err := asText(item, maxID)
		switch {
		case err != nil:
			f.problem(flex.ReasonBadField, "%s: %v", at, err)
		case id == "":
			f.problem(flex.ReasonBadField, "%s holds an empty id", at)
		case seen[id]:
			f.problem(flex.ReasonBadField, "%s names %q twice", at, clip(id))
		default:
			seen[id] = true
			out = append(out, id)
		}
	}
	f.trace.means("%d: %s", len(out), strings.Join(out, ", "))
	return out
}

// power reads an exact decimal, as text or as a number's own digits, and
// gives its magnitude. What is finer than a watt or has an exponent is a
// problem: a rounded instruction is a wrong instruction. A sign is one as
// well, unless the profile gives signs a meaning.
func (f *fields) power(name string, at powerAt, s positive) (w flex.Watts, d flex.Direction, given bool) {
	v, where, ok := f.find(name, at.At)
	if !ok {
		return 0, "", false
	}
	if at.Sign != "" {
		s = at.Sign
	}
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	default:
		f.problem(flex.ReasonBadField, "%s: %s is not a decimal number", where, kindOf(v))
		return 0, "", true
	}
	u, ok := f.unit(name, at)
	if !ok {
		return 0, "", true
	}
	w, err := flex.ParseDecimal(text, u)
	if err == nil && strings.HasPrefix(text, "-") && (s == "" || s == signNone) {
		err = fmt.Errorf("%q is negative: the direction has a field of its own, or set sign", clip(text))
	}
	if err != nil {
		f.problem(flex.ReasonBadField, "%s: %v", where, err)
		return 0, "", true
	}
	d = s.direction(w)
	f.trace.means("%s%s, read as %s", w.Abs(), tail(d), unit(u))
	return w.Abs(), d, true
}

// tail shows a direction behind a power.
func tail(d flex.Direction) string {
	if d == "" {
		return ""
	}
	return " " + string(d) + " by its sign"
}

// unit is the power's: as the document says where the profile looks for it,
// else as the profile says.
func (f *fields) unit(name string, at powerAt) (flex.Watts, bool) {
	u := at.Unit
	if u == 0 && len(at.UnitAt) == 0 {
		u = f.p.Power.Unit
	}
	if len(at.UnitAt) > 0 {
		s, given := f.text(name+" unit", at.UnitAt, maxText)
		if given {
			u = unitOf(s)
		}
		if u == 0 {
			f.problem(flex.ReasonUnitUnresolved, "%s: %q is not a unit of power: MW, kW or W", at.UnitAt[0], clip(s))
			return 0, false
		}
		f.trace.again(name)
	}
	return flex.Watts(u), true
}

// direction is what a signed power asks for.
func (s positive) direction(w flex.Watts) flex.Direction {
	if s == signImport {
		w = -w
	}
	switch {
	case s == "" || s == signNone || w == 0:
		return ""
	case w > 0:
		return flex.Export
	}
	return flex.Import
}

// wholeNumber reads a whole number from 0 to limit, in any spelling of it: 7,
// 7.0, 70e-1 or "7". A text with a leading zero or sign is none: it may be a
// name.
func wholeNumber(v any, limit int64) (int64, error) {
	var text, number string
	switch v := v.(type) {
	case string:
		if text, number = v, v; strings.Trim(v, "0123456789") != "" || len(v) > 1 && v[0] == '0' {
			number = ""
		}
	case json.Number:
		text = v.String()
		plain, _ := flex.PlainNumber(text)
		whole, frac, _ := strings.Cut(plain, ".")
		if strings.Trim(frac, "0") == "" {
			number = whole
		}
	default:
		return 0, fmt.Errorf("%s is not a whole number", kindOf(v))
	}
	i, err := strconv.ParseInt(number, 10, 64)
	if err != nil || i < 0 || i > limit {
		return 0, fmt.Errorf("%s is not a whole number from 0 to %d", clip(text), limit)
	}
	return i, nil
}

// direction reads a direction by the field's words, else the profile's.
func (f *fields) direction(name string, at directionAt) flex.Direction {
	s, given := f.text(name, at.At, maxText)
	if !given || s == "" {
		return ""
	}
	var d flex.Direction
	m, known := at.meaning(s)
	switch {
	case known:
		d = flex.Direction(m)
	case at.Words == nil && f.p.Power.ExportWords.has(s):
		d = flex.Export
	case at.Words == nil && f.p.Power.ImportWords.has(s):
		d = flex.Import
	default:
		f.problem(flex.ReasonDirectionUnresolved, "%s: %q is neither export nor import: check the profile's power words", at.At[0], clip(s))
		return ""
	}
	f.trace.means("%s", d)
	return d
}

// instant reads a time.
func (f *fields) instant(name string, at timeAt) (time.Time, bool) {
	format, loc := at.Format, f.p.in(at.Zone)
	if format.kind == "" {
		format = f.p.Time.Format
	}
	return parsed(f, name, at.At, func(s string) (time.Time, error) { return instantIn(s, format, loc) })
}

// date reads a day.
func (f *fields) date(name string, at dateAt) (string, bool) {
	format, loc := at.Format, f.p.in(at.Zone)
	if format.kind == "" {
		format = f.p.Time.Date
	}
	return parsed(f, name, at.At, func(s string) (string, error) { return dateIn(s, format, loc) })
}

// clock reads a time of day.
func (f *fields) clock(name string, at clockAt, end bool) (time.Duration, bool) {
	format := at.Format
	if format == "" {
		format = f.p.Time.Clock
	}
	return parsed(f, name, at.At, func(s string) (time.Duration, error) { return clockIn(s, format, end) })
}

// span reads a duration.
func (f *fields) span(name string, at spanAt) (time.Duration, bool) {
	format := at.Format
	if format == "" {
		format = f.p.Time.Duration
	}
	return parsed(f, name, at.At, func(s string) (time.Duration, error) { return spanIn(s, format) })
}

// in is the zone of a field, else the profile's.
func (p *Profile) in(z zone) *time.Location {
	if z.Location != nil {
		return z.Location
	}
	return p.Zone.Location
}

// named converts texts to a kind of id.
func named[T ~string](in []string) []T {
	if in == nil {
		return nil
	}
	out := make([]T, len(in))
	for i, s := range in {
		out[i] = T(s)
	}
	return out
}
