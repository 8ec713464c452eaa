package makers

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"flexd/drivers/modbus"
)

func sigenStand(t *testing.T, o SigenergyOptions) (*stand, *Sigenergy) {
	s := newStand(t)
	g := NewSigenergy(s.now, o)
	s.dev = g
	return s, g
}

func TestSigenergyModes(t *testing.T) {
	s, g := sigenStand(t, SigenergyOptions{Sun: 3000, House: 1000})
	owner := g.Owner()
	s.near("by itself it stores the surplus", g.Watts().Battery, -2000)
	s.code("40029", s.writes6(247, 40029, 1), 0)
	if got := s.word(247, 30003); got != 7 {
		t.Errorf("work mode %d, want 7", got)
	}
	s.code("40031", s.writes6(247, 40031, 6), 0)
	s.near("until the limit is written there is none", g.Watts().Battery, 6400)
	s.code("40034", s.writes(247, 40034, 0, 2000), 0)
	s.near("discharging", g.Watts().Battery, 2000)
	s.near("30037, + charges", float64(int32(s.u32(247, 30037, false))), -2000)
	s.near("30005, + draws", float64(int32(s.u32(247, 30005, false))), -4000)
	s.writes6(247, 40031, 5)
	s.writes(247, 40034, 0, 0)
	s.near("no charging with the sun", g.Watts().Battery, 0)
	s.near("and the roof gives", g.Watts().PV, 3000)
	s.writes6(247, 40031, 3)
	s.writes(247, 40032, 0, 4000)
	s.near("charging from the grid", g.Watts().Grid, -2000)
	s.pass(time.Hour)
	if g.SoC() < 80 {
		t.Error("it did not charge on")
	}
	s.near("nobody ends it", g.Watts().Battery, -4000)
	s.writes(247, 40032, 0xFFFF, 0xFFFF)
	s.near("a limit given back is a limit gone", g.Watts().Battery, -5800)
	s.writes6(247, 40031, 5)
	s.writes(247, 40034, 0xFFFF, 0xFFFF)
	s.writes6(247, 40031, 0)
	s.writes6(247, 40029, 0)
	if !maps.Equal(owner, g.Owner()) {
		t.Error("not as found")
	}
}

func TestSigenergyRefusesLimitsOutsideTheirModes(t *testing.T) {
	for _, c := range []struct {
		remote, mode, addr uint16
		want               byte
	}{
		{0, 3, 40032, 2},
		{1, 3, 40032, 0}, {1, 4, 40032, 0}, {1, 6, 40032, 2}, {1, 2, 40032, 2},
		{1, 5, 40034, 0}, {1, 6, 40034, 0}, {1, 3, 40034, 2},
		{1, 3, 40036, 0}, {1, 6, 40036, 0}, {1, 2, 40036, 2},
	} {
		s, _ := sigenStand(t, SigenergyOptions{Remote: c.remote == 1, Mode: c.mode})
		if got := s.writes(247, c.addr, 0, 1000); got != c.want {
			t.Errorf("%+v: exception %d", c, got)
		}
		s, _ = sigenStand(t, SigenergyOptions{Remote: c.remote == 1, Mode: c.mode, Protocol: 29})
		s.code("since V2.9", s.writes(247, c.addr, 0, 1000), 0)
		s.code("half a point", s.writes6(247, c.addr+1, 1000), modbus.IllegalAddress)
	}
}

func TestSigenergyOldLimitRules(t *testing.T) {
	s, g := sigenStand(t, SigenergyOptions{ChargeLimit: 2000, WorkMode: 2, Schedule: -3000})
	s.near("the owner's schedule", g.Watts().Battery, -3000)
	s.writes6(247, 40029, 1)
	s.writes6(247, 40031, 4)
	s.near("the old limit", g.Watts().Battery, -2000)
	s.writes6(247, 40029, 0)
	s.near("the schedule again", g.Watts().Battery, -3000)
	if got := s.word(247, 30003); got != 2 {
		t.Errorf("work mode %d, want 2", got)
	}
	s, g = sigenStand(t, SigenergyOptions{WorkMode: 2, Schedule: -3000, ForgetsWorkMode: true})
	s.writes6(247, 40029, 1)
	s.writes6(247, 40029, 0)
	s.near("self-consumption instead", g.Watts().Battery, 0)
}

func TestSigenergyAppOff(t *testing.T) {
	s, _ := sigenStand(t, SigenergyOptions{AppOff: true})
	s.code("40029", s.writes6(247, 40029, 1), 0)
	if got := s.word(247, 40029); got != 0 {
		t.Errorf("40029 reads %d", got)
	}
}

func TestSigenergyPace(t *testing.T) {
	s, g := sigenStand(t, SigenergyOptions{Strict: true})
	read := modbus.Request{Unit: 247, Func: modbus.ReadInput, Addr: 30014, Count: 1}
	for i, want := range []error{nil, modbus.ErrTimeout} {
		if _, err := g.Do(context.Background(), read); !errors.Is(err, want) {
			t.Errorf("request %d: %v", i, err)
		}
		s.pass(900 * time.Millisecond)
	}
	s.pass(time.Second)
	if _, err := g.Do(context.Background(), read); err != nil || g.Hurried() != 1 {
		t.Errorf("%v, %d hurried", err, g.Hurried())
	}
}

func TestSigenergyStorageFirst(t *testing.T) {
	for mode, want := range map[uint16]Watts{
		5: {AC: 11000, Battery: 2000, PV: 9000},
		6: {AC: 11000, Battery: 6400, PV: 4600},
	} {
		_, g := sigenStand(t, SigenergyOptions{Sun: 9000, Remote: true, Mode: mode})
		want.Grid = 11000
		if got := g.Watts(); got != want {
			t.Errorf("mode %d: %+v, want %+v", mode, got, want)
		}
	}
}

func TestSigenergyLimitLeftBehind(t *testing.T) {
	for protocol, want := range map[int]float64{25: -5000, 29: -1000} {
		s, g := sigenStand(t, SigenergyOptions{Sun: 5000, Protocol: protocol})
		s.writes6(247, 40029, 1)
		s.writes6(247, 40031, 3)
		s.writes(247, 40032, 0, 1000)
		s.writes6(247, 40029, 0)
		s.near("since V2.9 it goes on to rule", g.Watts().Battery, want)
	}
}

func TestSigenergyToAll(t *testing.T) {
	s, g := sigenStand(t, SigenergyOptions{Mode: 3})
	_, err := g.Do(context.Background(), modbus.Request{Func: modbus.WriteSingle, Addr: 40029, Values: []uint16{1}})
	if !errors.Is(err, modbus.ErrUncertain) {
		t.Errorf("%v", err)
	}
	s.near("done, though not answered", g.Watts().Battery, -5800)
}
