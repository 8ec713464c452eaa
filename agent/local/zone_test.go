package local

import (
	"reflect"
	"testing"
	"time"
)

func TestTimesWithinAnAnswerAreTheSites(t *testing.T) {
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 7, 1, 16, 0, 0, 0, time.UTC)
	type inner struct{ At, Never time.Time }
	type all struct {
		Direct  time.Time
		Pointer *inner
		List    []inner
		Map     map[string]inner
		None    *inner
		hidden  time.Time
	}
	v := all{Direct: at, Pointer: &inner{At: at}, List: []inner{{At: at}}, Map: map[string]inner{"a": {At: at}}, hidden: at}
	inZone(reflect.ValueOf(&v), zone)
	for name, got := range map[string]time.Time{"direct": v.Direct, "pointer": v.Pointer.At, "list": v.List[0].At, "map": v.Map["a"].At} {
		if got.Format("15:04 MST") != "17:00 BST" || !got.Equal(at) {
			t.Errorf("%s is %s", name, got)
		}
	}
	if !v.Pointer.Never.IsZero() || v.hidden != at {
		t.Errorf("%+v", v)
	}
}
