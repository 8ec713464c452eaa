package regmap_test

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/regmap"
)

// telling is a map whose points mean what the device tells.
const telling = `
map: telling
title: x
status: unverified
sources: {paper: x}
role: [hybrid, storage]
words_by: {point: order, low_first: [0], high_first: [1]}
points:
  order: {at: 5, type: u16, from: paper}
  new_power: {at: 30, type: s32, unit: W, optional: true}
  flow: {at: 21, type: u16}
  old_power: {at: 20, type: u16, unit: W, direction: {point: flow, plus: "0x4", minus: "0x2"}}
  battery: {choose: [{if: [{point: new_power, there: true}], use: new_power}, {use: old_power}]}
  second: {at: 40, type: s16, unit: W, optional: true}
  ac: {at: 22, type: s16, unit: W}
  switch: {at: 23, type: u16}
  mode: {at: 50, type: u16, access: rw, memory: persistent}
  setpoint: {at: 51, type: s32, unit: W, access: rw, memory: volatile}
  beat: {at: 53, type: u16, unit: s, access: rw, memory: volatile, moves: true}
  consent: {at: 54, type: u16, access: rw, memory: persistent, permission: grid_charge}
measure: {power: ac, battery: [battery, second]}
rating: {charge: 5000, discharge: 5000, power: 6000}
need: [{point: switch, in: [1], hint: turn the switch}]
control:
  set:
    of: battery
    arm:
      - {point: consent, value: 1, when: grid}
    write:
      - {point: beat, value: 60}
      - {point: setpoint, value: power}
    engage:
      - {point: mode, value: 3}
    release:
      - {point: mode, value: found}
      - {point: setpoint, value: found}
      - {point: consent, value: found}
    boot: [{point: mode, value: 0}]
    active: [{point: mode, in: [3]}]
    fallback: {after: 60s, to: itself}
`

func tells(t *testing.T, change func(*vendor)) (*vendor, func(consent bool) *regmap.Device) {
	t.Helper()
	v := newVendor(1)
	v.put(5, 1)
	v.put(20, 700, 4, 0, 1)
	v.put(50, 0, 0, 0, 0, 0)
	v.allow, v.arms = among(50, 51, 52, 53, 54), only(53)
	v.power = func(*vendor, time.Time) (float64, bool) { return 0, false }
	v.show = func(v *vendor, _ float64) {
		if n := v.get(53); n > 0 {
			v.put(53, n-1) // it counts down with everything that is asked
		}
	}
	change(v)
	m, err := regmap.Parse("telling.yaml", []byte(telling))
	if err != nil {
		t.Fatal(err)
	}
	return v, func(consent bool) *regmap.Device {
		d, err := regmap.New(regmap.Config{ID: "dev", Endpoint: "h:1", Unit: 1, Map: m, Bus: v, Role: flex.RoleStorage, GridCharge: consent})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestAPointMeansWhatTheDeviceTells(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*vendor)
		want   flex.Watts
		known  bool
	}{
		"a magnitude, discharging":          {func(*vendor) {}, 700, true},
		"a magnitude, charging":             {func(v *vendor) { v.put(21, 2) }, -700, true},
		"a magnitude, nobody knows whither": {func(v *vendor) { v.put(21, 0) }, 0, false},
		"both":                              {func(v *vendor) { v.put(21, 6) }, 0, false},
		"nothing flows":                     {func(v *vendor) { v.put(20, 0, 0) }, 0, true},
		"the newer register, high first":    {func(v *vendor) { v.put(30, 0xFFFF, 0xFC18) }, -1000, true},
		"the newer register, low first":     {func(v *vendor) { v.put(5, 0); v.put(30, 0xFC18, 0xFFFF) }, -1000, true},
		"a second one adds up":              {func(v *vendor) { v.put(40, 50) }, 750, true},
		"a second one that does not tell":   {func(v *vendor) { v.put(40, 0x8000) }, 0, false},
	} {
		_, open := tells(t, tc.change)
		r, err := open(false).Read(t.Context())
		if err != nil || (r.Battery != nil) != tc.known || tc.known && *r.Battery != tc.want {
			t.Errorf("%s: %+v, %v", name, r.Battery, err)
		}
	}
	_, open := tells(t, func(v *vendor) { v.put(5, 9) })
	if _, err := open(false).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "order of its registers") {
		t.Errorf("an order that is not known: %v", err)
	}
}

func told(p flex.Watts) flex.Target {
	return flex.Target{Device: "dev", Order: flex.OrderSet, Power: p, Revert: time.Minute}
}

func TestWhatMovesIsNeitherComparedNorRestored(t *testing.T) {
	v, open := tells(t, func(*vendor) {})
	d := open(false)
	e := entryOf(t, d)
	for range 3 {
		rec, err := d.Apply(t.Context(), told(1000))
		if err != nil || !rec.Echo {
			t.Fatalf("%+v, %v", rec, err)
		}
		e.Intent = rec.Holds
	}
	if rec, err := d.Verify(t.Context(), told(1000)); err != nil || !rec.Echo {
		t.Errorf("verify: %+v, %v", rec, err)
	}
	if rec, err := open(false).Release(t.Context(), e); err != nil || !rec.Echo || rec.Foreign {
		t.Errorf("release: %+v, %v", rec, err)
	}
	if v.get(50) != 0 || v.get(52) != 0 || v.get(53) == 0 {
		t.Errorf("left: mode %d, setpoint %d, beat %d", v.get(50), v.get(52), v.get(53))
	}
}

func TestAPermissionIsItsOwners(t *testing.T) {
	v, open := tells(t, func(*vendor) {})
	d := open(false)
	e := entryOf(t, d)
	if _, err := d.Apply(t.Context(), told(-500)); err == nil || !strings.Contains(err.Error(), "grid_charge is off") || len(v.writes) > 0 {
		t.Errorf("without consent: %v, %d writes", err, len(v.writes))
	}
	for _, p := range []flex.Watts{500, -500} {
		d := open(true)
		e = entryOf(t, d)
		rec, err := d.Apply(t.Context(), told(p))
		if want := map[bool]uint16{true: 1}[p < 0]; err != nil || v.get(54) != want {
			t.Errorf("%v with consent: permission %d, %v", p, v.get(54), err)
		}
		e.Intent = rec.Holds
		if rec, err := open(false).Release(t.Context(), e); err != nil || !rec.Echo || v.get(54) != 0 {
			t.Errorf("release: %+v, permission %d, %v", rec, v.get(54), err)
		}
	}
}

func TestAPreconditionThatCannotBeReadIsToldInWords(t *testing.T) {
	v, open := tells(t, func(v *vendor) { v.locked[at(1, 23)] = true })
	d := open(false)
	if _, err := d.Read(t.Context()); err != nil {
		t.Errorf("it can be read all the same: %v", err)
	}
	s, err := d.Snapshot(t.Context())
	if err != nil || s.Foreign == nil || !strings.Contains(s.Foreign.Text, "switch cannot be read") || !strings.Contains(s.Foreign.Text, "turn the switch") {
		t.Errorf("%+v, %v", s.Foreign, err)
	}
	if _, err := d.Apply(t.Context(), told(500)); err == nil || len(v.writes) > 0 {
		t.Errorf("%v, %d writes", err, len(v.writes))
	}
}
