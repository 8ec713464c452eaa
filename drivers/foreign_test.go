package drivers_test

import (
	"fmt"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest"
	"flexd/drivers/drivertest/foreign"
	"flexd/drivers/modbus/modbustest"
)

// foreignKind is a kind of device by its models.
type foreignKind struct {
	name   string
	role   flex.Role
	models func(drivertest.Scale) []drivertest.Model
	orders []flex.Target
}

func foreignKinds() []foreignKind {
	caps := []flex.Target{target(flex.OrderCap, 5000), target(flex.OrderCap, 8300)}
	sets := []flex.Target{target(flex.OrderSet, 5000), target(flex.OrderSet, -3000)}
	legacy := func(typ uint16, energy float64, s drivertest.Scale) []drivertest.Model {
		return []drivertest.Model{drivertest.Inverter(1200, s), drivertest.Nameplate(typ, rated, energy, s),
			drivertest.Settings(rated, s), drivertest.Status(0), drivertest.Immediate(s)}
	}
	return []foreignKind{
		{"pv by 123", flex.RolePV, func(s drivertest.Scale) []drivertest.Model { return legacy(4, 0, s) }, caps},
		{"battery by 124", flex.RoleStorage, func(s drivertest.Scale) []drivertest.Model {
			return append(legacy(82, 20_000, s), drivertest.Storage(8000, s))
		}, sets},
		{"pv by 704", flex.RolePV, func(s drivertest.Scale) []drivertest.Model {
			return []drivertest.Model{drivertest.DERMeasure(1200, s), drivertest.DERCapacity(rated, 0, 1, s), drivertest.DERControls(s)}
		}, caps},
		{"battery by 704", flex.RoleStorage, func(s drivertest.Scale) []drivertest.Model {
			return []drivertest.Model{drivertest.DERMeasure(1200, s), drivertest.DERCapacity(rated, 8000, 3, s), drivertest.DERControls(s), drivertest.DERStorage(20_000)}
		}, sets},
	}
}

// chainAt lays models out at a base; anywhere but at 40000 model 1 is one
// register shorter and models nobody knows stand in between.
func chainAt(base uint16, models []drivertest.Model) *drivertest.Bank {
	if base == 40000 {
		return drivertest.NewBank(base, append([]drivertest.Model{drivertest.Common(66, "Maker", "Thing", "SN-1")}, models...)...)
	}
	chain := []drivertest.Model{drivertest.Common(65, "Maker", "Thing", "SN-1"), drivertest.Vendor(64001, 7)}
	for i, m := range models {
		chain = append(chain, m)
		if i == 0 {
			chain = append(chain, drivertest.Vendor(160, 48), drivertest.Vendor(64201, 120))
		}
	}
	return drivertest.NewBank(base, chain...)
}

// layouts pair the bases with the scale factors of percentages and powers.
func layouts() map[uint16]drivertest.Scale {
	return map[uint16]drivertest.Scale{40000: {Watt: 1}, 50000: {Pct: -1}, 0: {Pct: -2}}
}

// The rules of a lease hold against servers that share not a line with ours,
// wherever the chain stands and however it is scaled.
func TestConformanceOnForeignStacks(t *testing.T) {
	for _, s := range foreign.Stacks() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f := s.Run(t)
			for _, k := range foreignKinds() {
				for base, scale := range layouts() {
					t.Run(fmt.Sprintf("%s at %d with scale %d", k.name, base, scale.Pct), func(t *testing.T) {
						drivertest.Run(t, func(t *testing.T) drivertest.Rig {
							return foreignRig(t, f, chainAt(base, k.models(scale)), k.role, k.orders...)
						})
					})
				}
			}
		})
	}
}

const (
	// faultTimeout is what a request may take in the fault tests.
	faultTimeout = 200 * time.Millisecond
	// settledWithin is far below a refresh interval, which is a third of the
	// lease of a minute: a single fault does not cost even that.
	settledWithin = 5 * time.Second
)

