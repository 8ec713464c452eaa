package preflight

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// calm is a site where nothing is wrong: a battery of 10 kWh at 80 % with a
// reserve of 20 %, and a window of an hour at 5 kW.
func calm() (Input, Subject) {
	p, soc := flex.Watts(0), flex.Percent(8000)
	r := &flex.Reading{Device: "bat", At: noon, Power: &p, SoC: &soc, Status: "running"}
	m := &flex.Reading{Device: "grid", At: noon, Power: &p}
	in := Input{
		Now:   flex.Stamp{At: noon, Clock: flex.ClockSynced},
		Links: []Link{{Name: "market", OK: true}, {Name: "fleet", OK: true}},
		Site: allocate.Input{Now: noon, Assets: []allocate.Asset{{ID: "a", Devices: []flex.DeviceID{"bat"}, Control: allocate.Setpoint, MeterID: "grid"}},
			Devices: []allocate.Device{{ID: "bat", Role: flex.RoleStorage, Online: true, Reading: r, ReserveSoC: 2000,
				Plate: flex.Nameplate{MaxPower: 6000, Energy: 10_000}}}},
		Status:    []flex.DeviceStatus{{ID: "bat", Online: true, Reading: r}, {ID: "grid", Online: true, Reading: m}},
		Margin:    1000,
		Foresight: flex.Foresight{Known: true},
	}
	w := flex.Window{Start: noon.Add(time.Hour), End: noon.Add(2 * time.Hour)}
	return in, Subject{Kind: flex.PreflightObligation, ID: "ob", Obligation: "ob", Window: w, Run: time.Hour, Shares: []flex.AssetShare{{Asset: "a", Power: 5000}}}
}

// beside puts another battery of the same kind into the asset, which nothing bars.
func beside(in *Input) {
	d, st := in.Site.Devices[0], in.Status[0]
	r := *d.Reading
	r.Device = "other"
	d.ID, d.Reading, d.Plate.NoGridCharge, st.ID, st.Reading = "other", &r, false, "other", &r
	in.Site.Devices, in.Status = append(in.Site.Devices, d), append(in.Status, st)
	in.Site.Assets[0].Devices = append(in.Site.Assets[0].Devices, "other")
}

