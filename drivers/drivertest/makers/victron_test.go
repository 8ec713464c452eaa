package makers

import (
	"maps"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func victronStand(t *testing.T, o VictronOptions) (*stand, *Victron) {
	s := newStand(t)
	v := NewVictron(s.now, o)
	s.dev = v
	return s, v
}

func TestVictronMode2(t *testing.T) {
	s, v := victronStand(t, VictronOptions{Sun: 1000, House: 1500, Critical: 500, Setpoint: 50})
	owner := v.Owner()
	s.near("the owner's setpoint", v.Watts().Grid, -50)
	s.code("2716", s.writes(100, 2716, pair(s32(-2000), false)...), 0)
	s.near("exporting", v.Watts().Grid, 2000)
	s.near("842, - discharges", float64(int16(s.word(100, 842))), -3000)
	s.near("820", float64(int16(s.word(100, 820))), -2000.0/3)
	s.pass(24 * time.Minute)
	s.near("nobody ends it", v.Watts().Grid, 2000)
	if n := v.FlashWrites(); n != 0 {
		t.Errorf("%d flash writes", n)
	}
	s.code("2716", s.writes(100, 2716, 0, 0), 0)
	s.near("0 hands back", v.Watts().Grid, -50)
	if !maps.Equal(owner, v.Owner()) {
		t.Error("not as found")
	}
	s.code("2700", s.writes6(100, 2700, 300), 0)
	if n := v.FlashWrites(); n != 1 {
		t.Errorf("%d flash writes", n)
	}
	if got := s.word(100, 2703); got != 3 {
		t.Errorf("2703 reads %d", got)
	}
	s.writes(100, 2716, pair(s32(-2000), false)...)
	v.Restart()
	s.near("a restart forgets it", v.Watts().Grid, -300)
}

func TestVictronMode3(t *testing.T) {
	s, v := victronStand(t, VictronOptions{House: 1000, Critical: 600, Mode: 3})
	s.near("without a setpoint it passes through", v.Watts().Battery, 0)
	for _, a := range []uint16{37, 40, 41} {
		s.code("setpoint", s.writes6(227, a, s16(-500)), 0)
	}
	s.near("AC input", v.Watts().AC, 1500)
	s.near("the battery carries the critical loads", v.Watts().Battery, 2100)
	s.near("12, in tens of W", float64(int16(s.word(227, 12))), -50)
	s.pass(5 * time.Second)
	s.writes6(227, 37, s16(-500))
	s.pass(6 * time.Second)
	s.near("two phases lapsed", v.Watts().Battery, 700)
	s.pass(5 * time.Second)
	s.near("all lapsed", v.Watts().Battery, 0)
	if got := s.word(227, 37); got != 0 {
		t.Errorf("37 reads %d after it lapsed", got)
	}
	s.code("wide", s.writes(227, 96, pair(s32(3000), false)...), 0)
	s.near("charging through one phase", v.Watts().Battery, -2800)
	if got := s.word(227, 37); got != 3000 {
		t.Errorf("37 reads %d", got)
	}
}

func TestVictronAnswers(t *testing.T) {
	s, v := victronStand(t, VictronOptions{OnePhase: true, House: 900})
	for _, c := range []struct {
		unit byte
		addr uint16
		want byte
	}{{100, 843, 0}, {0, 843, 0}, {227, 843, 10}, {100, 37, 10}, {100, 4999, 2}, {228, 37, 10}, {100, 5401, 2}} {
		_, code := s.do(modbus.Request{Unit: c.unit, Func: modbus.ReadHolding, Addr: c.addr, Count: 1})
		s.code("reading", code, c.want)
	}
	s.code("a reading", s.writes6(100, 843, 1), modbus.IllegalAddress)
	s.code("phase 2 of one", s.writes6(227, 40, 100), modbus.GatewayNoPath)
	if got := s.word(100, 821); got != 0 {
		t.Errorf("phase 2 reads %d", got)
	}
	v.SetBlind(true)
	if got := s.word(100, 843); got != 0 {
		t.Errorf("without a monitor the SoC reads %d", got)
	}
	v.SetVebusGone(true)
	s.code("no inverter", s.writes6(227, 37, 100), modbus.GatewayNoPath)
	s, v = victronStand(t, VictronOptions{NoOverride: true, DynamicESS: true, Schedule: -1000, Setpoint: 50})
	s.code("before 3.50", s.writes(100, 2716, 0, 100), modbus.IllegalAddress)
	s.writes6(100, 2700, 2000)
	s.near("dynamic ESS goes on", v.Watts().Battery, -1000)
}
