package regmap_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest/foreign"
	"flexd/drivers/modbus/modbustest"
)

const (
	// faultTimeout is what a request may take.
	faultTimeout = 200 * time.Millisecond
	// settledWithin is below a refresh interval of every map.
	settledWithin = 3 * time.Second
)

// Every maker's device, behind servers that share not a line with ours, gives
// the watts that were meant after every single fault on the line, whichever of
// the writes of its sequence the fault meets, on exactly one connection.
func TestASingleFaultCostsNoWattsOnAnyMakersDevice(t *testing.T) {
	lines := []struct {
		name  string
		quirk func(*modbustest.Proxy)
	}{
		{"any line", func(*modbustest.Proxy) {}},
		{"one connection", func(p *modbustest.Proxy) { p.ServeOne() }},
		{"idle closer", func(p *modbustest.Proxy) { p.CloseIdle(15 * time.Millisecond) }},
	}
	for _, s := range foreign.Stacks() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f := s.Run(t)
			for n, m := range makers {
				for i, fault := range modbustest.OfTheLine() {
					line, write := lines[(i+n)%3], 1+(i/3)%m.writes()
					t.Run(fmt.Sprintf("%s, %s, %s in write %d", m.name, line.name, fault, write), func(t *testing.T) {
						oneFault(t, f, m, line.quirk, write, fault)
					})
				}
			}
		})
	}
}

// writes is how many requests a change of the setpoint takes.
func (m maker) writes() int {
	switch m.name {
	case "sigenergy":
		return 2
	}
	return 1
}

func oneFault(t *testing.T, f *foreign.Server, m maker, quirk func(*modbustest.Proxy), write int, fault modbustest.Fault) {
	v := m.build()
	f.Serve(v)
	p := modbustest.NewProxy(t, f.Addr)
	p.Delay = faultTimeout + 100*time.Millisecond
	quirk(p)
	dev := m.over(t, p.Addr(), v.unit, faultTimeout)
	orders := m.orders()
	steady(t, dev, orders[0])
	p.OnWrite(write, fault)
	began := time.Now()
	steady(t, dev, orders[1])
	took := time.Since(began)
	if p.Hits() != 1 {
		t.Fatalf("%d faults happened, want one", p.Hits())
	}
	if took > settledWithin {
		t.Errorf("proven after %s, want within %s", took, settledWithin)
	}
	v.mu.Lock()
	watts, on := v.battery()
	v.mu.Unlock()
	want := float64(orders[1].Power)
	if less := (want - watts) * math.Copysign(1, want); !on || less < -1e-6 || less > m.lsb {
		t.Errorf("it gives %v W (%v), want %v W, never more, at most %v W less", watts, on, want, m.lsb)
	}
	if p.Idle() > 0 {
		return // what is not closed yet is about to be
	}
	steady(t, dev, orders[1]) // the fault may have been a farewell after the last answer
	for end := time.Now().Add(settledWithin); p.Open() != 1; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d open connections, want exactly one", p.Open())
		}
	}
}

// steady orders until it is proven, as control does.
func steady(t *testing.T, dev drivers.Device, want flex.Target) {
	t.Helper()
	for end := time.Now().Add(2 * settledWithin); ; <-time.After(20 * time.Millisecond) {
		rec, err := dev.Apply(t.Context(), want)
		if err == nil && rec.Echo {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never in the device: %+v, %v", rec, err)
		}
	}
}
