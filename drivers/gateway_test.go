package drivers

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// roof is a SunSpec inverter with a limit in model 123, in the sun.
func roof() makers.SunSpecKind {
	return makers.SunSpecKind{Base: 40000, Rated: 10_000, PowerSF: 0, PctSF: -2, Sun: func(time.Time) float64 { return 8000 }}
}

// An inverter behind a gateway with every bad manner that was seen is limited
// and handed back as one without.
func TestAnInverterBehindABadGateway(t *testing.T) {
	for _, c := range []struct {
		name string
		o    makers.GatewayOptions
		unit uint8
	}{
		{"none", makers.GatewayOptions{}, 1},
		{"short reads, exception 2", makers.GatewayOptions{MaxRead: 50, MaxReadCode: 2}, 1},
		{"short reads, exception 3", makers.GatewayOptions{MaxRead: 20, MaxReadCode: 3}, 1},
		{"short reads, exception 4", makers.GatewayOptions{MaxRead: 8, MaxReadCode: 4}, 1},
		{"function 6 alone", makers.GatewayOptions{Only6: true}, 1},
		{"one register up", makers.GatewayOptions{Shift: 1}, 1},
		{"one register down", makers.GatewayOptions{Shift: -1}, 1},
		{"zeros after the last model", makers.GatewayOptions{Zeros: true}, 1},
		{"unit 0", makers.GatewayOptions{Unit: 1}, 0},
		{"unit 255", makers.GatewayOptions{Unit: 1}, 255},
		{"all of it", makers.GatewayOptions{MaxRead: 10, MaxReadCode: 4, Only6: true, Zeros: true, Unit: 1}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plant := makers.NewSunSpec(time.Now, roof())
				gw := makers.NewGateway(plant, c.o)
				bus := mannered(gw, mannerSettings{unitZero: c.unit == 0}, quietly())
				d, err := sunspec.New(sunspec.Config{ID: "pv", Unit: c.unit, Bus: bus})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.Open(t.Context()); err != nil {
					t.Fatal(err)
				}
				before := plant.Owner()
				snap, err := d.Snapshot(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				rec, err := d.Apply(t.Context(), told(flex.OrderCap, 3000))
				if err != nil || !rec.Echo {
					t.Fatalf("%+v, %v", rec, err)
				}
				time.Sleep(30 * time.Second)
				if w := plant.Watts().AC; w > 3000 || w < 2900 {
					t.Errorf("%g W under a limit of 3000 W", w)
				}
				if rec, err = d.Release(t.Context(), flex.JournalEntry{Device: "pv", Snapshot: snap, Intent: rec.Holds}); err != nil || !rec.Echo {
					t.Fatalf("release: %+v, %v", rec, err)
				}
				time.Sleep(30 * time.Second)
				if w := plant.Watts().AC; w < 7000 {
					t.Errorf("%g W after the release", w)
				}
				if after := plant.Owner(); !maps.Equal(before, after) {
					t.Errorf("the owner's registers:%s", diff(before, after))
				}
			})
		})
	}
}

func diff(a, b map[makers.Register]uint16) (out string) {
	for k, v := range a {
		if b[k] != v {
			out += fmt.Sprintf(" %d was %d is %d", k.Addr, v, b[k])
		}
	}
	return out
}

// A Plenticore refuses function 16 in model 123 with exception 2, and takes
// its own floats by function 16 alone.
func TestAPlenticoreTakesEachFunctionWhereItWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := makers.NewKostal(time.Now, makers.KostalOptions{Sun: 8000})
		bus := mannered(k, mannerSettings{}, quietly())
		chain, err := sunspec.Walk(t.Context(), bus, 71)
		if err != nil {
			t.Fatal(err)
		}
		var limit uint16
		for _, m := range chain.Models {
			if m.ID == 123 {
				limit = m.Addr + 5
			}
		}
		if _, err := bus.Do(t.Context(), modbus.Request{Unit: 71, Func: modbus.WriteMultiple, Addr: limit, Values: []uint16{50}}); err != nil {
			t.Errorf("one register of model 123: %v", err)
		}
		if _, err := bus.Do(t.Context(), modbus.Request{Unit: 71, Func: modbus.WriteMultiple, Addr: 1034, Values: []uint16{0, 0x447A}}); err != nil {
			t.Errorf("its own float: %v", err)
		}
		var refused *modbus.Exception
		if _, err := bus.Do(t.Context(), modbus.Request{Unit: 71, Func: modbus.WriteMultiple, Addr: 1035, Values: []uint16{1}}); !errors.As(err, &refused) {
			t.Errorf("half a float: %v, want a refusal", err)
		}
	})
}
