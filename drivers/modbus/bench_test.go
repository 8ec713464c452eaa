package modbus_test

import (
	"testing"
	"time"

	gomodbus "github.com/goburrow/modbus"

	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
)

// Both benchmarks read 10 registers over loopback from the same kind of
// server in the same process; their ratio is what the endpoint costs.

func BenchmarkTransport(b *testing.B) {
	s := modbustest.New(b)
	e := start(b, s.Addr(), modbus.Quirks{Gap: -1})
	r := read(0, 10)
	if _, err := e.Do(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Do(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareGoburrow(b *testing.B) {
	s := modbustest.New(b)
	h := gomodbus.NewTCPClientHandler(s.Addr())
	h.Timeout, h.SlaveId = 2*time.Second, 1
	defer h.Close()
	c := gomodbus.NewClient(h)
	if _, err := c.ReadHoldingRegisters(0, 10); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.ReadHoldingRegisters(0, 10); err != nil {
			b.Fatal(err)
		}
	}
}
