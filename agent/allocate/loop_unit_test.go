package allocate

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// held is an asset of one battery under its meter, with a dispatch of so much.
func held(share flex.Watts, rest flex.Watts) Input {
	in := Input{Now: t0, Devices: []Device{battery("b", 10_000, 7000)}, State: State{Loops: map[flex.AssetID]Loop{}}}
	in.Assets = []Asset{{ID: "a", Devices: []flex.DeviceID{"b"}, Control: Meter, MeterID: "m", Meter: meter(rest)}}
	in.Assets[0].Meter.At = t0
	if share != 0 {
		in.Dispatches = []flex.Dispatch{{ID: "d", Shares: []flex.AssetShare{{Asset: "a", Power: share}}, Window: flex.Window{Start: t0, End: t0.Add(time.Hour)}}}
	}
	return in
}

func TestTheLoopBeginsWithWhatTheHouseDraws(t *testing.T) {
	for _, tc := range []struct {
		name        string
		share, rest flex.Watts
		baseline    flex.Watts
		free        bool
		want        flex.Watts
	}{
		{"the house is covered as well", 3000, -2000, 0, false, 5000},
		{"the sun helps", 3000, 1000, 0, false, 2000},
		{"more than enough sun is stored", 3000, 5000, 0, false, -2000},
		{"more is free: the share at least", 3000, 1000, 0, true, 3000},
		{"more is free: the house is covered", 3000, -2000, 0, true, 5000},
		{"import", -3000, -1000, 0, false, -2000},
		{"import, more is free", -3000, -1000, 0, true, -3000},
		{"import against the sun", -3000, 4000, 0, false, -7000},
		{"from a baseline", 3000, -2000, -2000, false, 3000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := held(tc.share, tc.rest)
			in.Assets[0].Free = tc.free
			if tc.baseline != 0 {
				in.Dispatches[0].Baselines = []flex.Baseline{{Asset: "a", Start: t0, Step: time.Hour, Values: []flex.Watts{tc.baseline}}}
			}
			p := Decide(in)
			if got := p.Targets[0]; got.Order != flex.OrderSet || got.Power != tc.want {
				t.Errorf("%s %v, want %v", got.Order, got.Power, tc.want)
			}
			if len(p.Alarms) != 0 || len(p.Shortfall) != 0 {
				t.Errorf("%v %v", p.Alarms, p.Shortfall)
			}
		})
	}
}

func TestTheLoopWithoutItsMeter(t *testing.T) {
	in := held(3000, -2000)
	in.Assets[0].Meter = nil
	p := Decide(in)
	if p.Targets[0].Power != 3000 || len(p.Alarms) != 1 || p.Alarms[0].Code != AlarmMeterLost {
		t.Errorf("never seen: %v, %v", p.Targets[0].Power, p.Alarms)
	}
	in = held(3000, -2000)
	p = Decide(in)
	in.State, in.Now = p.State, t0.Add(10*time.Second)
	in.Devices[0].Reading.At, in.Devices[0].Target = in.Now, p.Targets[0]
	p = Decide(in)
	if p.Targets[0].Power != 5000 || len(p.Alarms) != 1 || !strings.Contains(p.Alarms[0].Text, "last known") {
		t.Errorf("lost on the way: %v, %v", p.Targets[0].Power, p.Alarms)
	}
	in.State, in.Dispatches[0].Shares[0].Power = p.State, 4000
	if p = Decide(in); p.Targets[0].Power != 6000 {
		t.Errorf("another power while it is lost: %v", p.Targets[0].Power)
	}
	in.State.StaticLimit, in.Assets[0].SiteMeter = true, true
	if p = Decide(in); p.Targets[0].Power != 4000 || len(p.Alarms) == 0 {
		t.Errorf("a meter that lies: %v", p.Targets[0].Power)
	}
}

func TestTheLoopNeverPassesALimit(t *testing.T) {
	in := held(9000, -4000)
	p := Decide(in)
	if p.Targets[0].Power != 10_000 || p.Shortfall["d"].Missing != 3000 {
		t.Errorf("%v, %+v", p.Targets[0].Power, p.Shortfall)
	}
	in = held(9000, -4000)
	in.Assets[0].MaxDispatch = 8000
	if p := Decide(in); p.Targets[0].Power != 8000 || p.Shortfall["d"].Missing != 5000 {
		t.Errorf("max_dispatch: %v, %+v", p.Targets[0].Power, p.Shortfall)
	}
}

func TestTheLoopRestsBetweenDispatches(t *testing.T) {
	in := held(0, -2000)
	p := Decide(in)
	if p.Targets[0].Order != flex.OrderNone || !p.State.Loops["a"].Known || p.State.Loops["a"].Active {
		t.Errorf("%+v, %+v", p.Targets[0], p.State.Loops["a"])
	}
	was := in.State
	Decide(in)
	if len(was.Loops) != 0 {
		t.Error("the state that was given has changed")
	}
}
