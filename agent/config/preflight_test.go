package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPreflightProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a check before it could be made", "preflight: {leads: [10s]}", "preflight.leads[0]: is out of range"},
		{"a check made twice", "preflight: {leads: [1h, 60m]}", "preflight.leads[1]: is listed twice"},
		{"too many checks", "preflight: {leads: [1h, 2h, 3h, 4h, 5h, 6h, 7h, 8h, 9h]}", "preflight.leads: has 9 leads"},
		{"a margin that is no part", "preflight: {margin: 5 kWh}", "preflight.margin: cannot be read"},
		{"charging without consent", "preflight: {prepare: precharge}\ndevices: [{id: b, role: storage, address: \"h:1\"}]", "preflight.prepare: finds no battery"},
		{"charging into a measured baseline", "preflight: {prepare: precharge}\ndevices: [{id: b, role: storage, grid_charge: true, address: \"h:1\"}]\nassets: [{market_id: x, devices: [b], reference: baseline, baseline: {method: recent}}]", "would charge within the baseline"},
		{"preparing otherwise", "preflight: {prepare: discharge}", "preflight.prepare: is not a known value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse("x.yaml", []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("want %q, got %v", tt.want, err)
			}
		})
	}
}

func TestPreflightLeadsComeLongestFirst(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []time.Duration
	}{{"", []time.Duration{24 * time.Hour, time.Hour, 10 * time.Minute}}, {"leads: [5m, 2d]", []time.Duration{48 * time.Hour, 5 * time.Minute}}, {"leads: []", nil}} {
		r := &reader{file: "x.yaml"}
		root := r.document([]byte("preflight: {" + tt.text + "}"))
		if got := preflight(value{r: r, node: root}.object("preflight").get("preflight")); !slices.Equal(got.Leads, tt.want) || got.Margin != 1000 || len(r.problems) > 0 {
			t.Errorf("%q: %+v, problems %v", tt.text, got, r.problems)
		}
	}
}
