package drivers_test

import (
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest"
	"flexd/drivers/drivertest/foreign"
	"flexd/drivers/modbus/modbustest"
)

// foreignRig is the bank's rig with a foreign stack between the driver and the
// bank, and a proxy that does the faults.
func foreignRig(t *testing.T, f *foreign.Server, b *drivertest.Bank, role flex.Role, orders ...flex.Target) drivertest.Rig {
	t.Helper()
	f.Serve(b)
	p := modbustest.NewProxy(t, f.Addr)
	r := drivertest.On(b, func() drivertest.Device { return over(t, p.Addr(), role, 5*time.Second) }, orders...)
	r.Fault = drivertest.OnLine(p)
	return r
}

// over opens a SunSpec device at an address, as a new process would.
func over(t *testing.T, addr string, role flex.Role, timeout time.Duration) drivers.Device {
	t.Helper()
	set, err := drivers.Open([]drivers.Config{{ID: "dev", Driver: drivers.DriverSunSpec, Role: role, Address: addr, Unit: 1, Gap: -1, Timeout: timeout}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, set.Run))
	return set.Devices()[0]
}
