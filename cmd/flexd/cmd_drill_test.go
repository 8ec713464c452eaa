package main

import (
	"strings"
	"testing"

	"flexd/agent/flex"
)

// A drill passes only where the power changed as asked from what it was.
func TestADrillNeedsAChange(t *testing.T) {
	watts := func(w flex.Watts) *flex.Watts { return &w }
	for _, tc := range []struct {
		name  string
		was   before
		gave  *flex.Watts
		asked flex.Watts
		want  string // "": it passed
	}{
		{"it follows", before{power: 0, known: true}, watts(980), 1000, ""},
		{"from the other direction", before{power: -2000, known: true}, watts(950), 1000, ""},
		{"it is dead, and the house takes near what was asked", before{power: 400, known: true}, watts(400), 500, "did not change as asked"},
		{"it goes the wrong way", before{power: 0, known: true}, watts(-1000), 1000, "did not change as asked"},
		{"it gave that before", before{power: 480, known: true}, watts(500), 500, "proves nothing"},
		{"nothing was measured", before{power: 0, known: true}, nil, 1000, "not known"},
		{"nothing was known before", before{}, watts(1000), 1000, "not known"},
		{"panels are turned down", before{power: 4000, known: true, reduces: true}, watts(3050), -1000, ""},
		{"panels that go on", before{power: 4000, known: true, reduces: true}, watts(3990), -1000, "did not change as asked"},
		{"a battery that charges", before{power: 300, known: true}, watts(-980), -1000, ""},
	} {
		err := tc.was.changed(tc.gave, []flex.AssetShare{{Asset: "a", Power: tc.asked}})
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}
