package preflight

import (
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// low is calm with too little energy: 3 kWh above the reserve of the 5.5 that
// are needed four hours from now, and consent to charge from the grid.
func low() (Input, Subject) {
	in, s := calm()
	*in.Site.Devices[0].Reading.SoC = 5000
	in.Site.Devices[0].GridCharge = true
	s.Window = flex.Window{Start: noon.Add(4 * time.Hour), End: noon.Add(5 * time.Hour)}
	return in, s
}

// start is when the window of low begins; with it, 2.5 kWh at 6 kW take 25
// min, by a quarter more 31 min 15 s, and 5 min are to spare.
var (
	start = noon.Add(4 * time.Hour)
	begin = start.Add(-36*time.Minute - 15*time.Second)
)

var charges = []struct {
	name   string
	change func(*Input, *Subject)
	from   time.Time // zero: nothing is planned
	goal   flex.Percent
	power  flex.Watts
	result string
}{
	{"as late as sensible", func(*Input, *Subject) {}, begin, 7600, 6000, flex.PreflightGo},
	{"nothing where the energy does", func(in *Input, _ *Subject) { *in.Site.Devices[0].Reading.SoC = 7500 }, time.Time{}, 0, 0, flex.PreflightGo},
	{"nothing without consent", func(in *Input, _ *Subject) { in.Site.Devices[0].GridCharge = false }, time.Time{}, 0, 0, flex.PreflightAtRisk},
	{"nothing while it is held", func(in *Input, _ *Subject) { in.Site.Holds = []flex.Hold{{By: "ann"}} }, time.Time{}, 0, 0, flex.PreflightAtRisk},
	{"nothing where somebody declared it unavailable before", func(in *Input, _ *Subject) {
		in.Away = []flex.Unavailability{{Asset: "a", By: "ann", Window: flex.Window{Start: noon, End: noon.Add(time.Hour)}}}
	}, time.Time{}, 0, 0, flex.PreflightAtRisk},
	{"nothing where only observed", func(in *Input, _ *Subject) { in.Site.Assets[0].Control = allocate.Observe }, time.Time{}, 0, 0, flex.PreflightAtRisk},
	{"nothing for an instruction", func(_ *Input, s *Subject) { s.Kind = flex.PreflightInstruction }, time.Time{}, 0, 0, flex.PreflightAtRisk},
	{"nothing for imports", func(_ *Input, s *Subject) { s.Shares[0].Power = -6000 }, time.Time{}, 0, 0, flex.PreflightAtRisk},
	{"slower where the owner wants it", func(in *Input, _ *Subject) {
		most := flex.Watts(2500)
		in.Site.Devices[0].Owner.Normal.MaxCharge = &most
	}, start.Add(-80 * time.Minute), 7600, 2500, flex.PreflightGo},
	{"slower where the site may take no more", func(in *Input, _ *Subject) {
		p := flex.Watts(-1000)
		in.Site.Site = allocate.Site{ImportLimit: 3500, Meter: &flex.Reading{At: noon, Power: &p}}
	}, start.Add(-80 * time.Minute), 7600, 2500, flex.PreflightGo},
	{"as far as there is room", func(in *Input, _ *Subject) { in.Site.Devices[0].MaxSoC = 6000 }, start.Add(-17*time.Minute - 30*time.Second), 6000, 6000, flex.PreflightAtRisk},
	{"at once where it is late already, and still at risk", func(_ *Input, s *Subject) {
		s.Window = flex.Window{Start: noon.Add(20 * time.Minute), End: noon.Add(80 * time.Minute)}
	}, noon.Add(-16*time.Minute - 15*time.Second), 7600, 6000, flex.PreflightAtRisk},
	{"what the owner's cycles leave is not made more by charging", func(in *Input, _ *Subject) {
		left := flex.WattHours(2000)
		in.Site.Devices[0].Owner.Left = &left
	}, begin, 7600, 6000, flex.PreflightAtRisk},
}

func TestPrecharge(t *testing.T) {
	for _, tt := range charges {
		t.Run(tt.name, func(t *testing.T) {
			in, s := low()
			tt.change(&in, &s)
			in.Plan = Precharge(in, []Subject{s}, nil)
			switch {
			case tt.from.IsZero() && len(in.Plan) > 0:
				t.Errorf("planned %+v", in.Plan)
			case !tt.from.IsZero() && (len(in.Plan) != 1 || in.Plan[0].From.Sub(tt.from).Abs() > time.Second || in.Plan[0].Goal != tt.goal || in.Plan[0].Power != tt.power || !in.Plan[0].Until.Equal(s.Window.Start)):
				t.Errorf("want from %v to %v with %v, got %+v", tt.from, tt.goal, tt.power, in.Plan)
			}
			if p := Judge(in, s); p.Result != tt.result {
				t.Errorf("judged %+v, want %s", p, tt.result)
			}
		})
	}
}

func TestWhatHasBegunGoesOnToItsGoal(t *testing.T) {
	in, s := low()
	plan := Precharge(in, []Subject{s}, nil)
	in.Now.At, in.Site.Now = plan[0].From, plan[0].From
	*in.Site.Devices[0].Reading.SoC = 7000 // less is missing: alone it would begin later
	in.Site.Devices[0].Reading.At = in.Now.At
	again := Precharge(in, []Subject{s}, plan)
	if len(again) != 1 || !again[0].From.Equal(plan[0].From) {
		t.Fatalf("it was put off: %+v", again)
	}
	*in.Site.Devices[0].Reading.SoC = 7550 // enough, and not yet at the goal
	if last := Precharge(in, []Subject{s}, again); len(last) != 1 || last[0].Goal != again[0].Goal {
		t.Fatalf("it ended before its goal: %+v", last)
	}
	in.Away = []flex.Unavailability{{Asset: "a", Window: flex.Window{Start: in.Now.At, End: in.Now.At.Add(time.Minute)}}}
	if last := Precharge(in, []Subject{s}, again); len(last) != 0 {
		t.Fatalf("it goes on though somebody declared it unavailable: %+v", last)
	}
	in.Now.At, in.Away = s.Window.Start, nil
	if last := Precharge(in, []Subject{s}, again); len(last) != 0 {
		t.Fatalf("it goes on within the window: %+v", last)
	}
}

func TestNothingIsChargedWhereImportsMayBeAsked(t *testing.T) {
	in, s := low()
	o := s
	o.ID, o.Shares = "in", []flex.AssetShare{{Asset: "a", Power: -2000}}
	o.Window = flex.Window{Start: noon.Add(3 * time.Hour), End: noon.Add(230 * time.Minute)}
	if plan := Precharge(in, []Subject{o, s}, nil); len(plan) != 0 {
		t.Errorf("planned into a window for imports: %+v", plan)
	}
	o.Window.End = noon.Add(200 * time.Minute)
	if plan := Precharge(in, []Subject{o, s}, nil); len(plan) != 1 {
		t.Errorf("not planned after a window for imports: %+v", plan)
	}
	o.Window.End, o.Shares[0].Asset = noon.Add(230*time.Minute), "z"
	if plan := Precharge(in, []Subject{o, s}, nil); len(plan) != 1 {
		t.Errorf("another asset's window is in the way: %+v", plan)
	}
}
