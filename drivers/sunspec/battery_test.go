package sunspec_test

import (
	"strings"
	"testing"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/sunspec"
)

func TestTheBatteryIsToldApart(t *testing.T) {
	s := drivertest.Scale{Watt: 1, Pct: -1}
	der, gen := battery704(s), battery124(s)
	fronius := drivertest.Common(65, "Fronius", "Symo GEN24", "SN-1")
	other := drivertest.Common(66, "Maker", "Thing", "SN-1")
	type models = []drivertest.Model
	for _, c := range []struct {
		name   string
		role   flex.Role
		models models
		change func(b *drivertest.Bank)
		want   any // nil: not told
	}{
		{"a storage port of 714 that gives", flex.RoleHybrid, append(models{other, drivertest.DCPorts(2000, 1500, s)}, der...), nil, flex.Watts(1500)},
		{"one that takes", flex.RoleHybrid, append(models{other, drivertest.DCPorts(2000, -1500, s)}, der...), nil, flex.Watts(-1500)},
		{"a port that is not implemented", flex.RoleHybrid, append(models{other, drivertest.DCPorts(2000, 0, s)}, der...), func(b *drivertest.Bank) { b.Set(714, 57, 0x8000) }, nil},
		{"more ports than are read", flex.RoleHybrid, append(models{other, drivertest.DCPorts(2000, 10, s)}, der...), func(b *drivertest.Bank) { b.Set(714, 4, 5) }, nil},
		{"no scale factor", flex.RoleHybrid, append(models{other, drivertest.DCPorts(2000, 10, s)}, der...), func(b *drivertest.Bank) { b.Set(714, 17, 0x8000) }, nil},
		{"two models 714", flex.RoleHybrid, append(models{other, drivertest.DCPorts(2000, 10, s), drivertest.DCPorts(0, 10, s)}, der...), nil, nil},
		{"a bank that charges, with any sign", flex.RoleStorage, append(models{other, drivertest.Bank802(4, 1200, 4000, 5000, s)}, der...), nil, flex.Watts(-1200)},
		{"a bank that discharges", flex.RoleStorage, append(models{other, drivertest.Bank802(3, -1200, 4000, 5000, s)}, der...), nil, flex.Watts(1200)},
		{"a bank that holds", flex.RoleStorage, append(models{other, drivertest.Bank802(6, 0, 4000, 5000, s)}, der...), nil, flex.Watts(0)},
		{"a bank that does not say which way", flex.RoleStorage, append(models{other, drivertest.Bank802(7, 900, 4000, 5000, s)}, der...), nil, nil},
		{"two banks", flex.RoleStorage, append(models{other, drivertest.Bank802(3, 900, 4000, 5000, s), drivertest.Bank802(3, 900, 4000, 5000, s)}, der...), nil, nil},
		{"the modules of a Fronius, out", flex.RoleHybrid, append(append(models{fronius}, gen...), drivertest.Modules(0, 2500, s)), nil, flex.Watts(2500)},
		{"the modules of a Fronius, in", flex.RoleHybrid, append(append(models{fronius}, gen...), drivertest.Modules(700, 0, s)), nil, flex.Watts(-700)},
		{"one of them not implemented", flex.RoleHybrid, append(append(models{fronius}, gen...), drivertest.Modules(700, 0, s)), func(b *drivertest.Bank) { b.Set(160, 81, 0xFFFF) }, nil},
		{"another maker's modules are strings of PV", flex.RoleHybrid, append(append(models{other}, gen...), drivertest.Modules(700, 0, s)), nil, nil},
		{"an inverter has none", flex.RolePV, append(models{other, drivertest.DCPorts(2000, 0, s)}, pv704(s)...), nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := drivertest.NewBank(40000, c.models...)
			if c.change != nil {
				c.change(b)
			}
			r, err := open(t, b, sunspec.Config{Role: c.role}).Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got any
			if r.Battery != nil {
				got = *r.Battery
			}
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// A bank beside the inverter tells its charge, its energy and its rates.
func TestABankAddsToThePlate(t *testing.T) {
	chain := append([]drivertest.Model{drivertest.Common(66, "Maker", "Thing", "SN-1"), drivertest.Bank802(6, 0, 4000, 5000, plain)}, battery704(plain)[:3]...)
	b := drivertest.NewBank(40000, chain...)
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	p, err := d.Open(t.Context())
	if err != nil || p.Energy != 20000 || p.MaxCharge != 4000 || p.MaxDischarge != 5000 {
		t.Errorf("%+v, %v", p, err)
	}
	r, err := d.Read(t.Context())
	if err != nil || r.SoC == nil || *r.SoC != 5750 {
		t.Errorf("%+v, %v", r, err)
	}
	b.Set(802, 11, 0xFFFF)
	if r, err := d.Read(t.Context()); err != nil || r.SoC != nil {
		t.Errorf("not implemented: %+v, %v", r, err)
	}
}

func TestABankUnderLocalControlIsLeftAlone(t *testing.T) {
	chain := append([]drivertest.Model{drivertest.Common(66, "Maker", "Thing", "SN-1")}, battery704(plain)...)
	b := drivertest.NewBank(40000, append(chain, drivertest.Bank802(6, 0, 4000, 5000, plain))...)
	b.Set(802, 17, 1)
	s, err := open(t, b, sunspec.Config{Role: flex.RoleStorage}).Snapshot(t.Context())
	if err != nil || s.Foreign == nil || s.Foreign.Reason != flex.ReasonDeviceUnavailable {
		t.Fatalf("%+v, %v", s.Foreign, err)
	}
	b.Set(802, 17, 0)
	if s, err := open(t, b, sunspec.Config{Role: flex.RoleStorage}).Snapshot(t.Context()); err != nil || s.Foreign != nil {
		t.Errorf("%+v, %v", s.Foreign, err)
	}
}

// What may not be in service, or has no battery behind it, is told so instead
// of being told a power that will not flow.
func TestWhatCannotDeliverIsNotControlled(t *testing.T) {
	common := drivertest.Common(66, "Maker", "Thing", "SN-1")
	for _, c := range []struct {
		name   string
		role   flex.Role
		models []drivertest.Model
		change func(b *drivertest.Bank)
		back   func(b *drivertest.Bank)
		says   string
	}{
		{"a battery out of service", flex.RoleStorage, append(battery704(plain), drivertest.Service(1)),
			func(b *drivertest.Bank) { b.Set(703, 2, 0) }, func(b *drivertest.Bank) { b.Set(703, 2, 1) }, "703.ES"},
		{"an inverter out of service", flex.RolePV, append(pv704(plain), drivertest.Service(1)),
			func(b *drivertest.Bank) { b.Set(703, 2, 0) }, func(b *drivertest.Bank) { b.Set(703, 2, 1) }, "703.ES"},
		{"one that does not say", flex.RolePV, append(pv704(plain), drivertest.Service(0)),
			nil, func(b *drivertest.Bank) { b.Set(703, 2, 0xFFFF) }, "703.ES"},
		{"a bank that is disconnected", flex.RoleStorage, append(battery704(plain), drivertest.Bank802(6, 0, 4000, 5000, plain)),
			func(b *drivertest.Bank) { b.Set(802, 22, 1) }, func(b *drivertest.Bank) { b.Set(802, 22, 4) }, "disconnected"},
		{"a bank in fault", flex.RoleStorage, append(battery704(plain), drivertest.Bank802(6, 0, 4000, 5000, plain)),
			func(b *drivertest.Bank) { b.Set(802, 22, 99) }, func(b *drivertest.Bank) { b.Set(802, 22, 0xFFFF) }, "fault"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := drivertest.NewBank(40000, append([]drivertest.Model{common}, c.models...)...)
			d := open(t, b, sunspec.Config{Role: c.role})
			if c.change != nil {
				if s, err := d.Snapshot(t.Context()); err != nil || s.Foreign != nil {
					t.Fatalf("at first: %+v, %v", s.Foreign, err)
				}
				c.change(b)
			}
			s, err := open(t, b, sunspec.Config{Role: c.role}).Snapshot(t.Context())
			if err != nil || s.Foreign == nil || s.Foreign.Reason != flex.ReasonDeviceUnavailable || !strings.Contains(s.Foreign.Text, c.says) {
				t.Fatalf("%+v, %v", s.Foreign, err)
			}
			c.back(b)
			if s, err := open(t, b, sunspec.Config{Role: c.role}).Snapshot(t.Context()); err != nil || s.Foreign != nil {
				t.Errorf("afterwards: %+v, %v", s.Foreign, err)
			}
			if n := len(b.Writes()); n > 0 {
				t.Errorf("%d writes", n)
			}
		})
	}
}

// Model 213, and 211 to 214 alike, keep floats.
func TestAMeterWithFloatsIsRead(t *testing.T) {
	for sign, want := range map[string]flex.Watts{sunspec.ImportPositive: -1234, sunspec.ExportPositive: 1234} {
		b := drivertest.NewBank(40000, drivertest.Common(65, "Maker", "Meter", "SN-1"), drivertest.FloatMeter(1234.4))
		d := open(t, b, sunspec.Config{Role: flex.RoleMeter, Sign: sign})
		r, err := d.Read(t.Context())
		if err != nil || r.Power == nil || *r.Power != want || r.Frequency == nil || *r.Frequency != 50 ||
			r.ExportedWh == nil || *r.ExportedWh != 700 || r.ImportedWh == nil || *r.ImportedWh != 300 {
			t.Fatalf("%s: %+v, %v", sign, r, err)
		}
		b.Set(213, 28, 0x7FC0, 0)
		if r, err := d.Read(t.Context()); err != nil || r.Power != nil {
			t.Errorf("no number: %+v, %v", r, err)
		}
	}
}

func TestABankAloneCannotBeToldAPower(t *testing.T) {
	b := drivertest.NewBank(40000, drivertest.Common(66, "Maker", "Thing", "SN-1"), drivertest.Bank802(6, 0, 4000, 5000, plain))
	_, err := open(t, b, sunspec.Config{Role: flex.RoleStorage}).Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), "inverter") {
		t.Errorf("%v", err)
	}
}

