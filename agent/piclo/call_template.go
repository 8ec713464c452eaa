package piclo

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of a template. A profile is a person's file, but a mistake in it
// must not become a request without end.
const (
	maxTemplateDepth = 16
	maxTemplateNodes = 500
	maxValue         = 1000 // runes of a free text that goes to the market
)

// values are what the placeholders of one request stand for: string, int64,
// time.Time, or []any for items.
type values map[string]any

// template is a value with placeholders in it, checked at load. Rendering
// builds a tree for the JSON encoder; nothing is ever pasted into text that
// is JSON already.
type template struct {
	object map[string]template
	list   []template
	text   []piece // of a text; one lone placeholder keeps its value's type
	plain  any     // json.Number, bool or nil
	kind   templateKind
}

type templateKind int

const (
	plainTemplate templateKind = iota
	textTemplate
	listTemplate
	objectTemplate
)

// piece is a stretch of a text: literal, or a placeholder.
type piece struct {
	literal string
	name    string
	format  string // "", text or unix
	// maybe marks {name?}: left out with its field when there is no value.
	maybe bool
}

// lone tells whether the whole text is one placeholder.
func (t template) lone() (piece, bool) {
	if t.kind == textTemplate && len(t.text) == 1 && t.text[0].name != "" {
		return t.text[0], true
	}
	return piece{}, false
}

// reader turns YAML into templates and knows which names there are.
type reader struct {
	names []string
	nodes int
}

// read checks a node and everything below it. Only the value of a field, or
// of a query parameter, can be left out.
func (r *reader) read(n *yaml.Node, depth int, field bool) (template, error) {
	if r.nodes++; depth > maxTemplateDepth || r.nodes > maxTemplateNodes {
		return template{}, atLine(n, "a body has at most %d values, %d deep", maxTemplateNodes, maxTemplateDepth)
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.readObject(n, depth)
	case yaml.SequenceNode:
		t := template{kind: listTemplate}
		for _, c := range n.Content {
			e, err := r.read(c, depth+1, false)
			if err != nil {
				return t, err
			}
			t.list = append(t.list, e)
		}
		return t, nil
	case yaml.ScalarNode:
		return r.readScalar(n, field)
	case yaml.AliasNode, yaml.DocumentNode:
	}
	return template{}, atLine(n, "write the value out: an alias is not understood here")
}

func (r *reader) readObject(n *yaml.Node, depth int) (template, error) {
	t := template{kind: objectTemplate, object: map[string]template{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || key.Value == "" || len(key.Value) > 128 || !visible(key.Value) {
			return t, atLine(key, "the name of a field is a short plain text")
		}
		if strings.ContainsAny(key.Value, "{}") {
			return t, atLine(key, "%q: a placeholder cannot be the name of a field", clip(key.Value))
		}
		if _, twice := t.object[key.Value]; twice {
			return t, atLine(key, "the field %q is there twice", clip(key.Value))
		}
		v, err := r.read(n.Content[i+1], depth+1, true)
		if err != nil {
			return t, err
		}
		t.object[key.Value] = v
	}
	return t, nil
}

func (r *reader) readScalar(n *yaml.Node, field bool) (template, error) {
	switch n.ShortTag() {
	case "!!null":
		return template{}, nil
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return template{}, err
		}
		return template{plain: b}, nil
	case "!!int", "!!float":
		return readNumber(n)
	case "!!str", "!!timestamp": // an instant is text in JSON
	default:
		return template{}, atLine(n, "a value of the kind %s does not belong here", strings.TrimPrefix(n.ShortTag(), "!!"))
	}
	pieces, err := r.pieces(n.Value)
	if err != nil {
		return template{}, atLine(n, "%q: %v", clip(n.Value), err)
	}
	t := template{kind: textTemplate, text: pieces}
	for _, p := range pieces {
		whole := len(pieces) == 1
		switch {
		case p.name == itemsName && (!whole || p.format != "" || p.maybe):
			return t, atLine(n, "{%s} stands alone: it is a list", itemsName)
		case p.maybe && (!whole || !field):
			return t, atLine(n, "{%s?} must be the whole value of a field, so that the field can be left out", p.name)
		}
	}
	return t, nil
}

// readNumber keeps a number as it is written, where JSON can.
func readNumber(n *yaml.Node) (template, error) {
	if json.Valid([]byte(n.Value)) && len(n.Value) <= 40 {
		return template{plain: json.Number(n.Value)}, nil
	}
	var i int64
	if n.Decode(&i) == nil {
		return template{plain: i}, nil
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return template{}, atLine(n, "%q is not a number that JSON can say", clip(n.Value))
	}
	return template{plain: f}, nil
}

