// Package golden pins the JSON that leaves the agent. It is for tests only.
//
// In: a value of each shape. Out: a failure where its JSON is not that of the
// file in testdata/golden. `go test ./agent ./cmd/flexd -run Golden -update`
// writes the files anew.
package golden

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/shown"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Check compares the shape of T with its file: every field is there, filled.
func Check[T any](t *testing.T, name string) {
	t.Helper()
	var v T
	Fill(&v)
	CheckValue(t, name, v)
}

// CheckValue compares a value with its file.
func CheckValue(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := shown.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	file := filepath.Join("testdata", "golden", name+".json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s has another shape than %s: what reads it must be told; -update writes it anew\n%s", name, file, got.Bytes())
	}
}

// Fill sets every field of what v points to, so that none is left out.
func Fill(v any) { fill(reflect.ValueOf(v).Elem(), 0) }

// deepest bounds shapes that contain themselves.
const deepest = 12

func fill(v reflect.Value, depth int) {
	if !v.CanSet() || depth > deepest {
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 3, 1, 17, 0, 0, 0, time.UTC)
		return
	case *time.Duration:
		*x = 90 * time.Second
		return
	case *flex.Percent:
		*x = 6425
		return
	case *json.RawMessage:
		*x = json.RawMessage(`{"raw":true}`)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(val, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, val)
	case reflect.Interface:
		if v.NumMethod() == 0 {
			v.Set(reflect.ValueOf("any"))
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1.5)
	default: // nothing that JSON holds
	}
}
