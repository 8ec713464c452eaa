package shown

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"flexd/agent/flex"
)

type inner struct {
	Step time.Duration `json:"step"`
}

type sample struct {
	inner
	Plain   string                  `json:"plain,omitempty"`
	Wait    time.Duration           `json:"wait,omitempty"`
	Lead    *time.Duration          `json:"lead,omitempty"`
	SoC     *flex.Percent           `json:"soc,omitempty"`
	Many    []*flex.Percent         `json:"many,omitempty"`
	At      time.Time               `json:"at,omitzero"`
	Raw     json.RawMessage         `json:"raw,omitempty"`
	By      map[flex.DeviceID]inner `json:"by,omitempty"`
	Any     any                     `json:"any,omitempty"`
	Hidden  int                     `json:"-"`
	Bytes   []byte                  `json:"bytes,omitempty"`
	NoTag   int
	private int
}

// What is shown has its units in its keys, and comes back as it was.
func TestShownAndBack(t *testing.T) {
	soc, lead := flex.Percent(6425), 90*time.Second
	in := sample{inner: inner{Step: 30 * time.Minute}, Plain: "a\"b", Wait: 1500 * time.Millisecond, Lead: &lead, SoC: &soc, Many: []*flex.Percent{&soc, nil},
		At: time.Date(2026, 3, 1, 17, 0, 0, 0, time.UTC), Raw: json.RawMessage(`{"x":1}`), By: map[flex.DeviceID]inner{"b": {Step: time.Second}, "a": {}},
		Bytes: []byte{1, 2}, NoTag: 3, private: 1}
	raw, err := Marshal(&in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"step_s":1800,"plain":"a\"b","wait_s":1.5,"lead_s":90,"soc_percent":64.25,"many_percent":[64.25,null],"at":"2026-03-01T17:00:00Z","raw":{"x":1},"by":{"a":{"step_s":0},"b":{"step_s":1}},"bytes":"AQI=","NoTag":3}`
	if string(raw) != want {
		t.Errorf("shown as\n%s, want\n%s", raw, want)
	}
	var back sample
	if err := Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	in.private = 0
	if !reflect.DeepEqual(back, in) {
		t.Errorf("came back as %+v, want %+v", back, in)
	}
}

// Where nothing has a unit, it is the same as encoding/json.
func TestShownIsOrdinaryJSONElsewhere(t *testing.T) {
	for _, v := range []any{nil, 1, "x", []int(nil), []string{}, map[string]int(nil), map[string]any{"b": 1, "a": []any{nil, 1.5}},
		struct{}{}, flex.Window{Start: time.Unix(0, 0).UTC()}, flex.Ack{State: "active", Conditions: []flex.Condition{"partial"}}, flex.Event{Text: "<&>"}} {
		got, err := Marshal(v)
		want, _ := json.Marshal(v)
		if err != nil || string(got) != string(want) {
			t.Errorf("%T is %s (%v), want %s", v, got, err, want)
		}
	}
}
