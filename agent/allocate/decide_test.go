package allocate

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

var t0 = time.Date(2026, 6, 1, 17, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func battery(id flex.DeviceID, power flex.Watts, soc flex.Percent) Device {
	return Device{ID: id, Role: flex.RoleStorage, Online: true, ReserveSoC: 2000,
		Plate:   flex.Nameplate{MaxPower: power, MaxCharge: power, MaxDischarge: power, Can: []flex.Capability{flex.CanSet, flex.CanSoC}},
		Reading: &flex.Reading{Device: id, At: t0, Power: ptr(flex.Watts(0)), SoC: &soc}}
}

func solar(id flex.DeviceID, power, now flex.Watts) Device {
	return Device{ID: id, Role: flex.RolePV, Online: true,
		Plate:   flex.Nameplate{MaxPower: power, Can: []flex.Capability{flex.CanCap}},
		Reading: &flex.Reading{Device: id, At: t0, Power: &now}}
}

func dispatch(id flex.InstructionID, power flex.Watts) flex.Dispatch {
	return flex.Dispatch{ID: id, Shares: []flex.AssetShare{{Asset: "a", Power: power}},
		Window: flex.Window{Start: t0.Add(-time.Minute), End: t0.Add(time.Hour)}}
}

func input(devices []Device, ds ...flex.Dispatch) Input {
	a := Asset{ID: "a", Control: Setpoint}
	for _, d := range devices {
		a.Devices = append(a.Devices, d.ID)
	}
	return Input{Now: t0, Assets: []Asset{a}, Devices: devices, Dispatches: ds}
}

// row is one rule: an input, and what it must lead to.
type row struct {
	name    string
	in      Input
	orders  string // one letter per target: s, c, n
	powers  []flex.Watts
	missing flex.Watts // of dispatch d
	reason  flex.Reason
	why     string // who must appear on the first target
}

func (r row) check(t *testing.T) {
	p := Decide(r.in)
	var orders strings.Builder
	for i, tg := range p.Targets {
		orders.WriteString(string(tg.Order)[:1])
		if tg.Power != r.powers[i] {
			t.Errorf("%s = %v, want %v (%v)", tg.Device, tg.Power, r.powers[i], tg.Whys)
		}
	}
	if orders.String() != r.orders {
		t.Errorf("orders %s, want %s", orders.String(), r.orders)
	}
	if s := p.Shortfall["d"]; s.Missing != r.missing || s.Reason != r.reason {
		t.Errorf("shortfall %+v, want %v for %q", s, r.missing, r.reason)
	}
	if r.why != "" {
		found := false
		for _, w := range p.Targets[0].Whys {
			found = found || w.Who == r.why
		}
		if !found {
			t.Errorf("no %q among %v", r.why, p.Targets[0].Whys)
		}
	}
}

func with(in Input, change func(*Input)) Input { change(&in); return in }

func TestStorageRules(t *testing.T) {
	full := battery("b", 5000, 8000)
	w := func(ws ...flex.Watts) []flex.Watts { return ws }
	running := func(d Device, p flex.Watts) Device {
		d.Target = flex.Target{Device: d.ID, Order: flex.OrderSet, Power: p, Dispatch: []flex.InstructionID{"d"}}
		return d
	}
	old := func(d Device) Device { d.Reading.At = t0.Add(-31 * time.Second); return d }
	offline := func(d Device) Device { d.Online = false; return d }
	for _, tc := range []row{
		{"no dispatch wants nothing", input([]Device{full}), "n", w(0), 0, "", ""},
		{"a share is the absolute power", input([]Device{full}, dispatch("d", 3000)), "s", w(3000), 0, "", "instruction"},
		{"import charges", input([]Device{full}, dispatch("d", -3000)), "s", w(-3000), 0, "", ""},
		{"never above the rating", input([]Device{full}, dispatch("d", 7000)), "s", w(5000), 2000, flex.ReasonRating, "rating"},
		{"by room and charge", input([]Device{battery("b", 5000, 9000), battery("c", 5000, 5400)}, dispatch("d", 4400)), "ss", w(2970, 1430), 0, "", ""},
		{"what one cannot take the other takes", input([]Device{battery("b", 1000, 9000), battery("c", 9000, 5000)}, dispatch("d", 9500)), "ss", w(1000, 8500), 0, "", ""},
		{"the reserve is not touched", input([]Device{battery("b", 5000, 2000)}, dispatch("d", 3000)), "s", w(0), 3000, flex.ReasonEnergyInsufficient, "reserve"},
		{"what is full is not charged", input([]Device{battery("b", 5000, 10000)}, dispatch("d", -3000)), "s", w(0), 3000, flex.ReasonEnergyInsufficient, "energy"},
		{"a running one goes on until the reserve", input([]Device{running(battery("b", 5000, 2010), 3000)}, dispatch("d", 3000)), "s", w(3000), 0, "", ""},
		{"nothing new on an old reading", input([]Device{old(battery("b", 5000, 8000))}, dispatch("d", 3000)), "n", w(0), 3000, flex.ReasonDeviceUnavailable, ""},
		{"an old reading keeps the target and raises it not", input([]Device{running(old(battery("b", 5000, 8000)), 2000)}, dispatch("d", 3000)), "s", w(2000), 1000, flex.ReasonDeviceUnavailable, "stale"},
		{"an old reading may lower the target", input([]Device{running(old(battery("b", 5000, 8000)), 4000)}, dispatch("d", 3000)), "s", w(3000), 0, "", ""},
		{"an offline device's part goes to others", input([]Device{offline(full), battery("c", 5000, 8000)}, dispatch("d", 3000)), "ns", w(0, 3000), 0, "", ""},
		{"an offline device keeps its target", input([]Device{running(offline(full), 1000), battery("c", 5000, 8000)}, dispatch("d", 3000)), "ss", w(1000, 3000), 0, "", "offline"},
		{"an offline device is not told the watts of a dispatch that is over", input([]Device{running(offline(full), 1000)}, dispatch("next", -2000)), "n", w(0), 0, "", ""},
		{"alone and offline is a shortfall", input([]Device{offline(full)}, dispatch("d", 3000)), "n", w(0), 3000, flex.ReasonDeviceUnavailable, ""},
		{"a foreign limit forbids control", with(input([]Device{full}, dispatch("d", 3000)), func(in *Input) {
			in.Devices[0].Foreign = flex.Refuse(flex.ReasonLimitSetByOthers, "a cap of 50 %% was found")
		}), "n", w(0), 3000, flex.ReasonLimitSetByOthers, "limit_set_by_others"},
		{"a hold on all outranks", with(input([]Device{full}, dispatch("d", 3000)), func(in *Input) { in.Holds = []flex.Hold{{By: "ann"}} }), "n", w(0), 3000, flex.ReasonLocalHold, "hold"},
		{"a hold on another asset does not", with(input([]Device{full}, dispatch("d", 3000)), func(in *Input) { in.Holds = []flex.Hold{{Asset: "z"}} }), "s", w(3000), 0, "", ""},
		{"max_dispatch bounds", with(input([]Device{full}, dispatch("d", 3000)), func(in *Input) { in.Assets[0].MaxDispatch = 2500 }), "s", w(2500), 500, flex.ReasonRating, ""},
		{"opposite signs sum", input([]Device{full}, dispatch("d", 3000), dispatch("e", -1000)), "s", w(2000), 0, "", ""},
		{"an unknown rating takes nothing", with(input([]Device{full}, dispatch("d", 3000)), func(in *Input) {
			in.Devices[0].Plate.MaxPower, in.Devices[0].Plate.MaxDischarge, in.Devices[0].Plate.MaxCharge = 0, 0, 0
		}), "n", w(0), 3000, flex.ReasonUnsupported, ""},
		{"a derated device is not driven further", with(input([]Device{battery("b", 5000, 8000)}, dispatch("d", 3000)), func(in *Input) { in.Devices[0].Reading.MaxPower = ptr(flex.Watts(1200)) }), "s", w(1200), 1800, flex.ReasonRating, ""},
		{"a cap found in force bounds a setpoint", with(input([]Device{battery("b", 5000, 8000)}, dispatch("d", 3000)), func(in *Input) { in.Devices[0].Reading.Limit = ptr(flex.Watts(2000)) }), "s", w(2000), 1000, flex.ReasonLimitSetByOthers, "cap_found"},
		{"what a cap leaves out another gives", with(input([]Device{battery("b", 5000, 8000), battery("c", 5000, 8000)}, dispatch("d", 6000)), func(in *Input) { in.Devices[0].Reading.Limit = ptr(flex.Watts(2000)) }), "ss", w(2000, 4000), 0, "", "cap_found"},
		{"a cap found in force bounds no charging", with(input([]Device{battery("b", 5000, 8000)}, dispatch("d", -3000)), func(in *Input) { in.Devices[0].Reading.Limit = ptr(flex.Watts(2000)) }), "s", w(-3000), 0, "", ""},
		{"a hybrid charges from the grid by consent only", with(input([]Device{battery("b", 5000, 8000)}, dispatch("d", -3000)), func(in *Input) { in.Devices[0].Role = flex.RoleHybrid }), "s", w(0), 3000, flex.ReasonUncontrollable, ""},
		{"an unknown asset is a shortfall", with(input([]Device{full}, dispatch("d", 3000)), func(in *Input) { in.Dispatches[0].Shares[0].Asset = "x" }), "n", w(0), 3000, flex.ReasonUnknownAsset, ""},
		{"observe computes the same", with(input([]Device{full}, dispatch("d", 3000)), func(in *Input) { in.Assets[0].Control = Observe }), "s", w(3000), 0, "", "observe"},
		{"a stopped dispatch wants nothing", with(input([]Device{full}, dispatch("d", 3000)), func(in *Input) { in.Dispatches[0].StopAt = t0 }), "n", w(0), 0, "", ""},
	} {
		t.Run(tc.name, tc.check)
	}
}

func TestPVRules(t *testing.T) {
	in := input([]Device{solar("p", 8000, 4000)}, dispatch("d", -1500))
	p := Decide(in)
	if tg := p.Targets[0]; tg.Order != flex.OrderCap || tg.Power != 2500 {
		t.Fatalf("target %+v, want a cap of 2500 W", tg)
	}
	t.Run("the cap is frozen at the start", func(t *testing.T) {
		next := in
		next.State, next.Devices = p.State, []Device{solar("p", 8000, 2500)}
		if tg := Decide(next).Targets[0]; tg.Power != 2500 {
			t.Errorf("cap %v after the power followed it, want 2500 W", tg.Power)
		}
	})
	t.Run("the next dispatch inherits the baseline of a capped device", func(t *testing.T) {
		next := in
		next.State = p.State
		d := solar("p", 8000, 2500)
		d.Target = flex.Target{Order: flex.OrderCap, Power: 2500}
		next.Devices = []Device{d}
		over := dispatch("d", -1500)
		over.Window.End = t0
		next.Dispatches = []flex.Dispatch{over, dispatch("e", -1000)}
		if tg := Decide(next).Targets[0]; tg.Power != 3000 {
			t.Errorf("cap %v, want 4000-1000 W", tg.Power)
		}
	})
	t.Run("after a restart the cap in force stands", func(t *testing.T) {
		next := in
		d := solar("p", 8000, 2400)
		d.Target = flex.Target{Order: flex.OrderCap, Power: 2500}
		next.Devices, next.State = []Device{d}, State{}
		if tg := Decide(next).Targets[0]; tg.Power != 2500 {
			t.Errorf("cap %v, want 2500 W", tg.Power)
		}
	})
	w := func(ws ...flex.Watts) []flex.Watts { return ws }
	for _, tc := range []row{
		{"export on PV is uncontrollable", input([]Device{solar("p", 8000, 4000)}, dispatch("d", 1500)), "n", w(0), 1500, flex.ReasonUncontrollable, "uncontrollable"},
		{"storage goes first", input([]Device{battery("b", 1000, 5000), solar("p", 8000, 4000)}, dispatch("d", -3000)), "sc", w(-1000, 2000), 0, "", ""},
		{"no cap below zero", input([]Device{solar("p", 8000, 1000)}, dispatch("d", -1500)), "c", w(0), 500, flex.ReasonEnergyInsufficient, ""},
		{"storage exports for both", input([]Device{battery("b", 5000, 5000), solar("p", 8000, 4000)}, dispatch("d", 3000)), "sn", w(3000, 0), 0, "", ""},
	} {
		t.Run(tc.name, tc.check)
	}
}

func TestBaselineIsTheMinuteBeforeTheStart(t *testing.T) {
	in := input([]Device{solar("p", 8000, 0)}, dispatch("d", -1000))
	in.Dispatches[0].Window.Start = t0.Add(2 * time.Minute)
	for s := range 121 {
		at := t0.Add(time.Duration(s) * time.Second)
		power := flex.Watts(6000) // long before
		if s > 60 {
			power = 3000
		}
		in.Now = at
		in.Devices[0].Reading = &flex.Reading{At: at, Power: &power}
		p := Decide(in)
		in.State = p.State
		if s == 120 && (p.Targets[0].Order != flex.OrderCap || p.Targets[0].Power != 3000-1000+3000/61) {
			t.Errorf("target %+v, want the mean of the last minute less 1 kW", p.Targets[0])
		}
	}
}
