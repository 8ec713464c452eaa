package allocate

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/longtest"
)

// charging is a site with one battery at 50 % that is to be charged with 3 kW
// to 70 % within the hour.
func charging() Input {
	b := battery("b", 5000, 5000)
	b.GridCharge = true
	return Input{Now: t0, Assets: []Asset{{ID: "a", Devices: []flex.DeviceID{"b"}, Control: Setpoint}}, Devices: []Device{b},
		Prepare: []Preparation{{For: "ob", Device: "b", From: t0, Until: t0.Add(time.Hour), Power: 3000, Goal: 7000, Text: "preflight: precharge for obligation ob until 13:00Z"}}}
}

var preparations = []struct {
	name   string
	change func(*Input)
	want   flex.Watts // 0: nothing is asked
	why    string
}{
	{"a battery alone is charged", func(*Input) {}, -3000, "precharge for obligation ob until 13:00Z, up to 70 %"},
	{"not before its time", func(in *Input) { in.Prepare[0].From = t0.Add(time.Second) }, 0, ""},
	{"not once the window begins", func(in *Input) { in.Prepare[0].Until = t0 }, 0, ""},
	{"not without consent", func(in *Input) { in.Devices[0].GridCharge = false }, 0, ""},
	{"not while it is held", func(in *Input) { in.Holds = []flex.Hold{{By: "ann"}} }, 0, ""},
	{"not where others limit it, or it is not commissioned", func(in *Input) { in.Devices[0].Foreign = flex.Refuse(flex.ReasonUnsupported, "x") }, 0, ""},
	{"not while it does not answer", func(in *Input) { in.Devices[0].Online = false }, 0, ""},
	{"not on old readings", func(in *Input) { in.Devices[0].Reading.At = t0.Add(-time.Minute) }, 0, ""},
	{"not by a charge that is not known", func(in *Input) { in.Devices[0].Reading.SoC = nil }, 0, ""},
	{"not beyond its goal", func(in *Input) {
		in.Devices[0].Target.Power, in.Devices[0].Reading.SoC = -3000, ptr(flex.Percent(7000))
	}, 0, ""},
	{"to its goal once it has begun", func(in *Input) {
		in.Devices[0].Target.Power, in.Devices[0].Reading.SoC = -3000, ptr(flex.Percent(6999))
	}, -3000, ""},
	{"not begun for the last per cent", func(in *Input) { in.Devices[0].Reading.SoC = ptr(flex.Percent(6950)) }, 0, ""},
	{"no faster than rated", func(in *Input) { in.Prepare[0].Power = 9000 }, -5000, "rated"},
	{"no faster than its owner allows every day", func(in *Input) { in.Devices[0].Owner.Normal.MaxCharge = ptr(flex.Watts(1000)) }, -1000, "owner"},
	{"no further than max_soc", func(in *Input) { in.Devices[0].Target.Power, in.Devices[0].MaxSoC = -3000, 5000 }, 0, ""},
	{"within the site's limit", func(in *Input) { in.Site = Site{ImportLimit: 4000, Meter: meter(-2500)} }, -1500, "site's limits"},
	{"not while its asset is dispatched", func(in *Input) { in.Dispatches = []flex.Dispatch{dispatch("i", 1000)} }, 1000, "instruction i"},
	{"not while another asset is dispatched", func(in *Input) {
		in.Devices = append(in.Devices, battery("c", 5000, 5000))
		in.Assets = append(in.Assets, Asset{ID: "z", Devices: []flex.DeviceID{"c"}, Control: Setpoint})
		d := dispatch("i", 1000)
		d.Shares[0].Asset = "z"
		in.Dispatches = []flex.Dispatch{d}
	}, 0, ""},
	{"not right before a dispatch", func(in *Input) {
		d := dispatch("i", 1000)
		d.Window.Start = t0.Add(MaxLead / 2)
		in.Dispatches = []flex.Dispatch{d}
	}, 0, ""},
}

func TestPrepare(t *testing.T) {
	for _, tt := range preparations {
		t.Run(tt.name, func(t *testing.T) {
			in := charging()
			tt.change(&in)
			if in.Devices[0].Target.Power != 0 {
				in.Devices[0].Target.Device, in.Devices[0].Target.Order = "b", flex.OrderSet
			}
			p := Decide(in)
			got := p.Targets[0]
			if tt.want == 0 && got.Order != flex.OrderNone || tt.want != 0 && (got.Order != flex.OrderSet || got.Power != tt.want) {
				t.Fatalf("want %v, got %+v", tt.want, got)
			}
			text := ""
			for _, y := range got.Whys {
				text += y.Text + "\n"
			}
			if !strings.Contains(text, tt.why) {
				t.Errorf("%q is not among the reasons: %s", tt.why, text)
			}
			if len(p.Shortfall) != 0 {
				t.Errorf("nobody is owed anything: %+v", p.Shortfall)
			}
		})
	}
}

func TestWhatIsOnlyObservedIsNotCharged(t *testing.T) {
	in := charging()
	in.Assets[0].Control = Observe
	if got := Decide(in).Targets[0]; got.Order != flex.OrderSet || !got.Observe {
		t.Errorf("want it shown and not written, got %+v", got)
	}
}

func TestAPreparationChangesTheAnswerAtItsEnds(t *testing.T) {
	in := charging()
	in.Prepare[0].From = t0.Add(time.Minute)
	if got := Decide(in).Next; !got.Equal(t0.Add(time.Minute)) {
		t.Errorf("next is %v, want its beginning", got)
	}
	in.Now = t0.Add(2 * time.Minute)
	if got := Decide(in).Next; !got.Equal(t0.Add(time.Hour)) {
		t.Errorf("next is %v, want its end", got)
	}
}

// Whatever is dispatched, or is about to be, is as if there were none.
func TestPreparationsHaveTheLowestRank(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range longtest.Pick(5_000, 20_000) {
		in := world(r)
		bare := Decide(in)
		for i := range in.Devices {
			in.Devices[i].GridCharge = true
			in.Prepare = append(in.Prepare, Preparation{Device: in.Devices[i].ID, From: t0.Add(-time.Minute), Until: t0.Add(time.Minute), Power: flex.Watts(r.Int64N(20_000)), Goal: flex.Percent(r.IntN(10_001))})
		}
		p := Decide(in)
		checkBounds(t, in, p)
		checkHolds(t, in, p)
		var w work
		if w.reset(in); len(w.wants)+len(w.coming) > 0 && (!reflect.DeepEqual(bare.Targets, p.Targets) || !reflect.DeepEqual(bare.Shortfall, p.Shortfall)) {
			t.Fatalf("a preparation changed a dispatch:\n%+v\n%+v\ninput %+v", bare.Targets, p.Targets, in)
		}
		for _, tg := range p.Targets {
			if len(tg.Dispatch) == 0 && tg.Power > 0 {
				t.Fatalf("a preparation only charges: %+v", tg)
			}
		}
		if t.Failed() {
			t.Fatalf("input %+v", in)
		}
	}
}
