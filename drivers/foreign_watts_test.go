package drivers_test

import (
	"fmt"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest/foreign"
	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
)

// The plant behind servers that share not a line with ours gives the watts
// that were meant after every single fault in the write, of every kind of
// device, also with one connection at a time and with an idle closer.
func TestASingleFaultCostsNoWattsAtThePlant(t *testing.T) {
	for _, s := range foreign.Stacks() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f := s.Run(t)
			for n, k := range plantKinds() {
				plant := newSite(t, k.add)
				behind := modbus.NewEndpoint(plant.dev.Addr(), modbus.Quirks{Gap: -1}, nil)
				t.Cleanup(start(t, behind.Run))
				f.Serve(behind)
				dev := plant.driven(t, f, k, n)
				for _, fault := range modbustest.OfTheLine() {
					t.Run(fmt.Sprintf("%s, %s, %s", k.name, dev.line, fault), func(t *testing.T) { dev.oneFault(t, fault) })
				}
			}
		})
	}
}

// driven is a device of the plant under control over a line that errs.
type driven struct {
	site
	plantKind
	line  string
	proxy *modbustest.Proxy
	apply func(t *testing.T, o flex.Target)
	turns int
}

func (s site) driven(t *testing.T, f *foreign.Server, k plantKind, n int) *driven {
	t.Helper()
	p := modbustest.NewProxy(t, f.Addr)
	p.Delay = faultTimeout + 100*time.Millisecond
	q := lineQuirks()[n%len(lineQuirks())]
	q.set(p)
	dev := over(t, p.Addr(), k.role, faultTimeout)
	return &driven{site: s, plantKind: k, line: q.name, proxy: p, apply: func(t *testing.T, o flex.Target) { steady(t, dev, o) }}
}

func (d *driven) oneFault(t *testing.T, fault modbustest.Fault) {
	was, want := d.orders[d.turns%2], d.orders[(d.turns+1)%2]
	d.turns++
	d.apply(t, was)
	hits := d.proxy.Hits()
	d.proxy.OnWrite(1, fault)
	began := time.Now()
	d.apply(t, want)
	if took := time.Since(began); took > settledWithin {
		t.Errorf("proven after %s, want within %s", took, settledWithin)
	}
	if d.proxy.Hits() != hits+1 {
		t.Fatalf("%d faults happened, want one", d.proxy.Hits()-hits)
	}
	d.watts(t, float64(want.Power), rated/100)
}
