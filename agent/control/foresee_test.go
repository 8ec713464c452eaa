package control

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

var today = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// battery is 10 kW, 10 kWh, at the charge, with 20 % in reserve.
func battery(id flex.DeviceID, soc flex.Percent) allocate.Device {
	p := flex.Watts(0)
	return allocate.Device{ID: id, Role: flex.RoleStorage, Online: true, ReserveSoC: 2000,
		Plate:   flex.Nameplate{MaxPower: 10_000, MaxCharge: 10_000, MaxDischarge: 10_000, Energy: 10_000},
		Reading: &flex.Reading{Device: id, At: today, Power: &p, SoC: &soc}}
}

func site(devices ...allocate.Device) allocate.Input {
	in := allocate.Input{Now: today, Devices: devices}
	a := allocate.Asset{ID: "a", Control: allocate.Setpoint}
	for _, d := range devices {
		a.Devices = append(a.Devices, d.ID)
	}
	in.Assets = []allocate.Asset{a}
	return in
}

func ask(id flex.InstructionID, p flex.Watts, from, to time.Duration) flex.Dispatch {
	return flex.Dispatch{ID: id, Shares: []flex.AssetShare{{Asset: "a", Power: p}}, Window: flex.Window{Start: today.Add(from), End: today.Add(to)}}
}

func TestForesee(t *testing.T) {
	const hour = time.Hour
	for _, tc := range []struct {
		name   string
		in     allocate.Input
		change func(*allocate.Input)
		d      flex.Dispatch
		want   flex.Foresight
		text   string
	}{
		{name: "enough power and energy", in: site(battery("b", 8000)), d: ask("i", 5000, hour, 2*hour), want: flex.Foresight{Known: true}},
		{name: "energy to the last watt hour", in: site(battery("b", 7000)), d: ask("i", 5000, hour, 2*hour), want: flex.Foresight{Known: true}},
		{name: "a little too little energy", in: site(battery("b", 6990)), d: ask("i", 5000, hour, 2*hour),
			want: flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonEnergyInsufficient}, text: "reserve"},
		{name: "more than the rating", in: site(battery("b", 9000)), d: ask("i", 12_000, hour, hour+time.Minute),
			want: flex.Foresight{Known: true, Missing: 2000, Reason: flex.ReasonRating}, text: "rated"},
		{name: "charging until full", in: site(battery("b", 6000)), d: ask("i", -5000, hour, 2*hour),
			want: flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonEnergyInsufficient}, text: "full"},
		{name: "charging that just fits", in: site(battery("b", 5000)), d: ask("i", -5000, hour, 2*hour), want: flex.Foresight{Known: true}},
		{name: "two batteries help each other out", in: site(battery("b", 4000), battery("c", 9000)), d: ask("i", 8000, hour, 2*hour), want: flex.Foresight{Known: true}},
		{name: "an hour promised before uses up the energy", in: site(battery("b", 8000)), d: ask("i", 5000, 2*hour, 3*hour),
			change: func(in *allocate.Input) { in.Dispatches = []flex.Dispatch{ask("old", 5000, hour, 2*hour)} },
			want:   flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonEnergyInsufficient}},
		{name: "its own old terms do not count twice", in: site(battery("b", 8000)), d: ask("i", 5000, hour, 2*hour),
			change: func(in *allocate.Input) { in.Dispatches = []flex.Dispatch{ask("i", 5000, 0, hour)} }, want: flex.Foresight{Known: true}},
		{name: "what overlaps later in the window counts", in: site(battery("b", 9000)), d: ask("i", 6000, hour, 90*time.Minute),
			change: func(in *allocate.Input) {
				in.Dispatches = []flex.Dispatch{ask("old", 6000, hour+20*time.Minute, hour+25*time.Minute)}
			},
			want: flex.Foresight{Known: true, Missing: 1000, Reason: flex.ReasonRating}},
		{name: "a hold in force", in: site(battery("b", 8000)), d: ask("i", 5000, hour, 2*hour),
			change: func(in *allocate.Input) { in.Holds = []flex.Hold{{Asset: "a", By: "ann"}} },
			want:   flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonLocalHold}},
		{name: "the export limit of the site", in: site(battery("b", 8000)), d: ask("i", 5000, hour, 2*hour),
			change: func(in *allocate.Input) { in.Site.ExportLimit = 3000 },
			want:   flex.Foresight{Known: true, Missing: 2000, Reason: flex.ReasonSiteLimit}},
		{name: "an old reading tells nothing", in: site(battery("b", 8000)), d: ask("i", 5000, hour, 2*hour),
			change: func(in *allocate.Input) { in.Devices[0].Reading.At = today.Add(-time.Minute) }, want: flex.Foresight{}, text: "not read"},
		{name: "no reading yet", in: site(battery("b", 8000)), d: ask("i", 5000, hour, 2*hour),
			change: func(in *allocate.Input) { in.Devices[0].Reading, in.Devices[0].Online = nil, false }, want: flex.Foresight{}, text: "not read"},
		{name: "a silent device that is not needed", in: site(battery("b", 8000), battery("c", 9000)), d: ask("i", 5000, hour, 2*hour),
			change: func(in *allocate.Input) { in.Devices[1].Online = false }, want: flex.Foresight{Known: true}},
		{name: "unknown energy is judged by power", in: site(battery("b", 3000)), d: ask("i", 5000, hour, 4*hour),
			change: func(in *allocate.Input) { in.Devices[0].Plate.Energy = 0 }, want: flex.Foresight{Known: true}, text: "power alone"},
		{name: "what is over", in: site(battery("b", 8000)), d: ask("i", 5000, -2*hour, -hour), want: flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonTooLate}},
		{name: "one that runs already is judged for the rest", in: site(battery("b", 4500)), d: ask("i", 5000, -hour, 30*time.Minute), want: flex.Foresight{Known: true}},
		{name: "an asset without devices", in: site(), d: ask("i", 5000, hour, 2*hour), want: flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonDeviceUnavailable}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.change != nil {
				tc.change(&tc.in)
			}
			got := foresee(tc.in, tc.d, allocate.Decide)
			if got.Known != tc.want.Known || got.Missing != tc.want.Missing || got.Reason != tc.want.Reason || !strings.Contains(got.Text, tc.text) {
				t.Errorf("got %+v, want %+v with %q", got, tc.want, tc.text)
			}
			if r := tc.in.Devices; len(r) > 0 && r[0].Reading != nil && *r[0].Reading.Power != 0 {
				t.Error("the forecast changed what was measured")
			}
		})
	}
}

func TestForeseeOfALiveSite(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		d := &device{id: "b"}
		r := newRig(t, nil, false, d)
		r.c.log = slog.New(slog.DiscardHandler)
		now := time.Now().UTC()
		want := wants("i", d, 1000, now.Add(time.Minute), now.Add(2*time.Minute))
		if f := r.c.Foresee(want); f.Known {
			t.Errorf("before the first reading: %+v", f)
		}
		if err := r.c.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.start()
		time.Sleep(5 * time.Second)
		if f := r.c.Foresee(want); !f.Known || f.Missing != 0 {
			t.Errorf("with readings: %+v", f)
		}
		want.Shares[0].Power = 1_000_000
		if f := r.c.Foresee(want); !f.Known || f.Missing == 0 {
			t.Errorf("a megawatt: %+v", f)
		}
		r.kill()
	})
}
