package regmap_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus"
	"flexd/drivers/regmap"
)

// counted is a slow line that counts what identifies the device.
type counted struct {
	makers.Device
	mu    sync.Mutex
	rated int
}

func (c *counted) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	c.mu.Lock()
	if r.Addr == 30010 && r.Count == 2 {
		c.rated++
	}
	c.mu.Unlock()
	time.Sleep(time.Second)
	return c.Device.Do(ctx, r)
}

// The reader and the reconciler meet a device at the same time after a start:
// on a line that takes a request a second it is identified once.
func TestADeviceIsIdentifiedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &counted{Device: makers.NewSigenergy(time.Now, makers.SigenergyOptions{SoC: 60})}
		m, err := regmap.Load("sigenergy", "")
		if err != nil {
			t.Fatal(err)
		}
		d, err := regmap.New(regmap.Config{ID: "dev", Endpoint: "plant:502", Unit: 247, Role: flex.RoleStorage, Map: m, Bus: bus})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = d.Open(t.Context()) })
		wg.Go(func() { _, _ = d.Snapshot(t.Context()) })
		wg.Wait()
		if bus.rated != 1 {
			t.Errorf("it was identified %d times", bus.rated)
		}
	})
}

// A device that asks for its owner's consent to charge from the grid says on its
// nameplate that it lacks it.
func TestTheNameplateTellsOfAMissingConsent(t *testing.T) {
	m, err := regmap.Load("huawei-luna", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, consent := range []bool{false, true} {
		d, err := regmap.New(regmap.Config{ID: "dev", Endpoint: "h:1", Unit: 1, Role: flex.RoleStorage, Map: m, GridCharge: consent,
			Bus: makers.NewHuawei(time.Now, makers.HuaweiOptions{SoC: 60})})
		if err != nil {
			t.Fatal(err)
		}
		if plate, err := d.Open(t.Context()); err != nil || plate.NoGridCharge == consent {
			t.Errorf("consent %v: %+v, %v", consent, plate, err)
		}
	}
}