// pieces splits a text at its placeholders. {{ and }} stand for braces.
func (r *reader) pieces(s string) ([]piece, error) {
	if len(s) > 1024 {
		return nil, errors.New("longer than 1024 bytes")
	}
	if !visible(strings.NewReplacer("\n", "", "\t", "").Replace(s)) {
		return nil, errors.New("hides a control character")
	}
	var out []piece
	literal := func(t string) {
		if k := len(out); k > 0 && out[k-1].name == "" {
			out[k-1].literal += t
		} else if t != "" {
			out = append(out, piece{literal: t})
		}
	}
	for s != "" {
		at := strings.IndexAny(s, "{}")
		if at < 0 {
			literal(s)
			break
		}
		literal(s[:at])
		if rest := s[at:]; strings.HasPrefix(rest, "{{") || strings.HasPrefix(rest, "}}") {
			literal(rest[:1])
			s = rest[2:]
			continue
		}
		inner, rest, closed := strings.Cut(s[at+1:], "}")
		if s[at] == '}' || !closed {
			return nil, errors.New("a brace without its partner: write {{ or }} for the character itself")
		}
		p, err := r.placeholder(inner)
		if err != nil {
			return nil, err
		}
		out, s = append(out, p), rest
	}
	return out, nil
}

func (r *reader) placeholder(inner string) (piece, error) {
	var p piece
	inner, p.maybe = strings.CutSuffix(inner, "?")
	name, format, formatted := strings.Cut(inner, ":")
	p.name, p.format = name, format
	if !slices.Contains(r.names, p.name) {
		return p, fmt.Errorf("no such placeholder here: choose of {%s}", strings.Join(r.names, "}, {"))
	}
	if formatted && p.format != "text" && p.format != "unix" {
		return p, errors.New("a format is :text or :unix")
	}
	if p.format == "unix" && !slices.Contains([]string{"at", "from", "to"}, p.name) {
		return p, errors.New(":unix is a format of {at}, {from} and {to}")
	}
	return p, nil
}

// holds counts the placeholders of a name.
func (t template) holds(name string) int {
	n := 0
	for _, p := range t.text {
		if p.name == name {
			n++
		}
	}
	for _, e := range t.list {
		n += e.holds(name)
	}
	for _, e := range t.object {
		n += e.holds(name)
	}
	return n
}

// render gives the value as the JSON encoder takes it; absent tells that the
// field is to be left out.
func (t template) render(v values) (value any, absent bool) {
	switch t.kind {
	case plainTemplate:
		return t.plain, false
	case listTemplate:
		out := make([]any, 0, len(t.list))
		for _, e := range t.list {
			one, _ := e.render(v)
			out = append(out, one)
		}
		return out, false
	case objectTemplate:
		out := make(map[string]any, len(t.object))
		for k, e := range t.object {
			if one, absent := e.render(v); !absent {
				out[k] = one
			}
		}
		return out, false
	case textTemplate:
	}
	if p, ok := t.lone(); ok {
		return p.value(v)
	}
	return t.join(v), false
}

// join renders as text.
func (t template) join(v values) string {
	var b strings.Builder
	for _, p := range t.text {
		b.WriteString(p.literal)
		if p.name != "" {
			b.WriteString(p.string(v))
		}
	}
	return b.String()
}

// value is a lone placeholder with its own type.
func (p piece) value(v values) (value any, absent bool) {
	x := v[p.name]
	if p.maybe && empty(x) {
		return nil, true
	}
	switch x := x.(type) {
	case []any:
		return x, false
	case int64:
		if p.format == "" {
			return x, false
		}
	case time.Time:
		if p.format == "unix" {
			return x.Unix(), false
		}
	}
	return p.string(v), false
}

// string is a placeholder within a text.
func (p piece) string(v values) string {
	switch x := v[p.name].(type) {
	case string:
		return shortened(x)
	case int64:
		return fmt.Sprint(x)
	case time.Time:
		if p.format == "unix" {
			return fmt.Sprint(x.Unix())
		}
		return x.UTC().Format(time.RFC3339)
	}
	return ""
}

func empty(x any) bool {
	switch x := x.(type) {
	case nil:
		return true
	case string:
		return x == ""
	case time.Time:
		return x.IsZero()
	}
	return false
}

// shortened cuts a free text to what a market may reasonably take.
func shortened(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= maxValue {
		return s
	}
	if r := []rune(s); len(r) > maxValue {
		return string(r[:maxValue])
	}
	return s
}

// marshal renders to JSON.
func (t template) marshal(v values) ([]byte, error) {
	value, _ := t.render(v)
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("market request: %w", err)
	}
	return raw, nil
}