var judgements = []struct {
	name   string
	change func(*Input, *Subject)
	want   flex.Reason // "": go
	text   string
	more   []flex.Reason
}{
	{name: "nothing is wrong", change: func(*Input, *Subject) {}},
	{name: "energy to the margin's last watt hour", change: func(in *Input, _ *Subject) { *in.Site.Devices[0].Reading.SoC = 7500 }},
	{name: "one hundredth of a per cent below the margin", change: func(in *Input, _ *Subject) { *in.Site.Devices[0].Reading.SoC = 7499 },
		want: flex.ReasonEnergyInsufficient, text: "5.5 kWh"},
	{name: "no room to take it", change: func(in *Input, s *Subject) { s.Shares[0].Power = -5000 }, want: flex.ReasonEnergyInsufficient, text: "can take 2.0 kWh more"},
	{name: "to charge from the grid without consent", change: func(in *Input, s *Subject) { s.Shares[0].Power, in.Site.Devices[0].Plate.NoGridCharge = -1500, true },
		want: flex.ReasonUncontrollable, text: "grid_charge: true"},
	{name: "to charge from its own sun", change: func(in *Input, s *Subject) {
		sun := flex.Watts(2000)
		s.Shares[0].Power, in.Site.Devices[0].Plate.NoGridCharge, in.Site.Devices[0].Reading.PV = -1500, true, &sun
	}},
	{name: "to charge from the grid beside another that may", change: func(in *Input, s *Subject) {
		s.Shares[0].Power, in.Site.Devices[0].Plate.NoGridCharge = -1500, true
		beside(in)
	}},
	{name: "below the sun that it would take down", change: func(in *Input, s *Subject) {
		sun := flex.Watts(6000)
		in.Site.Devices[0].Plate.Can, in.Site.Devices[0].Reading.PV = []flex.Capability{flex.CanSet}, &sun
	}, want: flex.ReasonUncontrollable, text: "takes its PV down"},
	{name: "to be held at 0 W, which it cannot", change: func(in *Input, s *Subject) {
		s.Shares[0].Power, in.Site.Devices[0].Plate.Can = 0, []flex.Capability{flex.CanSet}
	}, want: flex.ReasonUncontrollable, text: "0 W"},
	{name: "above that sun", change: func(in *Input, _ *Subject) {
		sun := flex.Watts(3000)
		in.Site.Devices[0].Plate.Can, in.Site.Devices[0].Reading.PV = []flex.Capability{flex.CanSet}, &sun
	}},
	{name: "to discharge without that consent", change: func(in *Input, _ *Subject) { in.Site.Devices[0].Plate.NoGridCharge = true }},
	{name: "room to take it", change: func(in *Input, s *Subject) { s.Shares[0].Power = -1800 }},
	{name: "room below what the owner keeps free", change: func(in *Input, s *Subject) { s.Shares[0].Power, in.Site.Devices[0].MaxSoC = -1800, 9000 },
		want: flex.ReasonEnergyInsufficient},
	{name: "a contract's run time is shorter than its window", change: func(in *Input, s *Subject) { s.Window.End, s.Run = noon.Add(9*time.Hour), time.Hour }},
	{name: "the owner's cycles of today", change: func(in *Input, _ *Subject) { left := flex.WattHours(1000); in.Site.Devices[0].Owner.Left = &left },
		want: flex.ReasonEnergyInsufficient, text: "1.0 kWh"},
	{name: "the owner's cycles of today do not bound tomorrow", change: func(in *Input, s *Subject) {
		left := flex.WattHours(1000)
		in.Site.Devices[0].Owner.Left = &left
		s.Window = flex.Window{Start: noon.Add(24 * time.Hour), End: noon.Add(25 * time.Hour)}
	}},
	{name: "the owner's cycles do not bound an emergency", change: func(in *Input, s *Subject) {
		left := flex.WattHours(1000)
		in.Site.Devices[0].Owner.Left, s.Use = &left, flex.UseEmergency
	}},
	{name: "an energy that is not known is said, and is no reason", change: func(in *Input, _ *Subject) { in.Site.Devices[0].Plate.Energy = 0 }},
	{name: "the device is away", change: func(in *Input, _ *Subject) { in.Site.Devices[0].Online, in.Status[0].Error = false, "no route" },
		want: flex.ReasonDeviceUnavailable, text: "no route"},
	{name: "its readings are old", change: func(in *Input, _ *Subject) { in.Site.Devices[0].Reading.At = noon.Add(-time.Minute) }, want: flex.ReasonDeviceUnavailable},
	{name: "it reports a fault", change: func(in *Input, _ *Subject) {
		in.Site.Devices[0].Reading.Status, in.Site.Devices[0].Reading.Events = "fault", []string{"over temperature"}
	}, want: flex.ReasonDeviceFaulty, text: "over temperature"},
	{name: "others have set a limit", change: func(in *Input, _ *Subject) {
		in.Site.Devices[0].Foreign = flex.Refuse(flex.ReasonLimitSetByOthers, "a cap of 3 kW was found")
	}, want: flex.ReasonLimitSetByOthers, text: "cap of 3 kW"},
	{name: "left to others", change: func(in *Input, _ *Subject) {
		in.Status[0].Interference = &flex.Interference{At: noon, HandsOff: true, Text: "WSet changed"}
	}, want: flex.ReasonOverridden, text: "WSet changed"},
	{name: "a release is owed", change: func(in *Input, _ *Subject) { in.Status[0].ReleaseOwed = true }, want: flex.ReasonDeviceUnavailable, text: "handed back"},
	{name: "a hold on all", change: func(in *Input, _ *Subject) { in.Site.Holds = []flex.Hold{{By: "ann", Reason: "works"}} }, want: flex.ReasonLocalHold, text: "by ann: works"},
	{name: "a hold on another asset", change: func(in *Input, _ *Subject) { in.Site.Holds = []flex.Hold{{Asset: "b"}} }},
	{name: "declared unavailable then", change: func(in *Input, s *Subject) {
		in.Away = []flex.Unavailability{{Asset: "a", By: "ann", Window: flex.Window{Start: noon.Add(90 * time.Minute), End: noon.Add(3 * time.Hour)}}}
	}, want: flex.ReasonUnavailable},
	{name: "declared unavailable until then", change: func(in *Input, s *Subject) {
		in.Away = []flex.Unavailability{{Asset: "a", Window: flex.Window{Start: noon, End: s.Window.Start}}}
	}},
	{name: "observed", change: func(in *Input, _ *Subject) { in.Site.Assets[0].Control = allocate.Observe }, want: flex.ReasonObserved},
	{name: "held by a meter that is not read", change: func(in *Input, _ *Subject) {
		in.Site.Assets[0].Control, in.Status[1].Online = allocate.Meter, false
	}, want: flex.ReasonDeviceUnavailable, text: "meter of asset a"},
	{name: "a meter that nothing rests on may be away", change: func(in *Input, _ *Subject) { in.Status[1].Online = false }},
	{name: "the site's meter is not read", change: func(in *Input, _ *Subject) { in.Meter, in.Status[1].Online = "grid", false }, want: flex.ReasonDeviceUnavailable},
	{name: "the broker is away", change: func(in *Input, _ *Subject) { in.Links[1] = Link{Name: "fleet", Text: "refused"} }, want: flex.ReasonLinkDown, text: "fleet"},
	{name: "the clock is wrong", change: func(in *Input, _ *Subject) { in.Now.Clock, in.ClockWhy = flex.ClockUntrusted, "below the floor" },
		want: flex.ReasonClockUntrusted, text: "below the floor"},
	{name: "our part is not known", change: func(in *Input, s *Subject) {
		s.Shares, s.Problem = nil, flex.Refuse(flex.ReasonShareUnresolved, "the capacity of b is not known")
	}, want: flex.ReasonShareUnresolved},
	{name: "the planner finds what nobody else does", change: func(in *Input, _ *Subject) {
		in.Foresight = flex.Foresight{Known: true, Missing: 2000, Reason: flex.ReasonSiteLimit, Text: "the site may export 3 kW"}
	}, want: flex.ReasonSiteLimit, text: "2 kW would be missing"},
	{name: "the planner cannot tell", change: func(in *Input, _ *Subject) { in.Foresight = flex.Foresight{Text: "too much happens"} }, want: flex.ReasonUnforeseen},
	{name: "every reason is told", change: func(in *Input, _ *Subject) {
		in.Site.Holds, in.Site.Devices[0].Online, in.Links[0].OK = []flex.Hold{{By: "ann"}}, false, false
		in.Foresight = flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonLocalHold, Text: "held"}
	}, want: flex.ReasonLocalHold, more: []flex.Reason{flex.ReasonDeviceUnavailable, flex.ReasonLinkDown}},
}

func TestJudge(t *testing.T) {
	for _, tt := range judgements {
		t.Run(tt.name, func(t *testing.T) {
			in, s := calm()
			tt.change(&in, &s)
			p := Judge(in, s)
			if tt.want == "" {
				if p.Result != flex.PreflightGo || len(p.Reasons) != 0 {
					t.Fatalf("want go, got %+v", p)
				}
				return
			}
			want := append([]flex.Reason{tt.want}, tt.more...)
			if p.Result != flex.PreflightAtRisk || len(p.Reasons) != len(want) {
				t.Fatalf("want %v, got %+v", want, p)
			}
			for i, r := range want {
				if p.Reasons[i].Reason != r {
					t.Errorf("reason %d is %+v, want %s", i, p.Reasons[i], r)
				}
			}
			if !strings.Contains(p.Reasons[0].Text, tt.text) {
				t.Errorf("%q does not say %q", p.Reasons[0].Text, tt.text)
			}
		})
	}
}
