package piclo

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

func lineOf(n *yaml.Node) string { return fmt.Sprintf("line %d: ", n.Line) }

// meant asks whether one of the known keys was meant; "" when none is near.
func meant(got string, known []string) string {
	best, limit := "", max(1, min(3, len(got)/3))
	if len(got) > 64 {
		return ""
	}
	for _, k := range known {
		if d := distance(strings.ToLower(got), k); d <= limit {
			best, limit = k, d-1
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance counts the letters to add, drop, exchange or swap with their
// neighbour: the optimal string alignment distance.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// keysOf lists the keys of one of the profile's sections by the name of its
// Go type, which is how the decoder names it.
func keysOf(typeName string) []string {
	return keysWithin(reflect.TypeFor[Profile](), typeName)
}

func keysWithin(t reflect.Type, typeName string) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys, deeper []string
	for i := range t.NumField() {
		tag, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if tag == "" {
			continue
		}
		keys = append(keys, tag)
		if deeper == nil {
			deeper = keysWithin(t.Field(i).Type, typeName)
		}
	}
	if t.String() == typeName {
		return keys
	}
	return deeper
}