// What 100 % stands for is the configuration's to say where WChaMax is wrong.
func TestWhatARateStandsForCanBeConfigured(t *testing.T) {
	for _, wchamax := range []uint16{8000, 0xFFFF} {
		b := bank(40000, battery124(drivertest.Scale{Pct: -1}))
		b.Set(124, 2, wchamax)
		d := open(t, b, sunspec.Config{Role: flex.RoleStorage, MaxCharge: 5000})
		p, err := d.Open(t.Context())
		if err != nil || p.MaxCharge != 5000 || p.MaxDischarge != 5000 || p.Step != 5 {
			t.Fatalf("%+v, %v", p, err)
		}
		snapshot(t, d)
		if rec := apply(t, d, set(2500)); rec.Effective != 2500 || b.Get(124, 12) != 500 || b.Get(124, 13) != word(-500) {
			t.Errorf("%v, rates %d and %d", rec.Effective, b.Get(124, 12), b.Get(124, 13))
		}
		if rec := apply(t, d, set(-9000)); rec.Effective != -5000 {
			t.Errorf("beyond it: %v", rec.Effective)
		}
	}
	if _, err := sunspec.New(sunspec.Config{ID: "x", Unit: 1, Bus: bank(40000, nil), MaxCharge: -1}); err == nil {
		t.Error("a negative one was taken")
	}
}

