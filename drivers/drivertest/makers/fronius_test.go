package makers

import (
	"strings"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func onFronius(t *testing.T, o FroniusOptions) (*stand, *Fronius) {
	s := newStand(t)
	d := NewFronius(s.now, o)
	s.dev = d
	return s, d
}

// signed is a register of two's complement.
func signed(v int16) uint16 { return uint16(v) }

// The addresses are those of Omnibattery, callifo and open-dynamic-export, not
// the chain's.
func TestFroniusLaysTheModelsWhereOthersFindThem(t *testing.T) {
	for _, c := range []struct {
		floats             bool
		limit, m160, m124h uint16
	}{{false, 40232, 40253, 40343}, {true, 40242, 40263, 40353}} {
		s, _ := onFronius(t, FroniusOptions{Floats: c.floats})
		if got := s.read(1, c.m160, 2); got[0] != 160 || got[1] != 88 {
			t.Errorf("model 160: %v", got)
		}
		if got := s.read(1, c.m124h, 2); got[0] != 124 || got[1] != 24 {
			t.Errorf("model 124: %v", got)
		}
		if got := s.read(1, c.limit, 1); got[0] != 10000 {
			t.Errorf("limit: %v", got)
		}
		if got := s.read(1, 40002, 2); got[0] != 1 || got[1] != 65 {
			t.Errorf("model 1: %v", got)
		}
	}
}

func TestFroniusModulesAreToldApartByText(t *testing.T) {
	for _, verto := range []bool{false, true} {
		s, d := onFronius(t, FroniusOptions{VertoPlus: verto, House: 3000})
		s.pass(time.Second)
		at, n := d.at[160], s.word(1, d.at[160]+8)
		found := ""
		for i := range n {
			m := at + 10 + 20*i
			var name strings.Builder
			for _, w := range s.read(1, m+1, 8) {
				name.WriteString(strings.Trim(string([]byte{byte(w >> 8), byte(w)}), "\x00"))
			}
			if w := s.word(1, m+11); w == 3000 {
				found = name.String()
			}
		}
		if !strings.HasPrefix(found, "StDisCha") || (n == 5) != verto {
			t.Errorf("%d modules, discharging at %q", n, found)
		}
	}
}

func TestFroniusForcesBothWays(t *testing.T) {
	s, d := onFronius(t, FroniusOptions{House: 500})
	s.code("rates", s.writes(1, 40355, signed(4000), signed(-4000)), 0)
	s.code("mode", s.writes(1, 40348, 3), 0)
	s.pass(time.Second)
	s.near("discharging", d.Watts().Battery, 4000)
	s.writes(1, 40355, signed(-3000), signed(3000))
	s.pass(time.Second)
	s.near("charging without leave", d.Watts().Battery, 0)
	s.writes(1, 40360, 1)
	s.pass(time.Second)
	s.near("charging from the grid", d.Watts().Battery, -3000)
	s.near("grid", d.Watts().Grid, -3500)
	if st := s.word(1, 40354); st != 4 {
		t.Errorf("ChaSt %d", st)
	}
}

func TestFroniusTimerFoundOnTheDeviceEndsTheHold(t *testing.T) {
	s, d := onFronius(t, FroniusOptions{House: 2000, Revert: 3600})
	s.writes(1, 40355, 0)
	s.writes(1, 40348, 2)
	s.pass(3599 * time.Second)
	s.near("held", d.Watts().Battery, 0)
	s.pass(2 * time.Second)
	s.near("let go", d.Watts().Battery, 2000)
	if got := s.word(1, 40358); got != 3600 {
		t.Errorf("time %d", got)
	}
}

func TestFroniusLimit(t *testing.T) {
	s, d := onFronius(t, FroniusOptions{Sun: 8000, SoC: 100})
	s.writes(1, 40232, 3000)
	s.pass(time.Second)
	s.near("stored, not applied", d.Watts().AC, 8000)
	s.code("the whole run", s.writes(1, 40232, 3000, 0, 60, 0, 1), 0)
	s.pass(time.Second)
	s.near("limited", d.Watts().AC, 3000)
	s.pass(time.Minute)
	s.near("reverted", d.Watts().AC, 8000)
	if ena := s.word(1, 40236); ena != 0 {
		t.Errorf("Ena %d", ena)
	}
}

func TestFroniusKeepsTheOldLimitUntilEnaIsToggled(t *testing.T) {
	s, d := onFronius(t, FroniusOptions{Sun: 8000, SoC: 100, Toggle: true})
	s.writes(1, 40232, 3000, 0, 0, 0, 1)
	s.writes(1, 40232, 5000, 0, 0, 0, 1)
	s.pass(time.Second)
	s.near("old limit", d.Watts().AC, 3000)
	s.writes(1, 40236, 0)
	s.writes(1, 40236, 1)
	s.pass(time.Second)
	s.near("new limit", d.Watts().AC, 5000)
}

func TestFroniusRefusals(t *testing.T) {
	s, _ := onFronius(t, FroniusOptions{NoReserve: true})
	s.code("percent", s.writes(1, 40355, 10001), modbus.IllegalValue)
	s.code("reserve", s.writes(1, 40350, 2000), 0)
	if got := s.word(1, 40350); got != 0xFFFF {
		t.Errorf("reserve %d", got)
	}
	_, code := s.do(modbus.Request{Unit: 7, Func: modbus.ReadHolding, Addr: 40000, Count: 2})
	s.code("another unit", code, modbus.GatewayTargetSilent)
	s, _ = onFronius(t, FroniusOptions{NoControl: true})
	s.code("control is off", s.writes(1, 40348, 0), modbus.IllegalFunction)
}
