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
	doc      any
	problems []flex.Refusal
}

func (f *fields) problem(reason flex.Reason, format string, args ...any) {
	if len(f.problems) < maxProblems {
		f.problems = append(f.problems, *flex.Refuse(reason, format, args...))
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
func (f *fields) text(ps pointers, limit int) (s string, given bool) {
	v, name, ok := ps.find(f.doc)
	if !ok {
		return "", false
	}
	s, err := asText(v, limit)
	if err != nil {
		f.problem(flex.ReasonBadField, "%s: %v", name, err)
	}
	return s, true
}

// parsed reads a text through a parser; given as above.
func parsed[T any](f *fields, ps pointers, parse func(string) (T, error)) (out T, given bool) {
	v, name, ok := ps.find(f.doc)
	if !ok {
		return out, false
	}
	s, err := asText(v, maxText)
	if err != nil {
		f.problem(flex.ReasonBadField, "%s: %v", name, err)
		return out, true
	}
	if out, err = parse(s); err != nil {
		f.problem(flex.ReasonBadField, "%s: %q %v", name, clip(s), err)
	}
	return out, true
}

// need makes the absence of a field a problem.
func (f *fields) need(given bool, ps pointers) {
	if !given && len(ps) > 0 {
		f.problem(flex.ReasonBadField, "%s is missing", ps[0].String())
	}
}

// ids reads a list of ids, or a single one.
func (f *fields) ids(ps pointers) []string {
	v, name, ok := ps.find(f.doc)
	if !ok {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	if len(list) > maxAssets {
		f.problem(flex.ReasonBadField, "%s lists %d ids, more than %d", name, len(list), maxAssets)
		return nil
	}
	var out []string
	seen := map[string]bool{}
	for _, item := range list {
		id, err := asText(item, maxID)
		switch {
		case err != nil:
			f.problem(flex.ReasonBadField, "%s: %v", name, err)
		case id == "":
			f.problem(flex.ReasonBadField, "%s holds an empty id", name)
		case seen[id]:
			f.problem(flex.ReasonBadField, "%s names %q twice", name, clip(id))
		default:
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// power reads a magnitude: an exact decimal, as text or as a number's own
// digits. What is finer than a watt, negative or with an exponent is a
// problem: a rounded instruction is a wrong instruction.
func (f *fields) power(ps pointers, u unit) (w flex.Watts, given bool) {
	v, name, ok := ps.find(f.doc)
	if !ok {
		return 0, false
	}
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case json.Number:
		s = v.String()
	default:
		f.problem(flex.ReasonBadField, "%s: %s is not a decimal number", name, kindOf(v))
		return 0, true
	}
	w, err := flex.ParseDecimal(s, flex.Watts(u))
	if err == nil && strings.HasPrefix(s, "-") {
		err = fmt.Errorf("%q is negative: the direction has a field of its own", clip(s))
	}
	if err != nil {
		f.problem(flex.ReasonBadField, "%s: %v", name, err)
		return 0, true
	}
	return w, true
}

// whole reads a whole number from 0 to limit.
func wholeNumber(v any, limit int64) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%s is not a whole number", kindOf(v))
	}
	i, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil || i < 0 || i > limit {
		return 0, fmt.Errorf("%s is not a whole number from 0 to %d", clip(n.String()), limit)
	}
	return i, nil
}

// direction reads a direction by the profile's words.
func (f *fields) direction(ps pointers, p profilePower) flex.Direction {
	s, given := f.text(ps, maxText)
	switch {
	case !given || s == "":
		return ""
	case p.ExportWords.has(s):
		return flex.Export
	case p.ImportWords.has(s):
		return flex.Import
	}
	f.problem(flex.ReasonDirectionUnresolved, "%s: %q is neither export nor import: check the profile's power words", ps[0], clip(s))
	return ""
}

// instant reads a time in the profile's zone.
func (f *fields) instant(ps pointers, z zone) (time.Time, bool) {
	return parsed(f, ps, func(s string) (time.Time, error) { return parseInstant(s, z.Location) })
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