// A battery that takes its charge from its own sun alone says so on its
// nameplate, for as long as the owner does not consent to more.
func TestTheNameplateTellsOfABatteryForSunAlone(t *testing.T) {
	s := drivertest.Scale{Watt: 1, Pct: -1}
	for _, c := range []struct {
		name    string
		models  []drivertest.Model
		consent bool
		grid    uint16 // ChaGriSet
		want    bool
	}{
		{"its own sun alone", battery124(s), false, 0, true},
		{"the owner consents", battery124(s), true, 0, false},
		{"the device allows the grid", battery124(s), false, 1, false},
		{"the device does not say", battery124(s), false, 0xFFFF, false},
		{"it is told by 704, which has no such setting", battery704(s), false, 0, false},
	} {
		b := drivertest.NewBank(40000, append([]drivertest.Model{drivertest.Common(66, "Maker", "Thing", "SN-1")}, c.models...)...)
		if c.models[len(c.models)-1].ID == 124 {
			b.Set(124, 17, c.grid)
		}
		plate, err := open(t, b, sunspec.Config{Role: flex.RoleStorage, GridCharge: c.consent}).Open(t.Context())
		if err != nil || plate.NoGridCharge != c.want {
			t.Errorf("%s: %v, %v", c.name, plate.NoGridCharge, err)
		}
	}
}
