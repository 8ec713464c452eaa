package piclo

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

// Field is how one field of a document was understood.
type Field struct {
	Name    string   `json:"field"`
	From    string   `json:"from,omitempty"`    // JSON pointer of what was found
	Raw     string   `json:"raw,omitempty"`     // the value as it came, cut short
	Means   string   `json:"means,omitempty"`   // with its unit
	Looked  []string `json:"looked,omitempty"`  // where nothing was found
	Problem string   `json:"problem,omitempty"` // why it cannot be used
}

// Found tells whether the document has the field.
func (f Field) Found() bool { return f.Raw != "" }

// trace records what the decoder does; it decides nothing. Every method may
// be called on nil, which records nothing: that is how real messages are read.
type trace struct {
	fields  []*Field
	used    []pointer
	current *Field
	loose   []string // problems of the document as a whole
	why     string   // what made it a start or a stop
}

// maxShown bounds a raw value that is shown.
const maxShown = 120

// again makes problems and meanings belong to a field that was looked up.
func (t *trace) again(name string) bool {
	if t == nil {
		return false
	}
	for _, f := range t.fields {
		if f.Name == name {
			t.current = f
			return true
		}
	}
	return false
}

// looked records a look-up.
func (t *trace) looked(name string, ps pointers, at pointer, v any, ok bool) {
	if t == nil || len(ps) == 0 || t.again(name) {
		return
	}
	t.current = &Field{Name: name}
	t.fields = append(t.fields, t.current)
	if !ok {
		for _, p := range ps {
			t.current.Looked = append(t.current.Looked, pointerText(p))
		}
		return
	}
	t.used = append(t.used, at)
	t.current.From, t.current.Raw = pointerText(at), shown(v)
}

// pointerText writes a pointer as in the profile; the whole document is "".
func pointerText(p pointer) string {
	if len(p) == 0 {
		return `""`
	}
	return trust.JoinPointer(p)
}

// shown is a value as JSON, cut short.
func shown(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return cut(string(raw))
}

func cut(s string) string {
	if len(s) > maxShown {
		return strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}

// means records what the current field was understood as.
func (t *trace) means(format string, args ...any) {
	if t != nil && t.current != nil {
		t.current.Means = cut(fmt.Sprintf(format, args...))
	}
}

// value records a parsed value.
func (t *trace) value(v any) {
	if t == nil {
		return
	}
	if at, ok := v.(time.Time); ok {
		t.means("%s", at.UTC().Format(time.RFC3339Nano))
		return
	}
	t.means("%v", v)
}

func (t *trace) problem(r flex.Refusal) {
	switch {
	case t == nil:
	case t.current == nil:
		t.loose = append(t.loose, r.Error())
	case t.current.Problem == "":
		t.current.Problem = r.Error()
	default:
		t.current.Problem += "; " + r.Error()
	}
}

// verdict records why it is a start or a stop.
func (t *trace) verdict(format string, args ...any) {
	if t != nil {
		t.why = fmt.Sprintf(format, args...)
	}
}

// maxIgnored bounds the list of fields that nobody looks at.
const maxIgnored = 200

// ignored lists the fields of doc that no look-up used.
func (t *trace) ignored(doc any) []string {
	var out []string
	var walk func(at pointer, v any)
	walk = func(at pointer, v any) {
		within := false
		for _, u := range t.used {
			if len(u) <= len(at) && isPrefix(u, at) {
				return
			}
			within = within || isPrefix(at, u)
		}
		m, isObject := v.(map[string]any)
		if isObject && (within || len(at) < 2) && len(m) > 0 {
			for _, key := range slices.Sorted(maps.Keys(m)) {
				walk(append(at[:len(at):len(at)], key), m[key])
			}
			return
		}
		if len(out) < maxIgnored {
			out = append(out, pointerText(at)+" = "+shown(v))
		}
	}
	walk(pointer{}, doc)
	return out
}

func isPrefix(p, of pointer) bool {
	if len(p) > len(of) {
		return false
	}
	for i := range p {
		if p[i] != of[i] {
			return false
		}
	}
	return true
}
