package drivers_test

import (
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest"
	"flexd/drivers/modbus/modbustest"
)

// served is a battery on the scriptable server.
func served(t *testing.T) (*modbustest.Server, *drivertest.Bank) {
	t.Helper()
	b := chainAt(50000, foreignKinds()[3].models(drivertest.Scale{Pct: -1}))
	s := modbustest.New(t)
	base, words := b.Image()
	s.Set(base, words...)
	return s, b
}

// device opens one with what its configuration says of the endpoint.
func device(t *testing.T, s *modbustest.Server, c drivers.Config) drivers.Device {
	t.Helper()
	c.ID, c.Driver, c.Role, c.Address, c.Unit = "dev", drivers.DriverSunSpec, flex.RoleStorage, s.Addr(), 1
	set, err := drivers.Open([]drivers.Config{c}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, set.Run))
	return set.Devices()[0]
}

// What the configuration says of an endpoint is what is seen on its wire, and
// the device is controlled all the same.
func TestTheQuirksOfAConfigurationReachTheWire(t *testing.T) {
	for _, c := range []struct {
		name  string
		c     drivers.Config
		check func(t *testing.T, s *modbustest.Server, seen []modbustest.Seen)
	}{
		{"few registers in a read", drivers.Config{Gap: -1, MaxRead: 20}, func(t *testing.T, _ *modbustest.Server, seen []modbustest.Seen) {
			for _, q := range seen {
				if q.Func == 3 && q.Count > 20 {
					t.Errorf("read %d registers", q.Count)
				}
			}
		}},
		{"gap", drivers.Config{Gap: 15 * time.Millisecond}, func(t *testing.T, _ *modbustest.Server, seen []modbustest.Seen) {
			for i := 1; i < len(seen); i++ {
				if d := seen[i].At.Sub(seen[i-1].At); d < 15*time.Millisecond {
					t.Errorf("request %d came %v after the one before", i, d)
				}
			}
		}},
		{"connect delay", drivers.Config{Gap: -1, ConnectDelay: 150 * time.Millisecond}, func(t *testing.T, s *modbustest.Server, seen []modbustest.Seen) {
			if d := seen[0].At.Sub(s.FirstAccept()); d < 140*time.Millisecond {
				t.Errorf("the first request came %v after the connect", d)
			}
		}},
		{"idle close", drivers.Config{Gap: -1, IdleClose: 20 * time.Millisecond}, func(t *testing.T, s *modbustest.Server, _ []modbustest.Seen) {
			for end := time.Now().Add(3 * time.Second); s.Open() != 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the connection was never given back")
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := served(t)
			steady(t, device(t, s, c.c), target(flex.OrderSet, 5000))
			c.check(t, s, s.Seen())
		})
	}
}

// A device that says "busy" is asked again, as often as configured.
func TestABusyDeviceIsToldItsOrderAllTheSame(t *testing.T) {
	s, _ := served(t)
	dev := device(t, s, drivers.Config{Gap: -1, BusyRetries: 5})
	steady(t, dev, target(flex.OrderSet, 5000))
	s.Next(modbustest.Busy, modbustest.Acknowledge, modbustest.Busy, modbustest.Acknowledge, modbustest.Busy)
	if rec, err := dev.Apply(t.Context(), target(flex.OrderSet, -3000)); err != nil || !rec.Echo {
		t.Errorf("%+v, %v", rec, err)
	}
}

// Some devices close a connection that was idle, and allow no other one.
func TestAnIdleCloserOfOneConnectionIsControlledWithoutAnError(t *testing.T) {
	s, _ := served(t)
	s.MaxConns = 1
	dev := device(t, s, drivers.Config{Gap: -1})
	for i, w := range []flex.Watts{5000, -3000, 4000, -2000} {
		if rec, err := dev.Apply(t.Context(), target(flex.OrderSet, w)); err != nil || !rec.Echo {
			t.Errorf("order %d: %+v, %v", i, rec, err)
		}
		s.HangUp()
	}
	if n := s.Refused(); n != 0 {
		t.Errorf("%d connections too many were tried", n)
	}
}
