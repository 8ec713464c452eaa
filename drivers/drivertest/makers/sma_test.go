package makers

import (
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func smaStand(t *testing.T, o SMAOptions, sbs bool) (*stand, *SMA) {
	s := newStand(t)
	d := NewSTPSE(s.now, o)
	if sbs {
		d = NewSBS(s.now, o)
	}
	s.dev = d
	return s, d
}

func (s *stand) command(w float64) {
	s.t.Helper()
	s.code("40151", s.writes(3, 40151, 0, 802), 0)
	s.code("40149", s.writes(3, 40149, pair(s32(w), false)...), 0)
}

func TestSMAReadings(t *testing.T) {
	s, d := smaStand(t, SMAOptions{Sun: 3000, House: 1000}, false)
	s.near("by itself it stores the surplus", d.Watts().Battery, -2000)
	s.command(0)
	s.near("AC reading: nothing comes out", d.Watts().AC, 0)
	s.near("AC reading: the battery takes the sun", d.Watts().Battery, -3000)
	d.SetSoC(100)
	s.near("AC reading: full, the sun is thrown away", d.Watts().PV, 0)
	s, d = smaStand(t, SMAOptions{Sun: 3000, House: 1000, Reading: SMABatteryPower}, false)
	s.command(0)
	s.near("battery reading: the sun comes out", d.Watts().AC, 3000)
	s.command(-2500)
	s.near("battery reading: charging", d.Watts().Battery, -2500)
	s.near("31393", float64(s.u32(3, 31393, false)), 2500)
	s.command(2000)
	s.near("31395", float64(s.u32(3, 31395, false)), 2000)
	s.near("30775", float64(int32(s.u32(3, 30775, false))), 5000)
	s.writes(3, 40151, 0, 803)
	s.near("803 ends it", d.Watts().Battery, -2000)
}

func TestSMATimeout(t *testing.T) {
	s, d := smaStand(t, SMAOptions{House: 1000}, true)
	s.command(3000)
	s.pass(9 * time.Minute)
	s.near("within the time-out", d.Watts().Battery, 3000)
	s.pass(2 * time.Minute)
	s.near("after it", d.Watts().Battery, 1000)
	s, d = smaStand(t, SMAOptions{Keeps: true}, true)
	s.command(3000)
	s.pass(30 * time.Minute)
	s.near("set to keep", d.Watts().Battery, 3000)
}

func TestSMAOnlyWritten(t *testing.T) {
	s, _ := smaStand(t, SMAOptions{}, true)
	_, code := s.do(modbus.Request{Unit: 3, Func: modbus.ReadHolding, Addr: 40149, Count: 2})
	s.code("reading 40149", code, modbus.IllegalAddress)
	s.code("function 6", s.writes6(3, 40151, 802), modbus.IllegalAddress)
	s.code("two points in one request", s.writes(3, 40149, 0, 1000, 0, 802), modbus.IllegalAddress)
	s, _ = smaStand(t, SMAOptions{ReadsNaN: true}, true)
	s.command(1000)
	if v := s.u32(3, 40151, false); v != 0x00FFFFFD {
		t.Errorf("40151 reads %#x", v)
	}
}

func (s *stand) window(mode uint32, limits ...uint32) {
	s.t.Helper()
	for i, v := range limits {
		s.code("window", s.writes(3, 40793+2*uint16(i), pair(v, false)...), 0)
	}
	s.code("mode", s.writes(3, 40236, pair(mode, false)...), 0)
}

func TestSMAWindow(t *testing.T) {
	s, d := smaStand(t, SMAOptions{House: 2000}, true)
	s.window(2424, 0, 4200, 0)
	s.near("a part of the set rules nothing", d.Watts().Battery, 2000)
	s.window(2424, 0, 4200, 0, 0)
	s.near("held", d.Watts().Battery, 0)
	s.window(2289, 3000, 3000, 0, 0)
	s.near("charging", d.Watts().Battery, -3000)
	s.pass(301 * time.Second)
	s.near("lapsed", d.Watts().Battery, 2000)

	s, d = smaStand(t, SMAOptions{House: 2000, Window: SMAWindowCaps}, false)
	s.window(2289, 3000, 3000, 0, 0)
	s.near("standby", d.Watts().Battery, 0)
	s.window(1438, 0, 5000, 0, 500)
	s.near("capped", d.Watts().Battery, 500)
	s, d = smaStand(t, SMAOptions{House: 2000, Window: SMAWindowDead}, false)
	s.window(2424, 0, 0, 0, 0)
	s.near("dead", d.Watts().Battery, 2000)
}

func TestSMASleeps(t *testing.T) {
	s, d := smaStand(t, SMAOptions{Sleeps: time.Hour}, true)
	if v := s.u32(3, 30845, false); v != 50 {
		t.Errorf("SoC %d", v)
	}
	s.pass(2 * time.Hour)
	if !d.Asleep() || s.u32(3, 30845, false) != 0xFFFFFFFF {
		t.Error("it does not sleep")
	}
	s.command(-2000)
	s.near("not yet awake", d.Watts().Battery, 0)
	s.pass(61 * time.Second)
	s.near("awake", d.Watts().Battery, -2000)
	s, d = smaStand(t, SMAOptions{}, true)
	d.SetSoC(0)
	if v := s.u32(3, 30845, false); v != 0xFFFFFFFF {
		t.Errorf("empty, the SoC reads %d", v)
	}
	_ = d
}
