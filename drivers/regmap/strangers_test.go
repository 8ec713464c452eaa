package regmap_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest"
	"flexd/drivers/drivertest/foreign"
	strangers "flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus/modbustest"
	"flexd/drivers/regmap"
)

// over opens the device at an address, as a new process would, without the
// pauses that the real one needs.
func (b *bench) over(t *testing.T, addr string, timeout time.Duration) drivers.Device {
	t.Helper()
	set, err := drivers.Open([]drivers.Config{{ID: "dev", Driver: drivers.DriverMap, Map: b.name, Role: b.role, Address: addr, Unit: b.unit,
		GridCharge: b.consent, Gap: -1, ConnectDelay: 1, Timeout: timeout}}, nil)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", b.name, err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- set.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return set.Devices()[0]
}

// The same suite behind servers that share not a line with ours.
func TestTheSuiteOnDevicesOfStrangersOnForeignStacks(t *testing.T) {
	for _, s := range foreign.Stacks() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f := s.Run(t)
			for _, m := range mades {
				t.Run(m.name, func(t *testing.T) {
					drivertest.Run(t, func(t *testing.T) drivertest.Rig {
						b := m.bench()
						f.Serve(b.p)
						p := modbustest.NewProxy(t, f.Addr)
						r := b.rig(func() drivertest.Device { return b.over(t, p.Addr(), 5*time.Second) })
						r.Fault, r.Gives = drivertest.OnLine(p), nil
						return r
					})
				})
			}
		})
	}
}

// Every single fault on the line leaves the watts that were meant, whichever
// of the writes of a change it meets.
func TestASingleFaultCostsNoWattsOnDevicesOfStrangers(t *testing.T) {
	for _, s := range foreign.Stacks() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f := s.Run(t)
			for n, m := range mades {
				for i, fault := range modbustest.OfTheLine() {
					write := 1 + (i+n)%m.changes()
					t.Run(fmt.Sprintf("%s, %s in write %d", m.name, fault, write), func(t *testing.T) { m.oneFault(t, f, write, fault) })
				}
			}
		})
	}
}

// changes is how many requests a change of the setpoint takes at least.
func (m made) changes() int {
	if m.cap || m.single {
		return 1
	}
	return 2
}

func (m made) oneFault(t *testing.T, f *foreign.Server, write int, fault modbustest.Fault) {
	b := m.bench()
	f.Serve(b.p)
	p := modbustest.NewProxy(t, f.Addr)
	p.Delay = faultTimeout + 100*time.Millisecond
	dev := b.over(t, p.Addr(), faultTimeout)
	orders := b.rig(nil).Orders
	steady(t, dev, orders[0])
	p.OnWrite(write, fault)
	began := time.Now()
	steady(t, dev, orders[1])
	if took := time.Since(began); took > settledWithin || p.Hits() != 1 {
		t.Errorf("%d faults, proven after %s", p.Hits(), took)
	}
	near(t, "after one fault", float64(b.gives()), float64(orders[1].Power), m.lsb)
}

// What is stored is written a few times a day, and every write is told.
func TestADayOnDevicesOfStrangersWearsOutLittle(t *testing.T) {
	for _, m := range mades {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { m.aDay(t) })
		})
	}
}