// After any single fault on the line, in the write or around it, the setpoint
// that was meant is in the device, on exactly one connection.
func TestASingleFaultCostsNoSetpointOnForeignStacks(t *testing.T) {
	battery := foreignKinds()[1]
	for _, s := range foreign.Stacks() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f := s.Run(t)
			for i, fault := range modbustest.OfTheLine() {
				base := []uint16{40000, 50000, 0}[i%3]
				for _, where := range []struct {
					name string
					plan func(*modbustest.Proxy)
				}{
					{"the first request", func(p *modbustest.Proxy) { p.OnRequest(1, fault) }},
					{"the write", func(p *modbustest.Proxy) { p.OnWrite(1, fault) }},
					{"the last read", func(p *modbustest.Proxy) { p.OnRequest(3, fault) }},
				} {
					t.Run(fmt.Sprintf("%s in %s at %d", fault, where.name, base), func(t *testing.T) {
						oneFault(t, f, battery, base, nil, where.plan)
					})
				}
			}
		})
	}
}

// Every kind of device stands every single fault in its write, also where it
// serves one connection only, or closes one that is idle for a moment.
func TestASingleFaultOnEveryKindOfForeignDevice(t *testing.T) {
	quirks := lineQuirks()
	for _, s := range foreign.Stacks() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f := s.Run(t)
			for n, k := range foreignKinds() {
				for i, fault := range modbustest.OfTheLine() {
					base, q := []uint16{40000, 50000, 0}[(i+n)%3], quirks[(i/3+n)%3]
					t.Run(fmt.Sprintf("%s at %d, %s, %s", k.name, base, q.name, fault), func(t *testing.T) {
						oneFault(t, f, k, base, q.set, func(p *modbustest.Proxy) { p.OnWrite(1, fault) })
					})
				}
			}
		})
	}
}

// lineQuirk is how a device serves its line.
type lineQuirk struct {
	name string
	set  func(*modbustest.Proxy)
}

func lineQuirks() []lineQuirk {
	return []lineQuirk{
		{"any line", func(*modbustest.Proxy) {}},
		{"one connection", func(p *modbustest.Proxy) { p.ServeOne() }},
		{"idle closer", func(p *modbustest.Proxy) { p.CloseIdle(15 * time.Millisecond) }},
	}
}

func oneFault(t *testing.T, f *foreign.Server, k foreignKind, base uint16, quirk, plan func(*modbustest.Proxy)) {
	b := chainAt(base, k.models(layouts()[base]))
	f.Serve(b)
	p := modbustest.NewProxy(t, f.Addr)
	p.Delay = faultTimeout + 100*time.Millisecond
	if quirk != nil {
		quirk(p)
	}
	dev := over(t, p.Addr(), k.role, faultTimeout)
	steady(t, dev, k.orders[0])
	for end := time.Now().Add(3 * time.Second); p.Idle() > 0 && p.Open() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the idle connection was not closed")
		}
	}
	plan(p)
	began := time.Now()
	want := k.orders[1]
	steady(t, dev, want)
	took := time.Since(began)
	for end := time.Now().Add(time.Second); p.Hits() == 0 && time.Now().Before(end); {
		steady(t, dev, want) // a fault planned for a later request than one order makes
	}
	if p.Hits() != 1 {
		t.Fatalf("%d faults happened, want one", p.Hits())
	}
	if took > settledWithin {
		t.Errorf("in the device after %s, want within %s", took, settledWithin)
	}
	told, on := drivertest.On(b, nil, want).Told()
	if less := (want.Power - told) * sign(want.Power); !on || less < 0 || less > 100 { // never more, at most 1 % of the rating less
		t.Errorf("the device was told %v (%v), want %v", told, on, want.Power)
	}
	if p.Idle() > 0 {
		return // what is not closed yet is about to be
	}
	steady(t, dev, want) // the fault may have been a farewell after the last answer
	for end := time.Now().Add(3 * time.Second); p.Open() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d open connections, want exactly one", p.Open())
		}
	}
}

func sign(w flex.Watts) flex.Watts {
	if w < 0 {
		return -1
	}
	return 1
}

// steady orders until it is proven, as control does.
func steady(t *testing.T, dev drivers.Device, want flex.Target) {
	t.Helper()
	for end := time.Now().Add(2 * settledWithin); ; time.Sleep(20 * time.Millisecond) {
		rec, err := dev.Apply(t.Context(), want)
		if err == nil && rec.Echo {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never in the device: %+v, %v", rec, err)
		}
	}
}
