package regmap

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// node is one schema, with the keywords that ours uses and no others.
type node struct {
	Schema      string           `json:"$schema"`
	Title       string           `json:"title"`
	Description string           `json:"description"`
	Ref         string           `json:"$ref"`
	Defs        map[string]*node `json:"$defs"`
	Type        string           `json:"type"`
	Properties  map[string]*node `json:"properties"`
	Additional  json.RawMessage  `json:"additionalProperties"`
	Required    []string         `json:"required"`
	Items       *node            `json:"items"`
	MinItems    int              `json:"minItems"`
	Enum        []any            `json:"enum"`
	Pattern     string           `json:"pattern"`
	Minimum     *float64         `json:"minimum"`
	Maximum     *float64         `json:"maximum"`
	OneOf       []*node          `json:"oneOf"`
}

func schemaOf(t *testing.T) *node {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(Schema())))
	dec.DisallowUnknownFields()
	n := &node{}
	if err := dec.Decode(n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) at(root *node) *node {
	if name, ok := strings.CutPrefix(n.Ref, "#/$defs/"); ok {
		return root.Defs[name]
	}
	return n
}

// check tells what of a value does not fit.
func (n *node) check(root *node, path string, v any) []string {
	n = n.at(root)
	var out []string
	bad := func(format string, args ...any) { out = append(out, path+": "+fmt.Sprintf(format, args...)) }
	if len(n.OneOf) > 0 {
		fits := 0
		for _, o := range n.OneOf {
			if len(o.check(root, path, v)) == 0 {
				fits++
			}
		}
		if fits != 1 {
			bad("%v fits %d of %d", v, fits, len(n.OneOf))
		}
	}
	if len(n.Enum) > 0 && !slices.ContainsFunc(n.Enum, func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(v) }) {
		bad("%v is none of %v", v, n.Enum)
	}
	if kind := kindOf(v); n.Type != "" && kind != n.Type && !(n.Type == "number" && kind == "integer") {
		bad("%v is of type %s, not %s", v, kind, n.Type)
		return out
	}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			switch sub := n.Properties[k]; {
			case sub != nil:
				out = append(out, sub.check(root, path+"."+k, x)...)
			case string(n.Additional) == "false":
				bad("%s is not known", k)
			case len(n.Additional) > 0:
				more := &node{}
				if err := json.Unmarshal(n.Additional, more); err == nil {
					out = append(out, more.check(root, path+"."+k, x)...)
				}
			}
		}
		for _, k := range n.Required {
			if _, ok := v[k]; !ok {
				bad("%s is missing", k)
			}
		}
	case []any:
		if len(v) < n.MinItems {
			bad("%d items", len(v))
		}
		for i, x := range v {
			if n.Items != nil {
				out = append(out, n.Items.check(root, fmt.Sprintf("%s[%d]", path, i), x)...)
			}
		}
	case string:
		if n.Pattern != "" && !regexp.MustCompile(n.Pattern).MatchString(v) {
			bad("%q does not match %s", v, n.Pattern)
		}
	case int:
		if n.Minimum != nil && float64(v) < *n.Minimum || n.Maximum != nil && float64(v) > *n.Maximum {
			bad("%d is out of range", v)
		}
	}
	return out
}

func kindOf(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case int:
		return "integer"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	}
	return fmt.Sprintf("%T", v)
}

// What we ship must not be red in an editor, and what the loader refuses for
// its form must be.
func TestTheSchemaAgreesWithTheLoader(t *testing.T) {
	root := schemaOf(t)
	for _, name := range Names() {
		raw, _ := Source(name)
		var v any
		if err := yaml.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		for _, p := range root.check(root, name, v) {
			t.Error(p)
		}
	}
	for _, swap := range [][2]string{
		{"role: storage", "role: toaster"}, {"status: unverified", "status: maybe"}, {"access: rw", "access: sometimes"}, {"memory: volatile", "memory: flash"},
		{"type: s32", "type: s33"}, {"refresh: 5s", "refresh: soon"}, {"title: Victron", "titel: Victron"}, {"of: grid", "of: moon"},
	} {
		raw, _ := Source("victron-gx")
		text := strings.Replace(string(raw), swap[0], swap[1], 1)
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("x.yaml", []byte(text)); err == nil {
			t.Errorf("%s: the loader takes it", swap[1])
		}
		if len(root.check(root, "", v)) == 0 {
			t.Errorf("%s: the schema takes it", swap[1])
		}
	}
}

// The schema knows every key that the loader knows, and no other.
func TestTheSchemaKnowsEveryKey(t *testing.T) {
	root := schemaOf(t)
	sameKeys(t, root, "map", root, reflect.TypeFor[Map](), map[reflect.Type]bool{})
}

func sameKeys(t *testing.T, root *node, path string, n *node, typ reflect.Type, seen map[reflect.Type]bool) {
	n = n.at(root)
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		if typ.Kind() == reflect.Slice && n.Items != nil {
			n = n.Items.at(root)
		}
		if typ.Kind() == reflect.Map && typ.Key().Kind() == reflect.String && len(n.Additional) > 0 && string(n.Additional) != "false" {
			more := &node{}
			if err := json.Unmarshal(n.Additional, more); err != nil {
				t.Fatal(err)
			}
			n = more.at(root)
		} else if typ.Kind() == reflect.Map && len(n.Properties) > 0 { // control: set and cap
			n = n.Properties[slices.Sorted(maps.Keys(n.Properties))[0]].at(root)
		}
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || seen[typ] {
		return
	}
	var keys []string
	for i := range typ.NumField() {
		key := typ.Field(i).Tag.Get("yaml")
		if key == "" {
			continue
		}
		keys = append(keys, key)
		if sub := n.Properties[key]; sub != nil {
			seen[typ] = true
			sameKeys(t, root, path+"."+key, sub, typ.Field(i).Type, seen)
		}
	}
	slices.Sort(keys)
	if known := slices.Sorted(maps.Keys(n.Properties)); len(keys) > 0 && !slices.Equal(keys, known) {
		t.Errorf("%s: the loader knows %v, the schema %v", path, keys, known)
	}
}
