package makers

import (
	"context"
	"errors"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func onHuawei(t *testing.T, o HuaweiOptions) (*stand, *Huawei) {
	s := newStand(t)
	d := NewHuawei(s.now, o)
	s.dev = d
	return s, d
}

// force writes the sequence that evcc and Omnibattery write.
func (s *stand) force(mode, minutes uint16, watts uint32) {
	s.t.Helper()
	s.code("period", s.writes(1, 47083, minutes), 0)
	s.code("by time", s.writes(1, 47246, 0), 0)
	addr := uint16(47247)
	if mode == 2 {
		addr = 47249
	}
	s.code("power", s.writes(1, addr, pair(watts, false)...), 0)
	s.code("mode", s.writes(1, 47100, mode), 0)
}

func TestHuaweiForcedChargeIsACeilingOnTheHarvest(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{Sun: 5000, House: 500, FromGrid: true})
	s.pass(time.Second)
	s.near("harvest", d.Watts().PV, 5000)
	s.force(1, 2, 400)
	s.pass(20 * time.Second)
	s.near("harvest under 400 W", d.Watts().PV, 400)
	s.near("battery", d.Watts().Battery, -400)
	s.near("told", float64(s.u32(1, 32064, false)), 400)
	s.writes(1, 47100, 0)
	s.pass(7 * time.Second)
	s.near("harvest after 7 s", d.Watts().PV, 5000)
	s.force(1, 2, 0)
	s.pass(time.Second)
	s.near("0 W curtails all", d.Watts().PV, 0)
}

func TestHuaweiForcedDischargeTakesTheTrackerDown(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{Sun: 3000, House: 4000})
	s.force(2, 10, 2000)
	s.pass(30 * time.Second)
	s.near("harvest", d.Watts().PV, 0)
	s.near("battery", d.Watts().Battery, 2000)
	if volts := s.read(1, 32016, 2); volts[0] != 3740 || volts[1] != 0 {
		t.Errorf("a string of %v, want 374 V and no current", volts)
	}
	s.near("told, charging positive", float64(int32(s.u32(1, 37001, false))), -2000)
	s.near("grid", float64(int32(s.u32(1, 37113, false))), -2000)
}

func TestHuaweiThatHarvestsUnderACommand(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{Sun: 8000, House: 500, Harvests: true})
	s.force(2, 10, 0)
	s.pass(10 * time.Second)
	s.near("harvest", d.Watts().PV, 8000)
	s.near("grid", d.Watts().Grid, 7500)
}

func TestHuaweiRampsTwentySecondsPerKilowatt(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{FromGrid: true})
	s.force(1, 10, 1000)
	s.pass(10 * time.Second)
	s.near("half way", d.Watts().Battery, -500)
	s.pass(10 * time.Second)
	s.near("there", d.Watts().Battery, -1000)
}

func TestHuaweiForcedCommandEnds(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{House: 700})
	s.force(2, 2, 3000)
	s.pass(119 * time.Second)
	s.near("discharging", d.Watts().Battery, 3000)
	s.writes(1, 47100, 2)
	s.pass(119 * time.Second)
	s.near("renewed", d.Watts().Battery, 3000)
	s.pass(2 * time.Second)
	s.near("by itself again", d.Watts().Battery, 700)
	if got := s.word(1, 47100); got != 0 {
		t.Errorf("47100 is %d", got)
	}
	s.writes(1, 47087, 1)
	s.force(1, 60, 3000)
	d.SetSoC(100)
	s.pass(time.Second)
	if got := s.word(1, 47100); got != 0 {
		t.Errorf("47100 is %d at 100 %%", got)
	}
}

func TestHuaweiChargesFromTheGridOnlyWithLeave(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{Sun: 300})
	s.force(1, 10, 2000)
	s.pass(time.Minute)
	s.near("from PV alone", d.Watts().Battery, -300)
	s.writes(1, 47087, 1)
	s.pass(time.Minute)
	s.near("from the grid", d.Watts().Battery, -2000)
}

func TestHuaweiRefusals(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{})
	s.code("above 37046", s.writes(1, 47247, pair(5001, false)...), modbus.DeviceFailure)
	s.code("above 37048", s.writes(1, 47077, pair(5001, false)...), modbus.DeviceFailure)
	s.code("half a value", s.writes(1, 47247, 0), modbus.IllegalAddress)
	s.code("cutoff", s.writes(1, 47081, 800), modbus.IllegalValue)
	d.SetLost(true)
	if got := s.u32(1, 37765, false); got != 0x7FFFFFFF {
		t.Errorf("power of a lost battery: %#x", got)
	}
	s, _ = onHuawei(t, HuaweiOptions{Multiple: true})
	s.code("function 6", s.writes6(1, 47100, 0), modbus.IllegalFunction)
}

func TestHuaweiIsDeafAfterAConnection(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{})
	d.Connect()
	read := modbus.Request{Unit: 1, Func: modbus.ReadHolding, Addr: 37001, Count: 2}
	s.pass(time.Second)
	if _, err := d.Do(context.Background(), read); !errors.Is(err, modbus.ErrTimeout) {
		t.Errorf("after 1 s: %v", err)
	}
	s.pass(600 * time.Millisecond)
	if _, err := d.Do(context.Background(), read); err != nil {
		t.Errorf("after 1.6 s: %v", err)
	}
}

func TestHuaweiOwnersOwnForcedCharge(t *testing.T) {
	s, d := onHuawei(t, HuaweiOptions{FromGrid: true, Forced: 1, ForcedPower: 1000, ForcedMinutes: 30})
	s.pass(time.Minute)
	s.near("charging", d.Watts().Battery, -1000)
	if got := d.Owner()[Register{1, 47100}]; got != 1 {
		t.Errorf("47100 as the owner left it: %d", got)
	}
	s.pass(30 * time.Minute)
	s.near("over", d.Watts().Battery, 0)
}
