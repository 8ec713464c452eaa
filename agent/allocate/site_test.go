package allocate

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

func meter(power flex.Watts) *flex.Reading {
	return &flex.Reading{Device: "grid", At: t0, Power: &power}
}

func TestSiteLimit(t *testing.T) {
	w := func(ws ...flex.Watts) []flex.Watts { return ws }
	site := func(in Input, imp, exp flex.Watts, m *flex.Reading) Input {
		in.Site = Site{ImportLimit: imp, ExportLimit: exp, Meter: m}
		return in
	}
	aged := meter(-4000)
	aged.At = t0.Add(-6 * time.Second)
	one := func(p flex.Watts) Input { return input([]Device{battery("b", 9000, 8000)}, dispatch("d", p)) }
	for _, tc := range []row{
		{"within the limits nothing is taken off", site(one(5000), 0, 6000, meter(0)), "s", w(5000), 0, "", ""},
		{"export is clipped", site(one(5000), 0, 3000, meter(0)), "s", w(3000), 2000, flex.ReasonSiteLimit, "site_limit"},
		{"load gives credit by the meter", site(one(5000), 0, 3000, meter(-4000)), "s", w(5000), 0, "", ""},
		{"an old meter gives none", site(one(5000), 0, 3000, aged), "s", w(3000), 2000, flex.ReasonSiteLimit, "site_limit"},
		{"import is clipped", site(one(-5000), 7000, 0, meter(-4000)), "s", w(-3000), 2000, flex.ReasonSiteLimit, "site_limit"},
		{"what already flows is in the meter", with(site(one(5000), 0, 3000, meter(2500)), func(in *Input) {
			in.Devices[0].Reading.Power = ptr(flex.Watts(4000))
		}), "s", w(4500), 500, flex.ReasonSiteLimit, "site_limit"},
		{"a step of unknown effect gets no credit", with(site(one(5000), 0, 3000, meter(-9000)), func(in *Input) {
			in.Devices[0].Reading.At = t0.Add(-10 * time.Second)
		}), "s", w(3000), 2000, flex.ReasonSiteLimit, "site_limit"},
		{"without a meter targets count alone", site(one(-5000), 4000, 0, nil), "s", w(-4000), 1000, flex.ReasonSiteLimit, ""},
		{"the sign is never turned", site(one(5000), 0, 3000, meter(9000)), "s", w(0), 5000, flex.ReasonSiteLimit, ""},
		{"without a meter PV counts at its rating", site(input([]Device{battery("b", 9000, 8000), solar("p", 4000, 0)}, dispatch("d", 5000)), 0, 6000, nil), "sn", w(2000, 0), 3000, flex.ReasonSiteLimit, ""},
		{"turned-down PV is given back before the import limit breaks", site(input([]Device{solar("p", 8000, 4000)}, dispatch("d", -3000)), 5000, 0, meter(-3000)), "c", w(2000), 1000, flex.ReasonSiteLimit, ""},
		{"what is only observed does not clip what is real", with(site(one(5000), 0, 6000, meter(0)), func(in *Input) {
			in.Devices = append(in.Devices, battery("o", 9000, 8000))
			in.Assets = append(in.Assets, Asset{ID: "o", Devices: []flex.DeviceID{"o"}, Control: Observe})
			d := dispatch("e", 5000)
			d.Shares[0].Asset = "o"
			in.Dispatches = append(in.Dispatches, d)
		}), "ss", w(5000, 1000), 0, "", ""},
	} {
		t.Run(tc.name, tc.check)
	}
}

func TestMeterSign(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after flex.Watts // meter when the battery has moved by +4 kW
		alarm bool
	}{
		{"a meter that follows is believed", 3500, false},
		{"a meter that runs the other way is not", -4500, true},
		{"a load that hides the step proves nothing", 100, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := input([]Device{battery("b", 9000, 8000)}, dispatch("d", 4000))
			in.Site = Site{ExportLimit: 5000, Meter: meter(-500)}
			in.State = Decide(in).State
			in.Now = t0.Add(4 * time.Second)
			in.Devices[0].Reading.At, in.Devices[0].Reading.Power = in.Now, ptr(flex.Watts(4000))
			in.Devices[0].Target = flex.Target{Order: flex.OrderSet, Power: 4000}
			in.Site.Meter = &flex.Reading{Device: "grid", At: in.Now, Power: &tc.after}
			p := Decide(in)
			if got := len(p.Alarms) == 1 && p.Alarms[0].Code == AlarmMeterSign && p.State.StaticLimit; got != tc.alarm {
				t.Errorf("alarm %v (state %+v), want %v", p.Alarms, p.State, tc.alarm)
			}
		})
	}
}
