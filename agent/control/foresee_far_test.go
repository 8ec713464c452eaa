package control

import (
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

func TestForeseeFar(t *testing.T) {
	const far = 240 * time.Hour
	for name, tc := range map[string]struct {
		change func(*allocate.Input)
		d      flex.Dispatch
		want   flex.Reason // "" when it can be given, "-" when nobody can tell
	}{
		"an empty battery":              {func(in *allocate.Input) { *in.Devices[0].Reading.SoC = 500 }, ask("i", 5000, far, far+time.Hour), ""},
		"a full one that is to charge":  {func(in *allocate.Input) { *in.Devices[0].Reading.SoC = flex.Full }, ask("i", -5000, far, far+time.Hour), ""},
		"a hold":                        {func(in *allocate.Input) { in.Holds = []flex.Hold{{Asset: "a", By: "ann"}} }, ask("i", 5000, far, far+time.Hour), ""},
		"a device that is away":         {func(in *allocate.Input) { in.Devices[0].Online = false }, ask("i", 5000, far, far+time.Hour), ""},
		"never read, but known":         {func(in *allocate.Input) { in.Devices[0].Reading = nil }, ask("i", 5000, far, far+time.Hour), ""},
		"a limit of others":             {func(in *allocate.Input) { in.Devices[0].Foreign = flex.Refuse(flex.ReasonLimitSetByOthers, "x") }, ask("i", 5000, far, far+time.Hour), ""},
		"an old reading":                {func(in *allocate.Input) { in.Devices[0].Reading.At = today.Add(-time.Hour) }, ask("i", 5000, far, far+time.Hour), ""},
		"promised at another time":      {func(in *allocate.Input) { in.Dispatches = []flex.Dispatch{ask("o", 10_000, time.Hour, 2*time.Hour)} }, ask("i", 5000, far, far+time.Hour), ""},
		"more than the rating":          {nil, ask("i", 12_000, far, far+time.Minute), flex.ReasonRating},
		"more than the capacity":        {nil, ask("i", 5000, far, far+2*time.Hour), flex.ReasonEnergyInsufficient},
		"promised for the same time":    {func(in *allocate.Input) { in.Dispatches = []flex.Dispatch{ask("o", 8000, far, far+time.Hour)} }, ask("i", 5000, far, far+30*time.Minute), flex.ReasonRating},
		"a device that was never heard": {func(in *allocate.Input) { in.Devices[0].Plate = flex.Nameplate{} }, ask("i", 5000, far, far+time.Hour), "-"},
	} {
		t.Run(name, func(t *testing.T) {
			in := site(battery("b", 8000))
			if tc.change != nil {
				tc.change(&in)
			}
			f := foreseeFar(in, tc.d, allocate.Decide)
			if f.Known != (tc.want != "-") || f.Known && f.Reason != tc.want || f.Known && (f.Missing > 0) != (tc.want != "") {
				t.Errorf("%+v", f)
			}
		})
	}
}
