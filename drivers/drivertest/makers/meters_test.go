package makers

import (
	"math"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func TestEM24(t *testing.T) {
	s := newStand(t)
	e := NewEM24(s.now, MeterOptions{Grid: 3000})
	s.dev = e
	power := func() float64 { return float64(int32(s.u32(1, 0x28, true))) / 10 }
	s.near("exporting", power(), -3000)
	e.SetGrid(-1500)
	s.near("drawing", power(), 1500)
	s.pass(2 * time.Hour)
	if v := s.u32(1, 0x34, true); v != 30 {
		t.Errorf("%d tenths of kWh drawn, want 30", v)
	}

	e = NewEM24(s.now, MeterOptions{Grid: 3000, Virgin: true})
	s.dev = e
	s.near("in application A the direction is lost", power(), 3000)
	s.code("0xA000", s.writes6(1, 0xA000, 7), 0)
	s.near("in H it is there", power(), -3000)
	e = NewEM24(s.now, MeterOptions{Grid: 3000, Virgin: true, Locked: true})
	s.dev = e
	s.code("0xA000", s.writes6(1, 0xA000, 7), 0)
	if v := s.word(1, 0xA000); v != 0 {
		t.Errorf("locked, and the application is %d", v)
	}
}

func TestSDM630(t *testing.T) {
	s := newStand(t)
	s.dev = NewSDM630(s.now, MeterOptions{Grid: -690, OnePhase: true})
	ask := func(fn byte, addr, n uint16) ([]uint16, byte) {
		res, code := s.do(modbus.Request{Unit: 1, Func: fn, Addr: addr, Count: n})
		return res.Words, code
	}
	words, code := ask(modbus.ReadInput, 52, 2)
	if code != 0 || math.Float32frombits(uint32(words[0])<<16|uint32(words[1])) != 690 {
		t.Errorf("52: %v, exception %d", words, code)
	}
	for _, c := range [][2]uint16{{51, 2}, {52, 1}, {0, 82}} {
		_, code := ask(modbus.ReadInput, c[0], c[1])
		s.code("what is not of whole values", code, modbus.IllegalAddress)
	}
	_, code = ask(modbus.ReadInput, 0, 80)
	s.code("40 values", code, 0)
	s.code("writing", s.writes(1, 20, 0, 0), modbus.IllegalAddress)
}
