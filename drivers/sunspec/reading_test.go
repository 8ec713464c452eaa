package sunspec

import (
	"slices"
	"strings"
	"testing"

	"flexd/agent/flex"
)

func images(blocks ...block) image {
	im := image{blocks: map[uint16]block{}}
	for _, b := range blocks {
		im.blocks[b.model] = b
	}
	return im
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func TestReadings(t *testing.T) {
	battery := func(ac, mod, out, in, chaSt uint16) image {
		return images(blockOf(103).with(14, ac, 0), blockOf(122).with(35, 0, 0),
			blockOf(124).with(2, 8000).with(5, mod).with(8, 553).with(11, chaSt).with(12, out, in).with(18, 0).with(22, 0xFFFF).with(25, 0))
	}
	for _, c := range []struct {
		name string
		f    found
		im   image
		sign string
		want map[string]any
	}{
		{"103 gives power, frequency, energy and state", found{role: flex.RolePV}, images(blockOf(103).with(14, 0x8001, 0).with(16, 4998, 0xFFFE).with(24, 0, 70, 1).with(38, 5).with(40, 0, 0x80)), "",
			map[string]any{"power": flex.Watts(-32767), "hz": 49.98, "exported": flex.WattHours(700), "status": "throttled", "events": "over_temp"}},
		{"113 gives a float", found{role: flex.RolePV}, images(blockOf(113).with(22, 0xC4BB, 0x8000).with(48, 7).with(50, 0, 0)), "",
			map[string]any{"power": flex.Watts(-1500), "status": "fault"}},
		{"701 gives both energies", found{role: flex.RoleStorage}, images(blockOf(701).with(4, 3).with(6, 1, 1).with(10, 0xFFFF).with(116, 1).with(19, 0, 0, 0, 9).with(23, 0, 0, 0, 4).with(120, 0), blockOf(713).with(4, 42).with(8, 0)), "",
			map[string]any{"power": flex.Watts(-10), "exported": flex.WattHours(9), "imported": flex.WattHours(4), "status": "running", "soc": flex.Percent(4200), "events": "ground_fault event_16"}},
		{"a state of charge out of range is not one", found{role: flex.RoleStorage}, images(blockOf(124).with(8, 553).with(22, 0)), "", map[string]any{}},
		{"a cap in force is told in watts", found{role: flex.RolePV, cap: limit123}, images(blockOf(121).with(2, 1000).with(22, 1), blockOf(122).with(35, 0, 1), blockOf(123).with(5, 400, 0, 0, 0, 1).with(23, 0xFFFF)), "",
			map[string]any{"limit": flex.Watts(4000), "max": flex.Watts(10000), "acting": true}},
		{"a cap not in force is none", found{role: flex.RolePV, cap: limit123}, images(blockOf(120).with(3, 5000, 0), blockOf(123).with(5, 40, 0, 0, 0, 0).with(23, 0)), "",
			map[string]any{"max": flex.Watts(5000), "acting": false}},
		{"a cap that the device does not act on", found{role: flex.RolePV, cap: limit123}, images(blockOf(122).with(35, 0, 0), blockOf(123).with(5, 40, 0, 0, 0, 1).with(23, 0)), "",
			map[string]any{"acting": false}},
		{"a battery that discharges as told", found{role: flex.RoleStorage, set: rates}, battery(3900, 3, 50, 0xFFCE, 3), "", map[string]any{"power": flex.Watts(3900), "soc": flex.Percent(5530), "acting": true}},
		{"a battery that says so and gives nothing", found{role: flex.RoleStorage, set: rates}, battery(0, 3, 50, 0xFFCE, 3), "", map[string]any{"power": flex.Watts(0), "soc": flex.Percent(5530), "acting": false}},
		{"a battery that charges instead", found{role: flex.RoleStorage, set: rates}, battery(0, 3, 50, 0xFFCE, 4), "", map[string]any{"power": flex.Watts(0), "soc": flex.Percent(5530), "acting": false}},
		{"a meter that counts export", found{role: flex.RoleMeter}, images(blockOf(203).with(16, 5000, 0xFFFE).with(18, 0xFF38).with(22, 1).with(38, 0, 7).with(46, 0, 3).with(54, 0).with(105, 0, 4)), ExportPositive,
			map[string]any{"power": flex.Watts(-2000), "hz": 50.0, "exported": flex.WattHours(7), "imported": flex.WattHours(3), "events": "meter_event_2"}},
		{"a meter that counts import", found{role: flex.RoleMeter}, images(blockOf(201).with(18, 0xFF38).with(22, 1)), ImportPositive, map[string]any{"power": flex.Watts(2000)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.f.reading(c.im, c.sign, nil)
			got := map[string]any{"power": deref(r.Power), "hz": deref(r.Frequency), "exported": deref(r.ExportedWh), "imported": deref(r.ImportedWh),
				"soc": deref(r.SoC), "limit": deref(r.Limit), "max": deref(r.MaxPower), "acting": deref(r.Acting)}
			if r.Status != "" {
				got["status"] = r.Status
			}
			if len(r.Events) > 0 {
				got["events"] = strings.Join(r.Events, " ")
			}
			for k, v := range got {
				if v != c.want[k] {
					t.Errorf("%s: got %v, want %v", k, v, c.want[k])
				}
			}
			for k, v := range c.want {
				if got[k] != v {
					t.Errorf("%s: got %v, want %v", k, got[k], v)
				}
			}
		})
	}
}

func TestRolesAreDerivedOnlyWhereThereIsNoDoubt(t *testing.T) {
	inv, meter := Model{ID: 103}, Model{ID: 203}
	storage := images(blockOf(124).with(2, 5000).with(18, 0))
	for _, c := range []struct {
		name   string
		want   flex.Role
		models []Model
		im     image
		role   flex.Role
		err    string
	}{
		{"an inverter", "", []Model{inv}, image{}, flex.RolePV, ""},
		{"a meter", "", []Model{meter}, image{}, flex.RoleMeter, ""},
		{"an inverter with a meter is an inverter", "", []Model{inv, meter}, image{}, flex.RolePV, ""},
		{"or its meter, when configured", flex.RoleMeter, []Model{inv, meter}, image{}, flex.RoleMeter, ""},
		{"storage is ambiguous", "", []Model{inv}, storage, "", "set role"},
		{"and taken at its word", flex.RoleHybrid, []Model{inv}, storage, flex.RoleHybrid, ""},
		{"no meter here", flex.RoleMeter, []Model{inv}, image{}, "", "no meter model"},
		{"no inverter here", flex.RolePV, []Model{meter}, image{}, "", "no inverter model"},
		{"nothing known here", "", []Model{{ID: 64001}}, image{}, "", "neither"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := roleOf(c.want, Chain{Models: c.models}, c.im)
			if got != c.role || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestMethodsFollowWhatIsImplemented(t *testing.T) {
	der := blockOf(704).with(14, 0, 100, 100, 0, 0, 60).with(22, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 60).with(54, 0, 0, 0)
	der2 := func() block { b := block{704, 100, slices.Clone(der.words)}; return b }
	modes := func(m uint16) block { return blockOf(702).with(23, 0, m).with(26, 10000).with(45, 0) }
	store := blockOf(124).with(2, 5000).with(5, 0).with(12, 100, 100).with(18, 0).with(25, 0)
	imm := blockOf(123).with(5, 100).with(9, 0).with(23, 0)
	set := blockOf(121).with(2, 10000).with(22, 0)
	for _, c := range []struct {
		name     string
		role     flex.Role
		im       image
		set, cap method
		based    bool
	}{
		{name: "124 without WChaMax where the configuration says what rates refer to", role: flex.RoleStorage, set: rates, cap: limit123, based: true,
			im: images(block{124, 0, slices.Clone(store.words)}.with(2, 0xFFFF), set, imm)},
		{name: "124 without WChaMax", role: flex.RoleStorage, cap: limit123,
			im: images(block{124, 0, slices.Clone(store.words)}.with(2, 0xFFFF), set, imm)},
		{"704 before 124", flex.RoleHybrid, images(der2(), modes(3), store), wset, limit704, false},
		{"124 where 702 offers no fixed power", flex.RoleStorage, images(der2(), modes(1), store), rates, limit704, false},
		{"per cent where watts are not implemented", flex.RoleStorage, images(der2().with(55, 0x8000), modes(3)), wsetPct, limit704, false},
		{"nothing where rates have no scale", flex.RoleStorage, images(block{124, 0, slices.Clone(store.words)}.with(25, 0x8000), set, imm), none, limit123, false},
		{"a PV is never set", flex.RolePV, images(der2(), modes(3), store), none, limit704, false},
		{"123 where 704 has no cap", flex.RolePV, images(der2().with(15, 0xFFFF), set, imm), none, limit123, false},
		{"no cap without what it refers to", flex.RolePV, images(imm), none, none, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if s, l := methods(c.role, c.im, c.based); s != c.set || l != c.cap {
				t.Errorf("set %q, cap %q", s, l)
			}
		})
	}
}