func (m made) aDay(t *testing.T) {
	b := m.bench()
	b.dev.SetHouse(0)
	stored := map[string][]uint16{
		"sungrow-sh": {13049}, "fronius-gen24": {froniusMode + 10, froniusMode + 12}, "solaredge-storedge": {0xE004, 0xE005, 0xE00A, 0xE00B},
		"solaredge-pv": {0xF300, 0xF318, 0xF31A}, "huawei-luna": {47087}, "victron-gx-mode3": {2902},
	}[m.name]
	told, tolls := map[uint16]int{}, map[uint16]int{}
	note := func(rec flex.Receipt) {
		for _, r := range rec.Wrote {
			if r.Persistent {
				told[r.Addr]++
			}
		}
	}
	for range 4 {
		d, e := b.take(t)
		plate, err := d.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, toll := range plate.Tolls {
			tolls[toll.Register.Addr] += toll.Dispatch
		}
		for spent := time.Duration(0); spent < time.Hour; spent += 20 * time.Second {
			p := []flex.Watts{1000, -900, 800, -1000}[spent/(15*time.Minute)%4]
			if b.cap {
				p = p.Abs()
			}
			rec, err := d.Apply(t.Context(), b.order(p))
			if err != nil || !rec.Echo {
				t.Fatalf("%v: %+v, %v", p, rec, err)
			}
			note(rec)
			e.Intent = rec.Holds
			time.Sleep(20 * time.Second)
		}
		rec, err := d.Release(t.Context(), *e)
		if err != nil || !rec.Echo {
			t.Fatalf("release: %+v, %v", rec, err)
		}
		note(rec)
		time.Sleep(4 * time.Hour)
	}
	for _, a := range stored {
		n := wornBy(b.p.writes, a, 0, false)
		if n == 0 || told[a] != n || n > tolls[a] {
			t.Errorf("register %d (%#x): written %d times, told %d, announced %d", a, a, n, told[a], tolls[a])
		}
	}
	for a, n := range told {
		if !slices.Contains(stored, a) {
			t.Errorf("register %d (%#x) was worn %d times", a, a, n)
		}
	}
	never := map[string][]uint16{"solaredge-pv": {0xF001, 0xF100, 0xF142}, "huawei-luna": {47075, 47077}, "sungrow-sh": {33046, 33047}}
	for _, a := range never[m.name] {
		if n := wornBy(b.p.writes, a, 0, false); n > 0 {
			t.Errorf("register %d was written %d times", a, n)
		}
	}
}

func TestAnotherKindOfDeviceIsNotTaken(t *testing.T) {
	for name, other := range map[string]string{"huawei-luna": "SG10RT", "fronius-gen24": "Tauro 50"} {
		b := madeFor(name).bench()
		at := map[string]uint16{"huawei-luna": 30000, "fronius-gen24": 40020}[name]
		words := map[strangers.Register]uint16{}
		for i := range uint16(15) {
			var w uint16
			for _, c := range []byte((other + strings.Repeat("\x00", 30))[2*i : 2*i+2]) {
				w = w<<8 | uint16(c)
			}
			words[strangers.Register{Unit: 1, Addr: at + i}] = w
		}
		b.shown(words)
		if _, err := b.driver(t, b.p).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "another kind of device") {
			t.Errorf("%s took a %s: %v", name, other, err)
		}
	}
}

// A power above what the battery takes at the moment is bounded, for the
// device would refuse it.
func TestAPowerBeyondWhatTheDeviceTakesIsClamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := madeFor("huawei-luna").with(func(now func() time.Time) plant {
			return strangers.NewHuawei(now, strangers.HuaweiOptions{Discharge: 2600, RampIn: 1e12, RampOut: 1e12})
		}).bench()
		d, _ := b.take(t)
		for _, c := range []struct{ order, want flex.Watts }{{9000, 2600}, {-9000, -5000}, {1000, 1000}} {
			rec, err := d.Apply(t.Context(), b.order(c.order))
			time.Sleep(time.Second)
			if err != nil || !rec.Echo || rec.Effective != c.want || b.gives() != c.want {
				t.Errorf("%v: %+v, %v, gives %v", c.order, rec, err, b.gives())
			}
		}
	})
}

// What control is told of the pace and the ramp is what the device needs.
func TestTheMapsTellThePaceOfTheirDevices(t *testing.T) {
	for _, m := range mades {
		d := m.bench().driver(t, m.bench().p)
		p, err := d.Open(t.Context())
		if err != nil || p.Refresh < time.Second || m.after > 0 && p.Refresh > m.after/2 || p.Revert != (m.after > 0) {
			t.Errorf("%s: every %v, falls back after %v, %v", m.name, p.Refresh, m.after, err)
		}
		if m.name == "huawei-luna" && p.Settle < 90*time.Second {
			t.Errorf("5 kW at 50 W/s may take %v", p.Settle)
		}
	}
}

// Every entry of the shipped maps cites its source.
func TestEveryEntryCitesItsSource(t *testing.T) {
	for _, of := range regmap.Names() {
		rm, err := regmap.Load(of, "")
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range rm.Points {
			if len(p.From) == 0 {
				t.Errorf("%s: %s cites no source", of, name)
			}
		}
		if len(rm.Doubts()) == 0 && of != "carlo-gavazzi-em24" { // which has two sources for everything
			t.Errorf("%s is sure of everything", of)
		}
		if len(rm.Models) == 0 {
			t.Errorf("%s says not which models it is for", of)
		}
	}
}
