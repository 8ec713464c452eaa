package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
)

// reader collects the problems of one file.
type reader struct {
	file     string
	problems Problems
}

// value is a YAML node with its path; node is nil when the key is absent.
type value struct {
	r      *reader
	node   *yaml.Node
	parent *yaml.Node
	path   string
}

// object is a mapping whose keys have been checked against the known ones.
type object struct {
	value
	fields map[string]*yaml.Node
}

// problem notes what is wrong with v and what to do.
func (v value) problem(remedy, what string, args ...any) {
	n := v.node
	if n == nil {
		n = v.parent
	}
	p := Problem{File: v.r.file, Line: 1, Column: 1, Path: v.path, What: fmt.Sprintf(what, args...), Remedy: remedy}
	if n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	if v.node != nil && v.node.Kind == yaml.ScalarNode {
		p.Value = v.node.Value
		if len(p.Value) > 60 {
			p.Value = p.Value[:60] + "…"
		}
	}
	v.r.problems = append(v.r.problems, p)
}

func (v value) given() bool { return v.node != nil }

// object reads a mapping with the known keys; anything else is a problem.
func (v value) object(known ...string) object {
	o := object{value: v, fields: map[string]*yaml.Node{}}
	if v.node == nil {
		return o
	}
	if v.node.Kind != yaml.MappingNode {
		v.problem("write it as a mapping with the keys "+strings.Join(known, ", "), "is not a mapping")
		return o
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		k, val := v.node.Content[i], v.node.Content[i+1]
		at := value{r: v.r, node: k, path: join(v.path, k.Value)}
		switch {
		case k.Kind != yaml.ScalarNode || !slices.Contains(known, k.Value):
			remedy := "remove it; known here: " + strings.Join(known, ", ")
			if s := nearest(k.Value, known); s != "" {
				remedy = fmt.Sprintf("did you mean %q?", s)
			}
			at.problem(remedy, "unknown key")
		case o.fields[k.Value] != nil:
			at.problem("keep one of the two", "given twice")
		case val.Kind == yaml.AliasNode:
			at.problem("write the value out", "aliases are not supported")
		default:
			o.fields[k.Value] = val
		}
	}
	return o
}

// get is the value of one key, absent or not.
func (o object) get(key string) value {
	return value{r: o.r, node: o.fields[key], parent: o.node, path: join(o.path, key)}
}

// items is the value's elements; something other than a list is a problem.
func (v value) items() []value {
	if v.node == nil {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode {
		v.problem("write it as a list", "is not a list")
		return nil
	}
	if len(v.node.Content) > 1000 {
		v.problem("split the site", "has more than 1000 elements")
		return nil
	}
	out := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		out[i] = value{r: v.r, node: n, parent: v.node, path: fmt.Sprintf("%s[%d]", v.path, i)}
	}
	return out
}

// text is a scalar, or "" when absent or not a scalar (a problem).
func (v value) text() string {
	if v.node == nil {
		return ""
	}
	if v.node.Kind != yaml.ScalarNode || v.node.Tag == "!!null" {
		v.problem("write a plain value", "is not a plain value")
		return ""
	}
	if len(v.node.Value) > 4096 {
		v.problem("shorten it", "is longer than 4096 characters")
		return ""
	}
	return v.node.Value
}

// required is text that must be there.
func (v value) required(remedy string) string {
	if v.node == nil {
		v.problem(remedy, "is missing")
		return ""
	}
	s := v.text()
	if s == "" && v.node.Kind == yaml.ScalarNode && v.node.Tag != "!!null" {
		v.problem(remedy, "is empty")
	}
	return s
}

// parsed applies a parser that explains itself to a given value.
func parsed[T any](v value, remedy string, parse func(string) (T, error)) T {
	var zero T
	if v.node == nil {
		return zero
	}
	s := v.text()
	if s == "" {
		return zero
	}
	out, err := parse(s)
	if err != nil {
		v.problem(remedy, "cannot be read: %v", err)
		return zero
	}
	return out
}

// power is a non-negative power with its unit.
func (v value) power() flex.Watts {
	w := parsed(v, `write a power with its unit, such as "100 kW"`, flex.ParsePower)
	if w < 0 {
		v.problem("write the magnitude; the key gives the direction", "is negative")
		return 0
	}
	return w
}

func (v value) percent() flex.Percent {
	return parsed(v, `write a percentage such as "20%"`, flex.ParsePercent)
}

// duration is a Go duration within [lo, hi]; def when absent.
func (v value) duration(def, lo, hi time.Duration) time.Duration {
	if v.node == nil {
		return def
	}
	d := parsed(v, `write a duration with its unit, such as "5m", "500ms" or "90d"`, ParseDuration)
	if d != 0 && (d < lo || d > hi) || d == 0 && lo > 0 {
		v.problem(fmt.Sprintf("choose from %v to %v", lo, hi), "is out of range")
		return def
	}
	return d
}

// ParseDuration is Go's, and whole days as "14d".
func ParseDuration(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.Atoi(n)
		if err != nil || days < -100_000 || days > 100_000 {
			return 0, fmt.Errorf("%q is not a number of days", s)
		}
		return time.Duration(days) * 24 * time.Hour, nil
	}
	return time.ParseDuration(s)
}

// flag is a boolean; on/off and yes/no are accepted as text or boolean.
func (v value) flag() bool {
	if v.node == nil {
		return false
	}
	switch strings.ToLower(v.text()) {
	case "true", "on", "yes":
		return true
	case "false", "off", "no":
		return false
	}
	v.problem("write true or false", "is not true or false")
	return false
}

// choice is one of the words.
func (v value) choice(def string, words []string) string {
	if v.node == nil {
		return def
	}
	s := v.text()
	if slices.Contains(words, s) {
		return s
	}
	v.problem("choose "+strings.Join(words, " or "), "is not a known value")
	return def
}

// unbuilt refuses a key that this version does not implement.
func (o object) unbuilt(keys ...string) {
	for _, k := range keys {
		if v := o.get(k); v.given() {
			v.problem("remove it", "is not implemented in this version")
		}
	}
}

// number is a whole number within [lo, hi]; def when absent.
func (v value) number(def, lo, hi int) int {
	if v.node == nil {
		return def
	}
	n := parsed(v, fmt.Sprintf("write a whole number from %d to %d", lo, hi), strconv.Atoi)
	if n < lo || n > hi {
		v.problem(fmt.Sprintf("choose from %d to %d", lo, hi), "is out of range")
		return def
	}
	return n
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
