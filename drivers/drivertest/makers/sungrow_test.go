package makers

import (
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func (s *stand) input(unit byte, addr, n uint16) ([]uint16, byte) {
	s.t.Helper()
	res, code := s.do(modbus.Request{Unit: unit, Func: modbus.ReadInput, Addr: addr, Count: n})
	return res.Words, code
}

func (s *stand) in(unit byte, addr uint16) uint16 {
	s.t.Helper()
	w, code := s.input(unit, addr, 1)
	s.code("reading", code, 0)
	return w[0]
}

func onSungrow(t *testing.T, o SungrowOptions) (*stand, *Sungrow) {
	s := newStand(t)
	d := NewSungrow(s.now, o)
	s.dev = d
	return s, d
}

func TestSungrowCoversTheHouseByItself(t *testing.T) {
	s, d := onSungrow(t, SungrowOptions{Sun: 1000, House: 3000})
	s.pass(time.Second)
	s.near("battery", d.Watts().Battery, 2000)
	s.near("grid", d.Watts().Grid, 0)
}

func TestSungrowsFirmwareDecidesTheSign(t *testing.T) {
	for _, old := range []bool{true, false} {
		s, d := onSungrow(t, SungrowOptions{OldFirmware: old})
		s.code("power", s.writes6(1, 13051, 4000), 0)
		s.code("charge", s.writes6(1, 13050, 0xAA), 0)
		s.code("forced", s.writes6(1, 13049, 2), 0)
		s.pass(time.Second)
		s.near("battery", d.Watts().Battery, -4000)
		s.near("grid", d.Watts().Grid, -4000)
		low, code := s.input(1, 5213, 2)
		power, state := s.in(1, 13021), s.in(1, 13000)
		if old {
			s.code("5213 on old firmware", code, modbus.IllegalAddress)
			if power != 4000 || state&2 == 0 || state&4 != 0 {
				t.Errorf("old firmware tells %d W, state %#x", int16(power), state)
			}
			continue
		}
		if int16(power) != -4000 || state != 0 || low[0] != 0xF060 || low[1] != 0xFFFF {
			t.Errorf("new firmware tells %d W, state %#x, 5213 %#x", int16(power), state, low)
		}
	}
}

func TestSungrowsHeartbeatRunsOut(t *testing.T) {
	s, d := onSungrow(t, SungrowOptions{House: 500})
	s.writes6(1, 13079, 30)
	s.writes6(1, 13051, 3000)
	s.writes6(1, 13050, 0xBB)
	s.writes6(1, 13049, 3)
	s.pass(17 * time.Second)
	if left := s.word(1, 13079); left != 13 {
		t.Errorf("%d s left, want 13", left)
	}
	s.near("battery", d.Watts().Battery, 3000)
	s.pass(14 * time.Second)
	if mode, left := s.word(1, 13049), s.word(1, 13079); mode != 0 || left != 0 {
		t.Errorf("mode %d with %d s left after the heartbeat", mode, left)
	}
	s.near("battery after", d.Watts().Battery, 500)
}

func TestSungrowsForcedModeHasNoEndAndStopHolds(t *testing.T) {
	s, d := onSungrow(t, SungrowOptions{House: 800})
	s.writes6(1, 13050, 0xCC)
	s.writes6(1, 13049, 2)
	s.pass(time.Hour)
	s.near("battery held", d.Watts().Battery, 0)
	s.near("grid", d.Watts().Grid, -800)
	if mode := s.word(1, 13049); mode != 2 {
		t.Errorf("mode %d", mode)
	}
}

func TestSungrowRefusesWhatIsTooMuch(t *testing.T) {
	s, _ := onSungrow(t, SungrowOptions{})
	s.code("too much", s.writes6(1, 13051, 10601), modbus.DeviceFailure)
	s.code("no discharge at all", s.writes6(1, 33047, 0), modbus.DeviceFailure)
	s.code("unknown command", s.writes6(1, 13050, 7), modbus.IllegalValue)
}

func TestSungrowStopsFullAndEmpty(t *testing.T) {
	s, d := onSungrow(t, SungrowOptions{SoC: 99.5})
	s.writes6(1, 13051, 5000)
	s.writes6(1, 13050, 0xAA)
	s.writes6(1, 13049, 2)
	s.pass(time.Minute)
	s.near("charging", d.Watts().Battery, 0)
	s.writes6(1, 13050, 0xBB)
	d.SetSoC(5)
	s.pass(time.Second)
	s.near("discharging", d.Watts().Battery, 0)
}

func TestSungrowThatNeedsAStopBetweenDirections(t *testing.T) {
	s, d := onSungrow(t, SungrowOptions{NeedsStop: true, Forced: 2000})
	s.writes6(1, 13050, 0xAA)
	s.writes6(1, 13049, 2)
	s.writes6(1, 13050, 0xBB)
	s.pass(time.Second)
	s.near("still charging", d.Watts().Battery, -2000)
	s.writes6(1, 13050, 0xCC)
	s.writes6(1, 13050, 0xBB)
	s.pass(time.Second)
	s.near("discharging", d.Watts().Battery, 2000)
}
