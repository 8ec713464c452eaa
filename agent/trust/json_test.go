package trust

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

var documents = []string{
	`{"a":1,"b":{"a":"x:y"},"c":[{"a":1},{"a":2}]}`, `[]`, `"a:b"`, `12.50`, ` {"a\"":":"} `, `{"a\\":1,"b:":"\\\":"}`, `null`, "{}\n",
	`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, `{"a":{"x":1,"y":2},"a":{"z":3}}`, `[{"a":1,"a":2}]`,
	`{"\ud800":1,"\ud801":2}`, `{"a":1} x`, `{"a":1}{"b":2}`, `{"a":1`, ``, `{"a":"` + "\xff" + `"}`, `{a:1}`, `{"a"::1}`, "\ufeff{}",
	strings.Repeat("[", 33) + strings.Repeat("]", 33), strings.Repeat("[", 34) + strings.Repeat("]", 34), strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
}

// Decode takes what UniqueKeys takes, and nothing else.
func TestDecodeTakesWhatIsUnique(t *testing.T) {
	for _, doc := range documents {
		sameVerdict(t, []byte(doc))
	}
}

func sameVerdict(t *testing.T, raw []byte) {
	t.Helper()
	v, err := Decode(raw)
	if want := UniqueKeys(raw); (err == nil) != (want == nil) {
		t.Fatalf("%q: %v, want %v", raw, err, want)
	}
	if err != nil {
		return
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	again, err := Decode(text)
	if err != nil || !reflect.DeepEqual(v, again) {
		t.Fatalf("%q: %v, %v, want %v", raw, again, err, v)
	}
}

func FuzzDecode(f *testing.F) {
	for _, doc := range documents {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { sameVerdict(t, raw) })
}
