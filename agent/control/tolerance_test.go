package control

import (
	"testing"

	"flexd/agent/flex"
)

func TestTolerance(t *testing.T) {
	for _, tc := range []struct {
		name         string
		rule         Delivery
		asked, grain flex.Watts
		want         flex.Watts
	}{
		{"a part of what is asked", Delivery{}, -5000, 0, 250},
		{"as configured", Delivery{Part: 1000}, 5000, 0, 500},
		{"a power in its place", Delivery{Power: 7}, 5000, 0, 7},
		{"no finer than the noise of a meter", Delivery{Part: 10}, 5000, 0, 50},
		{"no finer than a step of the device", Delivery{}, 5000, 300, 300},
		{"the rating does not count: 310 W of 500 W are missing", Delivery{}, 500, 10, 50},
		{"half is never tolerated", Delivery{}, 60, 1000, 30},
		{"nor by configuration", Delivery{Power: 2000}, 1000, 0, 500},
		{"asked to rest", Delivery{}, 0, 100, 100},
	} {
		if got := tc.rule.withDefaults().tolerance(tc.asked, tc.grain); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestNothingActsAtRest(t *testing.T) {
	w := func(p flex.Watts) *flex.Watts { return &p }
	for _, tc := range []struct {
		order    flex.Order
		told     flex.Watts
		measured *flex.Watts
		want     bool
	}{
		{flex.OrderSet, 3000, w(0), false},
		{flex.OrderSet, 3000, w(-3000), false},
		{flex.OrderSet, 3000, w(200), true}, // on its way
		{flex.OrderSet, -3000, w(-200), true},
		{flex.OrderSet, 40, w(25), true},
		{flex.OrderSet, 0, w(0), true},
		{flex.OrderSet, 3000, nil, true},
		{flex.OrderCap, 3000, w(0), true},
	} {
		if got := acts(tc.order, tc.told, tc.measured); got != tc.want {
			t.Errorf("%v %v measured %v: %v", tc.order, tc.told, tc.measured, got)
		}
	}
}
