// Package shown is how values look in the JSON that leaves the agent: on the
// command line, on the page and at the broker.
//
// In: values of any type. Out: JSON in which a duration is seconds under a key
// that ends in _s, and a percentage is a number of per cent under a key that
// ends in _percent; all else is as encoding/json has it. What lies in the
// store keeps its own shape, whatever is shown.
package shown

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"flexd/agent/flex"
)

// What the keys of the two end in.
const (
	seconds = "_s"
	percent = "_percent"
)

var (
	durationType  = reflect.TypeFor[time.Duration]()
	percentType   = reflect.TypeFor[flex.Percent]()
	marshalerType = reflect.TypeFor[json.Marshaler]()
	textType      = reflect.TypeFor[encoding.TextMarshaler]()
)

// Marshal encodes a value as it is shown.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := write(&b, reflect.ValueOf(v)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func write(b *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	switch t := v.Type(); {
	case t == durationType:
		b.WriteString(strconv.FormatFloat(time.Duration(v.Int()).Round(time.Microsecond).Seconds(), 'f', -1, 64))
		return nil
	case t == percentType:
		b.WriteString(strconv.FormatFloat(float64(v.Int())/100, 'f', -1, 64))
		return nil
	case t.Implements(marshalerType), t.Implements(textType):
		return leaf(b, v)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return write(b, v.Elem())
	case reflect.Struct:
		b.WriteByte('{')
		first := true
		err := fields(b, v, &first)
		b.WriteByte('}')
		return err
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && (v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8) {
			return leaf(b, v)
		}
		return list(b, v)
	case reflect.Map:
		return entries(b, v)
	default:
		return leaf(b, v)
	}
}

func leaf(b *bytes.Buffer, v reflect.Value) error {
	raw, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Errorf("cannot show a %v: %w", v.Type(), err)
	}
	b.Write(raw)
	return nil
}

func list(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := write(b, v.Index(i)); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func entries(b *bytes.Buffer, v reflect.Value) error {
	if v.IsNil() {
		b.WriteString("null")
		return nil
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return cmp.Compare(fmt.Sprint(x.Interface()), fmt.Sprint(y.Interface())) })
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		name(b, fmt.Sprint(k.Interface()))
		if err := write(b, v.MapIndex(k)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func name(b *bytes.Buffer, key string) {
	raw, _ := json.Marshal(key) // strings always encode
	b.Write(raw)
	b.WriteByte(':')
}

// fields writes those of a struct, embedded ones as its own.
func fields(b *bytes.Buffer, v reflect.Value, first *bool) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, omit := keyOf(f)
		if inner := v.Field(i); f.Anonymous && f.Tag.Get("json") == "" && inner.Kind() == reflect.Struct {
			if err := fields(b, inner, first); err != nil {
				return err
			}
			continue
		}
		if key == "" || omit(v.Field(i)) {
			continue
		}
		if !*first {
			b.WriteByte(',')
		}
		*first = false
		name(b, key+suffix(f.Type))
		if err := write(b, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// keyOf is a field's key in the JSON of the domain, "" for none, and when it
// is left out.
func keyOf(f reflect.StructField) (string, func(reflect.Value) bool) {
	key, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
	if !f.IsExported() || key == "-" {
		return "", nil
	}
	if key == "" {
		key = f.Name
	}
	options := strings.Split(rest, ",")
	zero, empty := slices.Contains(options, "omitzero"), slices.Contains(options, "omitempty")
	return key, func(v reflect.Value) bool { return zero && isZero(v) || empty && isEmpty(v) }
}

func isZero(v reflect.Value) bool {
	if z, ok := v.Interface().(interface{ IsZero() bool }); ok {
		return z.IsZero()
	}
	return v.IsZero()
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Array, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}

// suffix names the unit of a field, "" where its JSON is the domain's.
func suffix(t reflect.Type) string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch t {
	case durationType:
		return seconds
	case percentType:
		return percent
	}
	return ""
}

// Unmarshal decodes what Marshal has made.
func Unmarshal(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return err
	}
	raw, err := json.Marshal(domain(tree, reflect.TypeOf(v)))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// domain turns a tree of JSON into that of the domain's own encoding.
func domain(tree any, t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	number, isNumber := tree.(json.Number)
	switch {
	case t == durationType && isNumber:
		return scaled(number, float64(time.Second))
	case t == percentType && isNumber:
		return scaled(number, 100)
	case t.Implements(marshalerType), reflect.PointerTo(t).Implements(marshalerType):
		return tree
	}
	switch node := tree.(type) {
	case []any:
		if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
			for i := range node {
				node[i] = domain(node[i], t.Elem())
			}
		}
	case map[string]any:
		if t.Kind() == reflect.Map {
			for k := range node {
				node[k] = domain(node[k], t.Elem())
			}
		}
		if t.Kind() == reflect.Struct {
			members(node, t)
		}
	}
	return tree
}

func members(node map[string]any, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Tag.Get("json") == "" && f.Type.Kind() == reflect.Struct {
			members(node, f.Type)
			continue
		}
		key, _ := keyOf(f)
		if key == "" {
			continue
		}
		if end := suffix(f.Type); end != "" {
			if got, ok := node[key+end]; ok {
				delete(node, key+end)
				node[key] = got
			}
		}
		if got, ok := node[key]; ok {
			node[key] = domain(got, f.Type)
		}
	}
}

func scaled(n json.Number, by float64) any {
	f, err := n.Float64()
	if err != nil {
		return n
	}
	return int64(math.Round(f * by))
}
