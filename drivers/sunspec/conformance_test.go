package sunspec_test

import (
	"fmt"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/sunspec"
)

const unit = 1

func set(w flex.Watts) flex.Target {
	return flex.Target{Device: "dev", Order: flex.OrderSet, Power: w, Revert: time.Minute}
}

func limit(w flex.Watts) flex.Target {
	return flex.Target{Device: "dev", Order: flex.OrderCap, Power: w, Revert: time.Minute}
}

// opener gives drivers as new processes would have them.
func opener(t *testing.T, b sunspec.Bus, c sunspec.Config) func() drivertest.Device {
	return func() drivertest.Device { return open(t, b, c) }
}

func open(t *testing.T, b sunspec.Bus, c sunspec.Config) *sunspec.Device {
	t.Helper()
	c.ID, c.Endpoint, c.Unit, c.Bus = "dev", "192.0.2.1:502", unit, b
	d, err := sunspec.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// chains are the models of the kinds of devices; vendor models and the length
// of model 1 vary with the base.
func pv123(s drivertest.Scale) []drivertest.Model {
	return []drivertest.Model{drivertest.Inverter(1200, s), drivertest.Nameplate(4, 10000, 0, s), drivertest.Settings(10000, s),
		drivertest.Status(0), drivertest.Immediate(s)}
}

func battery124(s drivertest.Scale) []drivertest.Model {
	return append(pv123(s)[:1], drivertest.Nameplate(82, 10000, 20000, s), drivertest.Settings(10000, s),
		drivertest.Status(0), drivertest.Immediate(s), drivertest.Storage(8000, s))
}

func pv704(s drivertest.Scale) []drivertest.Model {
	return []drivertest.Model{drivertest.DERMeasure(1200, s), drivertest.DERCapacity(10000, 0, 1, s), drivertest.DERControls(s)}
}

func battery704(s drivertest.Scale) []drivertest.Model {
	return []drivertest.Model{drivertest.DERMeasure(1200, s), drivertest.DERCapacity(10000, 8000, 3, s), drivertest.DERControls(s), drivertest.DERStorage(20000)}
}

// The same with all that tells of the battery around the controls.
func beside(models func(drivertest.Scale) []drivertest.Model) func(drivertest.Scale) []drivertest.Model {
	return func(s drivertest.Scale) []drivertest.Model {
		m := models(s)
		m = append(m[:1:1], append([]drivertest.Model{drivertest.DCPorts(1200, 0, s), drivertest.Modules(0, 0, s)}, m[1:]...)...)
		hears := drivertest.Bank802(6, 0, 8000, 8000, s)
		hears.Words[19-2] = 0 // its controller's heartbeat
		return append(m, hears)
	}
}

// bank lays a device out; at other bases than 40000 model 1 is one shorter and
// vendor models stand between the others.
func bank(base uint16, models []drivertest.Model) *drivertest.Bank {
	chain := []drivertest.Model{drivertest.Common(66, "Maker", "Thing", "SN-1")}
	if base != 40000 {
		chain[0] = drivertest.Common(65, "Maker", "Thing", "SN-1")
		chain = append(chain, drivertest.Vendor(64001, 7))
	}
	for i, m := range models {
		chain = append(chain, m)
		if base != 40000 && i == 0 {
			chain = append(chain, drivertest.Vendor(160, 48), drivertest.Vendor(64201, 120))
		}
	}
	return drivertest.NewBank(base, chain...)
}

func TestConformance(t *testing.T) {
	kinds := []struct {
		name   string
		role   flex.Role
		models func(drivertest.Scale) []drivertest.Model
		orders []flex.Target
	}{
		{"pv by 123", "", pv123, []flex.Target{limit(5000), limit(8300)}},
		{"pv by 704", "", pv704, []flex.Target{limit(5000), limit(8300)}},
		{"battery by 124", flex.RoleStorage, battery124, []flex.Target{set(5000), set(-3000)}},
		{"battery by 704", flex.RoleStorage, battery704, []flex.Target{set(-5000), set(3000)}},
		{"battery by 124 beside its DC side", flex.RoleStorage, beside(battery124), []flex.Target{set(5000), set(-3000)}},
		{"hybrid by 704 beside its DC side", flex.RoleHybrid, beside(battery704), []flex.Target{set(5000), set(-3000)}},
		{"hybrid by 704", flex.RoleHybrid, battery704, []flex.Target{set(5000), set(-3000)}},
	}
	for _, k := range kinds {
		for i, base := range []uint16{40000, 50000, 0} {
			s := drivertest.Scale{Watt: max(0, 1-i), Pct: -i}
			t.Run(fmt.Sprintf("%s at %d with scale %d", k.name, base, s.Pct), func(t *testing.T) {
				drivertest.Run(t, func(t *testing.T) drivertest.Rig {
					b := bank(base, k.models(s))
					return drivertest.On(b, opener(t, b, sunspec.Config{Role: k.role}), k.orders...)
				})
			})
		}
	}
}

// A device that does its percentages in model 704 has no use for watts there.
func TestConformanceByPercent(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Rig {
		b := bank(40000, battery704(drivertest.Scale{Pct: -1}))
		b.Set(704, 24, 0x8000, 0, 0x8000, 0)
		b.Set(704, 55, 0x8000)
		rig := drivertest.On(b, opener(t, b, sunspec.Config{Role: flex.RoleStorage}), set(5000), set(-3000))
		return rig
	})
}
