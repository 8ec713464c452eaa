package agent_test

import (
	"fmt"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/drivers/modbus/modbustest"
)

// lineFaults are what befalls single requests in the field.
var lineFaults = []modbustest.Fault{
	modbustest.Late, modbustest.Split, modbustest.Reset, modbustest.ResetBefore, modbustest.HalfOpen, modbustest.WrongTxid,
	modbustest.Duplicate, modbustest.ShortCount, modbustest.Garbage, modbustest.Acknowledge, modbustest.Busy, modbustest.EarlyAnswer,
}

// One window after the other, each with another power, and each time the
// write that begins it meets another fault on the line to a device that is not
// ours: well before the window is over the right watts flow, over one
// connection.
func TestEveryFaultOnTheLineIsOverBeforeTheWindowIs(t *testing.T) {
	t.Parallel()
	const (
		window = 4 * time.Second
		settle = 2500 * time.Millisecond // far below a renewal of the lease
		answer = 400 * time.Millisecond
	)
	bat := newForeignBattery(t)
	line := modbustest.NewProxy(t, bat.addr)
	line.Delay = answer + 200*time.Millisecond
	s := newSite(t, siteOptions{foreign: line.Addr(), maxPower: fmt.Sprintf("8 kW, timeout: %v", answer), noBroker: true})
	s.inside()
	start := second(3 * time.Second)
	var all []demo.Instruction
	power := func(i int) float64 { return 2000 + 500*float64(i%4) }
	for i := range lineFaults {
		at := start.Add(time.Duration(i) * window)
		all = append(all, ask(fmt.Sprintf("i%d", i), fmt.Sprintf("%.5f", power(i)/1e6), "export", at, at.Add(window)))
	}
	s.instruct(all...)
	for i, fault := range lineFaults {
		at := start.Add(time.Duration(i) * window)
		until(at.Add(-200 * time.Millisecond))
		line.OnWrite(1, fault)
		until(at.Add(settle))
		if line.Hits() != i+1 {
			t.Errorf("%s: %d faults so far, want %d", fault, line.Hits(), i+1)
		}
		p, since := bat.power()
		if p > power(i)+0.5 || p < power(i)-8 {
			t.Errorf("%s: %v W, want %v W, at most 8 W less", fault, p, power(i))
		}
		if n := line.Open(); n != 1 {
			t.Errorf("%s: %d open connections, want one", fault, n)
		}
		t.Logf("%s: %v W %v after the second", fault, p, since.Sub(at).Round(time.Millisecond))
	}
	end := start.Add(time.Duration(len(lineFaults)) * window)
	s.await(time.Until(end)+5*time.Second, "released", func() bool { p, _ := bat.power(); return p == 0 })
}
