package regmap_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest"
	"flexd/drivers/drivertest/foreign"
	"flexd/drivers/modbus/modbustest"
	"flexd/drivers/regmap"
)

// conformity is how to disturb one maker's device behind the driver's back.
// What it does not have is nil.
type conformity struct {
	others, limit, blank, lapse, swap func(v *vendor)
	produce                           func(v *vendor, w flex.Watts)
	once                              []uint16
	blind, rests                      bool
}

// shows has the device show something else than what it does.
func shows(show func(v *vendor)) func(*vendor) {
	return func(v *vendor) { v.show = func(v *vendor, _ float64) { show(v) } }
}

// conformities say so by map. Not in the list of a device: others, where the
// value moves by itself with every sample or cannot be read (victron-gx, SMA);
// a lapse, where the device has no timer or tells nobody about it.
var conformities = map[string]conformity{
	"victron-gx": {
		blank: shows(func(v *vendor) { v.put(820, 0x8000, 0x8000, 0x8000); v.put(842, 0x8000, 0xFFFF) }),
		produce: func(v *vendor, w flex.Watts) {
			shows(func(v *vendor) { v.put(820, 0, 0, 0); v.put(842, uint16(int16(-w)), 60) })(v)
		},
		swap: func(v *vendor) { v.putS(800, "c0619ab4ffff", 6) },
	},
	"victron-gx-mode3": {
		once:    []uint16{2902},
		others:  func(v *vendor) { v.words[at(227, 37)] = 777 },
		blank:   shows(func(v *vendor) { v.put(843, 0xFFFF); v.put(842, 0x8000) }),
		produce: func(v *vendor, w flex.Watts) { shows(func(v *vendor) { v.put(842, uint16(int16(-w))) })(v) },
		swap:    func(v *vendor) { v.putS(800, "c0619ab4ffff", 6) },
	},
	"sma-storage": {
		blind:   true,
		lapse:   func(v *vendor) { v.last = time.Now().Add(-time.Hour) },
		blank:   shows(func(v *vendor) { v.put32(30845, 0xFFFFFFFF, false); v.put32(30775, 0x80000000, false) }),
		produce: func(v *vendor, w flex.Watts) { shows(func(v *vendor) { v.put32(30775, uint32(int32(w)), false) })(v) },
		swap:    func(v *vendor) { v.put32(30057, 1999999999, false) },
	},
}

// orders are two that the maker's device can follow.
func (m maker) orders() []flex.Target {
	return []flex.Target{m.order(3000), m.order(-2000)}
}

// rig lets the suite that every driver passes look at a simulated maker's
// device and disturb it.
func (m maker) rig(v *vendor, device func() drivertest.Device) drivertest.Rig {
	c := conformities[m.name]
	behind := func(act func(*vendor)) func() {
		if act == nil {
			return nil
		}
		return func() { v.mu.Lock(); defer v.mu.Unlock(); act(v) }
	}
	return drivertest.Rig{
		Device: device, Orders: m.orders(), Once: c.once, Blind: c.blind, Rests: c.rests,
		Others: behind(c.others), Limit: behind(c.limit), Blank: behind(c.blank), Lapse: behind(c.lapse), Swap: behind(c.swap),
		Produce: func(w flex.Watts) { behind(func(v *vendor) { c.produce(v, w) })() },
		Told: func() (flex.Watts, bool) {
			_, on := v.told()
			return flex.Watts(math.Floor(m.ac(v) + 1e-3)), on
		},
		Control: func() map[uint16]uint16 {
			v.mu.Lock()
			defer v.mu.Unlock()
			out := map[uint16]uint16{}
			for a, w := range v.copy() {
				out[uint16(a)] = w
			}
			return out
		},
		Fault: func(n int, f drivertest.Fault) bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.faults[len(v.writes)+n] = f
			return true
		},
	}
}

func TestTheSuiteThatEveryDriverPasses(t *testing.T) {
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			drivertest.Run(t, func(t *testing.T) drivertest.Rig {
				v := m.build()
				return m.rig(v, func() drivertest.Device {
					mp, err := regmap.Load(m.name, "")
					if err != nil {
						t.Fatal(err)
					}
					d, err := regmap.New(regmap.Config{ID: "dev", Endpoint: "10.0.0.1:502", Unit: v.unit, Map: mp, Bus: v})
					if err != nil {
						t.Fatal(err)
					}
					return d
				})
			})
		})
	}
}

// The same behind servers that share not a line with ours.
func TestTheSuiteOnForeignStacks(t *testing.T) {
	for _, s := range foreign.Stacks() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f := s.Run(t)
			for _, m := range makers {
				t.Run(m.name, func(t *testing.T) {
					drivertest.Run(t, func(t *testing.T) drivertest.Rig {
						v := m.build()
						f.Serve(v)
						p := modbustest.NewProxy(t, f.Addr)
						r := m.rig(v, func() drivertest.Device { return m.over(t, p.Addr(), v.unit, 5*time.Second) })
						r.Fault = drivertest.OnLine(p)
						return r
					})
				})
			}
		})
	}
}

// over opens the maker's device at an address, as a new process would. The
// pauses that the real one needs are left out: the simulated one needs none.
func (m maker) over(t *testing.T, addr string, unit byte, timeout time.Duration) drivers.Device {
	t.Helper()
	set, err := drivers.Open([]drivers.Config{{ID: "dev", Driver: drivers.DriverMap, Map: m.name, Role: flex.RoleStorage, Address: addr, Unit: unit, Gap: -1, ConnectDelay: 1, Timeout: timeout}}, nil)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", m.name, err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- set.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return set.Devices()[0]
}
