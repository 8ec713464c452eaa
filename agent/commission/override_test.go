package commission

import (
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestANudgeNeverStandsInTheWay(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	idle := []flex.Target{{Device: "bat2", Order: flex.OrderNone}, {Device: "bat1", Order: flex.OrderNone}}
	for _, c := range []struct {
		name    string
		now     time.Time
		targets []flex.Target
		holds   []flex.Hold
		want    flex.Order
		power   flex.Watts
		lost    bool
	}{
		{"nothing else is wanted", at, idle, nil, flex.OrderSet, 500, false},
		{"a device without a target", at, idle[:1], nil, flex.OrderSet, 500, false},
		{"its time is over", at.Add(time.Minute), idle, nil, flex.OrderNone, 0, true},
		{"long over", at.Add(time.Hour), idle, nil, flex.OrderNone, 0, true},
		{"a hold", at, idle, []flex.Hold{{}}, flex.OrderNone, 0, true},
		{"a dispatch", at, []flex.Target{{Device: "bat1", Order: flex.OrderSet, Power: 7, Dispatch: []flex.InstructionID{"i"}}}, nil, flex.OrderSet, 7, true},
		{"a dispatch that is only observed", at, []flex.Target{{Device: "bat1", Order: flex.OrderNone, Dispatch: []flex.InstructionID{"i"}}}, nil, flex.OrderNone, 0, true},
		{"a site limit", at, []flex.Target{{Device: "bat1", Order: flex.OrderCap, Power: 9}}, nil, flex.OrderCap, 9, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := NewOverride()
			o.Ask(Nudge{Device: "bat1", Order: flex.OrderSet, Power: 500, Until: at.Add(time.Minute)})
			if seen, _ := o.Planned(); seen {
				t.Error("planned before it was")
			}
			before := slices.Clone(c.targets)
			got, next := o.Shape(c.now, c.targets, time.Time{}, c.holds)
			i := slices.IndexFunc(got, func(x flex.Target) bool { return x.Device == "bat1" })
			if i < 0 || got[i].Order != c.want || got[i].Power != c.power {
				t.Errorf("%+v", got)
			}
			if !slices.EqualFunc(before, c.targets, func(a, b flex.Target) bool { return a.Order == b.Order && a.Power == b.Power }) {
				t.Error("the planner's own targets were changed")
			}
			seen, lost := o.Planned()
			if !seen || (lost != "") != c.lost {
				t.Errorf("seen %v, lost %q", seen, lost)
			}
			if !c.lost && !next.Equal(at.Add(time.Minute)) {
				t.Errorf("next %v: it must end on time", next)
			}
			if again, _ := o.Shape(at, idle, time.Time{}, nil); c.lost && again[1].Order != flex.OrderNone {
				t.Error("what was lost came back")
			}
		})
	}
}
