package makers

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

// stand is a clock and the wire to a device under test.
type stand struct {
	t   *testing.T
	at  time.Time
	dev Device
}

func newStand(t *testing.T) *stand {
	return &stand{t: t, at: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
}

func (s *stand) now() time.Time { return s.at }

func (s *stand) pass(d time.Duration) { s.at = s.at.Add(d) }

func (s *stand) do(r modbus.Request) (modbus.Response, byte) {
	s.t.Helper()
	res, err := s.dev.Do(context.Background(), r)
	var exception *modbus.Exception
	if err != nil && !errors.As(err, &exception) {
		s.t.Fatalf("%v: %v", r, err)
	}
	if exception != nil {
		return res, exception.Code
	}
	return res, 0
}

func (s *stand) read(unit byte, addr, n uint16) []uint16 {
	s.t.Helper()
	res, code := s.do(modbus.Request{Unit: unit, Func: modbus.ReadHolding, Addr: addr, Count: n})
	if code != 0 {
		s.t.Fatalf("reading %d of unit %d: exception %d", addr, unit, code)
	}
	return res.Words
}

func (s *stand) word(unit byte, addr uint16) uint16 { s.t.Helper(); return s.read(unit, addr, 1)[0] }

func (s *stand) u32(unit byte, addr uint16, lowFirst bool) uint32 {
	s.t.Helper()
	w := s.read(unit, addr, 2)
	if lowFirst {
		w[0], w[1] = w[1], w[0]
	}
	return uint32(w[0])<<16 | uint32(w[1])
}

func (s *stand) f32(unit byte, addr uint16, lowFirst bool) float64 {
	s.t.Helper()
	return float64(math.Float32frombits(s.u32(unit, addr, lowFirst)))
}

// writes writes with function 16 and tells the exception's code.
func (s *stand) writes(unit byte, addr uint16, values ...uint16) byte {
	s.t.Helper()
	_, code := s.do(modbus.Request{Unit: unit, Func: modbus.WriteMultiple, Addr: addr, Values: values})
	return code
}

// writes6 writes one register with function 6.
func (s *stand) writes6(unit byte, addr, value uint16) byte {
	s.t.Helper()
	_, code := s.do(modbus.Request{Unit: unit, Func: modbus.WriteSingle, Addr: addr, Values: []uint16{value}})
	return code
}

// near fails unless a power is within a watt of what is wanted.
func (s *stand) near(what string, got, want float64) {
	s.t.Helper()
	if math.Abs(got-want) > 1 {
		s.t.Errorf("%s: %.0f, want %.0f", what, got, want)
	}
}

func (s *stand) code(what string, got, want byte) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: exception %d, want %d", what, got, want)
	}
}
