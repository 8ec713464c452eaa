package makers

import (
	"maps"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func kostalStand(t *testing.T, o KostalOptions) (*stand, *Kostal) {
	s := newStand(t)
	k := NewKostal(s.now, o)
	s.dev = k
	return s, k
}

func TestKostalFollowsAndFallsBack(t *testing.T) {
	for _, big := range []bool{false, true} {
		s, k := kostalStand(t, KostalOptions{BigEndian: big, Sun: 2000, House: 500})
		s.near("by itself it stores the surplus", k.Watts().Battery, -1500)
		owner := k.Owner()
		s.code("1034", s.writes(71, 1034, pair(float(3000), !big)...), 0)
		s.near("discharge", k.Watts().Battery, 3000)
		s.near("582, + discharges", float64(int16(s.word(71, 582))), 3000)
		s.near("172", s.f32(71, 172, !big), 5000)
		s.near("252, + draws", s.f32(71, 252, !big), -4500)
		s.code("1034", s.writes(71, 1034, pair(float(-2500), !big)...), 0)
		s.pass(29 * time.Second)
		s.near("charge", k.Watts().Battery, -2500)
		s.pass(2 * time.Second)
		s.near("after the time-out it is on its own", k.Watts().Battery, -1500)
		if v := s.f32(71, 1034, !big); v != 0 {
			t.Errorf("1034 reads %v after the time-out", v)
		}
		if !maps.Equal(owner, k.Owner()) {
			t.Error("a setpoint changed what is the owner's")
		}
	}
}

func TestKostalFallsBackAtItsTimeThoughNobodyLooks(t *testing.T) {
	s, k := kostalStand(t, KostalOptions{Capacity: 10000, SoC: 50})
	s.writes(71, 1034, pair(float(3600), true)...)
	s.pass(time.Hour)
	s.near("30 s of 3600 W in ‰ of charge", k.SoC()*10, 497)
}

func TestKostalLimits(t *testing.T) {
	s, k := kostalStand(t, KostalOptions{Charge: 4718, Discharge: 4000, House: 3000})
	s.near("1038", s.f32(71, 1038, true), 4718)
	s.near("1078", s.f32(71, 1078, true), 4000)
	s.writes(71, 1040, pair(float(0), true)...)
	s.near("no discharge", k.Watts().Battery, 0)
	s.pass(31 * time.Second)
	s.near("the limit lapses", k.Watts().Battery, 3000)
	s.near("1040", s.f32(71, 1040, true), 4000)
}

func TestKostalModel123TakesFunction6Only(t *testing.T) {
	s, k := kostalStand(t, KostalOptions{Sun: 9000})
	k.SetSoC(100)
	s.code("function 16 on 40217", s.writes(71, 40217, 30), modbus.IllegalAddress)
	s.code("function 6 on 40217", s.writes6(71, 40217, 30), 0)
	s.near("throttled", k.Watts().AC, 3000)
	s.near("122 shows the limit", s.f32(71, 122, true), 30)
	s.pass(time.Hour)
	s.near("and it persists", k.Watts().AC, 3000)
	s.code("function 6 on half a float", s.writes6(71, 1034, 1), modbus.IllegalAddress)
	for addr, want := range map[uint16]uint16{40070: 103, 40122: 113, 40184: 120, 40212: 123, 40238: 160, 40308: 802, 40372: 0xFFFF} {
		if got := s.word(71, addr); got != want {
			t.Errorf("model at %d: %d, want %d", addr, got, want)
		}
	}
}

func TestKostalKeptAndIgnored(t *testing.T) {
	for name, o := range map[string]KostalOptions{"firmware": {Ignores: true}, "installer": {Internal: true}} {
		s, k := kostalStand(t, o)
		s.code(name, s.writes(71, 1034, pair(float(-1000), true)...), 0)
		s.near(name+": the echo", s.f32(71, 1034, true), -1000)
		s.near(name+": the battery", k.Watts().Battery, 0)
	}
	s, k := kostalStand(t, KostalOptions{Stuck: true})
	s.writes(71, 1034, pair(float(-1000), true)...)
	s.pass(time.Hour)
	s.near("the first generation stays", k.Watts().Battery, -1000)
}
