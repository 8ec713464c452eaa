package makers

import (
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func onSolarEdge(t *testing.T, o SolarEdgeOptions) (*stand, *SolarEdge) {
	s := newStand(t)
	d := NewSolarEdge(s.now, o)
	s.dev = d
	return s, d
}

// lowF and lowU are 32-bit values low word first.
func lowF(v float64) []uint16 { return pair(float(v), true) }
func lowU(v uint32) []uint16  { return pair(v, true) }

func TestSolarEdgeChainHoldsAMeter(t *testing.T) {
	s, d := onSolarEdge(t, SolarEdgeOptions{Rating: 33000, Sun: 33000, House: 2000})
	s.pass(time.Second)
	for at, id := range map[uint16]uint16{40002: 1, 40069: 103, 40121: 1, 40188: 203, 40295: 0xFFFF} {
		if got := s.word(1, at); got != id {
			t.Errorf("%d: model %d, want %d", at, got, id)
		}
	}
	if w, scale := s.word(1, 40083), s.word(1, 40084); w != 3300 || scale != 1 {
		t.Errorf("33 kW is told as %d with factor %d", w, int16(scale))
	}
	d.SetSun(2000)
	s.pass(time.Second)
	if w, scale := s.word(1, 40083), s.word(1, 40084); w != 20000 || int16(scale) != -1 {
		t.Errorf("2 kW is told as %d with factor %d", w, int16(scale))
	}
}

func TestSolarEdgeRampsToADynamicLimit(t *testing.T) {
	for _, rating := range []float64{10000, 33000} {
		s, d := onSolarEdge(t, SolarEdgeOptions{Rating: rating, Sun: rating})
		s.near("rating", s.f32(1, 0xF304, true), rating)
		s.code("limit", s.writes(1, 0xF322, lowF(40)...), 0)
		s.pass(time.Second)
		s.near("not enabled", d.Watts().AC, rating)
		s.code("enable", s.writes6(1, 0xF300, 1), 0)
		s.pass(time.Minute - time.Millisecond)
		s.near("5 % in a minute", d.Watts().AC/rating*10000, 9500)
		s.writes(1, 0xF31A, lowF(-1)...)
		s.writes(1, 0xF322, lowF(40)...)
		s.pass(time.Second)
		s.near("without a ramp", d.Watts().AC, 0.4*rating)
	}
}

func TestSolarEdgeFallsBack(t *testing.T) {
	s, d := onSolarEdge(t, SolarEdgeOptions{Sun: 10000})
	s.writes(1, 0xF318, append(lowF(-1), lowF(-1)...)...)
	s.writes(1, 0xF310, append(lowU(30), lowF(80)...)...)
	s.writes6(1, 0xF300, 1)
	s.writes(1, 0xF322, lowF(20)...)
	s.pass(29 * time.Second)
	s.near("limited", d.Watts().AC, 2000)
	s.writes(1, 0xF322, lowF(20)...)
	s.pass(29 * time.Second)
	s.near("renewed", d.Watts().AC, 2000)
	s.pass(2 * time.Second)
	s.near("fallen back", d.Watts().AC, 8000)
	d.Restart()
	s.pass(time.Second)
	s.near("after a restart", d.Watts().AC, 10000)
}

func TestSolarEdgeOldFirmwareKeepsItsRamp(t *testing.T) {
	s, _ := onSolarEdge(t, SolarEdgeOptions{OldFirmware: true})
	s.writes(1, 0xF31A, lowF(100)...)
	s.code("-1", s.writes(1, 0xF31A, lowF(-1)...), 0)
	s.near("ramp", s.f32(1, 0xF31A, true), 100)
}

func TestSolarEdgeEchoesWhatItIgnores(t *testing.T) {
	s, d := onSolarEdge(t, SolarEdgeOptions{Sun: 8000, NeedsAdvanced: true, RampDown: -1})
	s.writes6(1, 0xF300, 1)
	s.writes(1, 0xF322, lowF(10)...)
	s.pass(time.Second)
	s.near("echoed", s.f32(1, 0xF322, true), 10)
	s.near("ignored", d.Watts().AC, 8000)
	s.writes(1, 0xF142, lowU(1)...)
	s.pass(time.Second)
	s.near("followed", d.Watts().AC, 1000)
}

func TestStorEdgeRemoteCommandEnds(t *testing.T) {
	s, d := onSolarEdge(t, SolarEdgeOptions{Batteries: 1, House: 1000, DefaultMode: 7})
	s.pass(time.Second)
	s.near("self-consumption", d.Watts().Battery, 1000)
	s.writes6(1, 0xE004, 4)
	s.writes(1, 0xE00B, lowU(60)...)
	s.writes(1, 0xE00E, append(lowF(3000), lowF(4000)...)...)
	s.writes6(1, 0xE00D, 4)
	s.pass(time.Second)
	s.near("discharging", d.Watts().Battery, 4000)
	s.near("DC power, charging positive", s.f32(1, 0xE174, true), -4000)
	s.writes6(1, 0xE00D, 3)
	s.pass(time.Second)
	s.near("charging without leave", d.Watts().Battery, 0)
	s.writes6(1, 0xE005, 1)
	s.pass(time.Second)
	s.near("charging", d.Watts().Battery, -3000)
	s.pass(57 * time.Second)
	s.near("still", d.Watts().Battery, -3000)
	s.pass(2 * time.Second)
	s.near("default mode", d.Watts().Battery, 1000)
}

func TestStorEdgeLimitsBindInTheDefaultMode(t *testing.T) {
	s, d := onSolarEdge(t, SolarEdgeOptions{Batteries: 1, House: 2000, Mode: 4, DefaultMode: 7})
	s.writes(1, 0xE010, lowF(0)...)
	s.pass(2 * time.Hour)
	s.near("held", d.Watts().Battery, 0)
}

func TestStorEdgeFallsToTheDefaultModeItWasFoundWith(t *testing.T) {
	s, d := onSolarEdge(t, SolarEdgeOptions{Batteries: 1, House: 2000})
	s.writes6(1, 0xE004, 4)
	s.writes6(1, 0xE00D, 7)
	s.pass(3599 * time.Second)
	s.near("commanded", d.Watts().Battery, 2000)
	s.pass(2 * time.Second)
	s.near("mode 0", d.Watts().Battery, 0)
}

func TestStorEdgeSharesAmongItsBatteries(t *testing.T) {
	s, d := onSolarEdge(t, SolarEdgeOptions{Batteries: 3, House: 3000})
	s.pass(time.Second)
	for _, base := range []uint16{0xE100, 0xE200, 0xE400, 0xF500} {
		s.near("battery", s.f32(1, base+0x74, true), -1000)
		s.near("state of energy", s.f32(1, base+0x84, true), 50)
	}
	s.near("together", d.Watts().Battery, 3000)
	s, _ = onSolarEdge(t, SolarEdgeOptions{Batteries: 1})
	_, code := s.do(modbus.Request{Unit: 1, Func: modbus.ReadHolding, Addr: 0xE200, Count: 2})
	s.code("no second battery", code, modbus.IllegalAddress)
}

func TestStorEdgeRefuses(t *testing.T) {
	s, _ := onSolarEdge(t, SolarEdgeOptions{Batteries: 1})
	s.code("mode 6", s.writes6(1, 0xE00D, 6), modbus.IllegalValue)
	s.code("half a value", s.writes6(1, 0xE00E, 0), modbus.IllegalAddress)
	s.code("a percentage of 101", s.writes(1, 0xF322, lowF(101)...), modbus.IllegalValue)
	s.code("a reading", s.writes(1, 0xE174, lowF(0)...), modbus.IllegalAddress)
}
