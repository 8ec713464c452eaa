package drivers_test

import (
	"context"
	"math"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest"
	"flexd/drivers/sim"
)

// rated is the rating of every device in these tests, W.
const rated = 10_000

func target(o flex.Order, w flex.Watts) flex.Target {
	return flex.Target{Device: "dev", Order: o, Power: w, Revert: time.Minute}
}

// site runs a plant with one device.
type site struct {
	plant *sim.Plant
	dev   *sim.Device
}

func newSite(t *testing.T, add func(*sim.Plant) (*sim.Device, error)) site {
	t.Helper()
	p := sim.NewPlant(sim.Config{})
	d, err := add(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, p.Run))
	return site{p, d}
}

// start runs something and gives the way to end it.
func start(t *testing.T, run func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
}

// driver opens the device over TCP, as a new process would.
func (s site) driver(t *testing.T, role flex.Role) drivers.Device {
	t.Helper()
	set, err := drivers.Open([]drivers.Config{{ID: "dev", Driver: drivers.DriverSunSpec, Role: role, Address: s.dev.Addr(), Unit: s.dev.Unit(), Gap: -1, Timeout: 5 * time.Second}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, set.Run))
	return set.Devices()[0]
}

// watts waits for the plant to give a power, to one step of the registers.
func (s site) watts(t *testing.T, want, step float64) {
	t.Helper()
	got := math.NaN()
	for range 400 {
		if got = s.dev.Power(); math.Abs(got-want) <= step {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("the plant gives %.0f W, want %.0f W", got, want)
}

func (s site) control() map[uint16]uint16 {
	out := map[uint16]uint16{}
	for _, g := range [...]struct {
		model int
		names []string
	}{
		{123, []string{"WMaxLimPct", "WMaxLimPct_WinTms", "WMaxLimPct_RvrtTms", "WMaxLimPct_RmpTms", "WMaxLim_Ena"}},
		{124, []string{"WChaMax", "StorCtl_Mod", "MinRsvPct", "OutWRte", "InWRte", "InOutWRte_WinTms", "InOutWRte_RvrtTms", "InOutWRte_RmpTms", "ChaGriSet"}},
		{704, []string{"WMaxLimPctEna", "WMaxLimPct", "WMaxLimPctRvrt", "WMaxLimPctEnaRvrt", "WMaxLimPctRvrtTms",
			"WSetEna", "WSetMod", "WSet", "WSetRvrt", "WSetPct", "WSetPctRvrt", "WSetEnaRvrt", "WSetRvrtTms"}},
		{121, []string{"WMax"}},
	} {
		base, words := s.dev.Registers()
		for _, n := range g.names {
			addr, count, ok := s.dev.Point(g.model, n)
			for i := range count {
				if at := addr + uint16(i); ok {
					out[at] = words[at-base]
				}
			}
		}
	}
	return out
}

func (s site) told() (flex.Watts, bool) {
	v := func(model int, name string) float64 { x, _ := s.dev.Value(model, name); return x }
	switch {
	case v(704, "WSetEna") == 1:
		return flex.Watts(math.Round(v(704, "WSet"))), true
	case v(124, "StorCtl_Mod") == 3 && v(124, "OutWRte") == -v(124, "InWRte"):
		return flex.Watts(math.Round(v(124, "OutWRte") / 100 * v(124, "WChaMax"))), true
	case v(704, "WMaxLimPctEna") == 1:
		return flex.Watts(v(704, "WMaxLimPct")/100*v(702, "WMax") + 1e-6), true
	case v(123, "WMaxLim_Ena") == 1:
		return flex.Watts(v(123, "WMaxLimPct")/100*v(121, "WMax") + 1e-6), true
	}
	return 0, false
}

func (s site) fault(n int, f drivertest.Fault) bool {
	ill := map[drivertest.Fault]sim.Ill{drivertest.LostReply: sim.ResetAfter, drivertest.LostWrite: sim.Reset}
	if n != 1 || ill[f] == sim.Well {
		return false
	}
	s.dev.Server().SetFault(sim.Fault{Ill: ill[f], Only: sim.Writes, Times: 1})
	return true
}

// The rules hold over real TCP, against a plant that shares no code with the driver.
func TestConformanceOverTCP(t *testing.T) {
	for _, k := range plantKinds() {
		t.Run(k.name, func(t *testing.T) {
			drivertest.Run(t, func(t *testing.T) drivertest.Rig {
				s := newSite(t, k.add)
				return drivertest.Rig{Device: func() drivertest.Device { return s.driver(t, k.role) },
					Orders: k.orders, Told: s.told, Control: s.control, Fault: s.fault}
			})
		})
		t.Run(k.name+" gives the watts", func(t *testing.T) {
			s := newSite(t, k.add)
			d := s.driver(t, k.role)
			for _, o := range k.orders {
				rec, err := d.Apply(t.Context(), o)
				if err != nil || !rec.Echo {
					t.Fatalf("%+v, %v", rec, err)
				}
				s.watts(t, float64(o.Power), rated/100)
			}
		})
	}
}

// plantKind is a kind of device of the plant.
type plantKind struct {
	name   string
	role   flex.Role
	add    func(*sim.Plant) (*sim.Device, error)
	orders []flex.Target
}

func plantKinds() []plantKind {
	noon := func(time.Time) float64 { return rated }
	battery := func(o sim.Options, der bool) func(*sim.Plant) (*sim.Device, error) {
		return func(p *sim.Plant) (*sim.Device, error) {
			return p.AddBattery(sim.Battery{Options: o, Rated: rated, Capacity: 20_000, SoC: 0.5, GridCharge: true, DER: der})
		}
	}
	pv := func(o sim.Options, der bool) func(*sim.Plant) (*sim.Device, error) {
		return func(p *sim.Plant) (*sim.Device, error) {
			return p.AddPV(sim.PV{Options: o, Rated: rated, Sun: noon, DER: der})
		}
	}
	caps := []flex.Target{target(flex.OrderCap, 5000), target(flex.OrderCap, 8300)}
	sets := []flex.Target{target(flex.OrderSet, 5000), target(flex.OrderSet, -3000)}
	return []plantKind{
		{"pv by 123", "", pv(sim.Options{}, false), caps},
		{"pv by 704 at 0", "", pv(sim.Options{Base: sim.Base0, PctSF: -2, Vendor: true}, true), caps},
		{"battery by 124 at 50000", flex.RoleStorage, battery(sim.Options{Base: sim.Base50000, PctSF: -1, Vendor: true, ShortCommon: true}, false), sets},
		{"battery by 704", flex.RoleStorage, battery(sim.Options{}, true), sets},
	}
}
