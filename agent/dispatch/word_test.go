package dispatch

import (
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// around are four dispatches of two obligations and two assets: one that runs,
// one that begins within the hour, one in two hours, and another's that runs.
func around(r *rig) {
	put := func(id flex.InstructionID, ob flex.ObligationID, asset flex.AssetID, from, to time.Duration, seq uint64) {
		o := soon(id, from)
		o.Instruction.Window.End = time.Now().UTC().Add(to)
		o.Instruction.Obligation, o.Obligation.ID = ob, ob
		o.Ours, o.Instruction.Assets, o.Named = []flex.AssetID{asset}, []flex.AssetID{asset}, []flex.MarketAsset{{ID: asset, Export: 10_000}}
		r.take(o, seq)
	}
	put("runs", "ob", "a", time.Second, 6*time.Minute, 1)
	put("soon", "ob", "a", 40*time.Minute, 46*time.Minute, 2)
	put("far", "ob", "a", 2*time.Hour, 126*time.Minute, 3)
	put("other", "ob2", "z", time.Second, 6*time.Minute, 4)
	pass(5 * time.Second)
}

// A stop with an id of its own and without targets ends what runs or meets its
// times. What comes later stays, and a person is asked.
func TestAStopWithoutATargetEndsWhatItMeets(t *testing.T) {
	in := func(from, to time.Duration) func() flex.Window {
		return func() flex.Window {
			w := flex.Window{Start: time.Now().UTC().Add(from)}
			if to != 0 {
				w.End = time.Now().UTC().Add(to)
			}
			return w
		}
	}
	for name, tc := range map[string]struct {
		window func() flex.Window
		assets []flex.AssetID
		ob     flex.ObligationID
		ended  map[flex.InstructionID]bool
		alarm  bool
	}{
		"no times":                  {nil, nil, "ob", map[flex.InstructionID]bool{"runs": true}, true},
		"from now on, without end":  {in(0, 0), nil, "ob", map[flex.InstructionID]bool{"runs": true}, true},
		"within the hour":           {in(0, time.Hour), nil, "ob", map[flex.InstructionID]bool{"runs": true, "soon": true}, true},
		"all day":                   {in(-time.Hour, 12*time.Hour), nil, "ob", map[flex.InstructionID]bool{"runs": true, "soon": true, "far": true}, false},
		"from a start within a run": {in(123*time.Minute, 0), nil, "ob", map[flex.InstructionID]bool{"runs": true, "far": true}, true},
		"times that are past":       {in(-2*time.Hour, -time.Hour), nil, "ob", map[flex.InstructionID]bool{"runs": true}, true},
		"by its asset":              {nil, []flex.AssetID{"z"}, "", map[flex.InstructionID]bool{"other": true}, false},
		"by nothing":                {nil, nil, "", map[flex.InstructionID]bool{}, true},
		"by both":                   {nil, []flex.AssetID{"a"}, "ob", map[flex.InstructionID]bool{"runs": true}, true},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				clocktest.Bubble(t, func(t *testing.T) {
					led := newLedger()
					r := newRig(t, led, nil)
					defer func() { r.end() }()
					around(r)
					halt := flex.Offer{Received: stampAt(time.Now().UTC()), Instruction: flex.Instruction{ID: "S", Kind: flex.KindStop, Obligation: tc.ob, Assets: tc.assets, Content: "s"}}
					if tc.window != nil {
						halt.Instruction.Window = tc.window()
					}
					if restart { // the stop is on disk, and nothing of it in memory
						r.end()
						led.offer(halt, 9)
						r = newRig(t, led, nil)
						synctest.Wait()
					} else {
						r.board.StopNow(halt.Instruction, time.Now().UTC())
						for _, id := range []flex.InstructionID{"runs", "soon", "far", "other"} {
							if got := !r.stopAt(id).IsZero(); got != tc.ended[id] {
								t.Errorf("at once: %s stopped %v", id, got)
							}
						}
						r.take(halt, 9)
					}
					if r.alarms.is("stop_left_dispatches:S") != tc.alarm {
						t.Errorf("alarm %v", r.alarms.on)
					}
					pass(3 * time.Hour)
					for _, id := range []flex.InstructionID{"runs", "soon", "far", "other"} {
						if got := led.rec(id).State; (got == flex.Completed) == tc.ended[id] {
							t.Errorf("%s is %s", id, got)
						}
					}
					if r.alarms.is("stop_left_dispatches:S") {
						t.Error("the alarm outlives what it is about")
					}
				})
			})
		}
	}
}

// A word that nobody understands is told within a second where it concerns what
// is open, and only there; and taken back when it is cleared up.
func TestAnUnknownWordIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*flex.Instruction)
		alarm  bool
	}{
		"of what runs":              {func(in *flex.Instruction) { in.ID = "runs" }, true},
		"of what begins later":      {func(in *flex.Instruction) { in.ID = "far" }, true},
		"that names what runs":      {func(in *flex.Instruction) { in.ID, in.Stops = "X", []flex.InstructionID{"runs"} }, true},
		"of the obligation":         {func(in *flex.Instruction) { in.ID, in.Obligation, in.Assets = "X", "ob", nil }, true},
		"of another obligation":     {func(in *flex.Instruction) { in.ID, in.Obligation, in.Assets = "X", "ob9", nil }, false},
		"of something unheard of":   {func(in *flex.Instruction) { in.ID, in.Obligation, in.Assets = "X", "", nil }, false},
		"for a time that is free":   {func(in *flex.Instruction) { in.ID = "X" }, true},
		"of what runs, and refused": {func(in *flex.Instruction) { in.ID, in.Problems = "runs", []flex.Refusal{{Reason: flex.ReasonBadField}} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				r := newRig(t, newLedger(), nil)
				defer r.end()
				around(r)
				o := soon("X", 5*time.Hour)
				o.Instruction.Unknown, o.Instruction.Content = `status "Halted!"`, "u"
				tc.change(&o.Instruction)
				if !tc.alarm {
					o.Obligation, o.Ours, o.Named = flex.Obligation{}, nil, nil
				}
				if have := r.led.rec(o.Instruction.ID); have.ID != "" {
					id, problems := o.Instruction.ID, o.Instruction.Problems
					o.Instruction = have.Instruction
					o.Instruction.ID, o.Instruction.Problems, o.Instruction.Unknown, o.Instruction.Content = id, problems, `status "Halted!"`, "u"
				}
				r.take(o, 9) // no time passes
				key := "unknown_word:" + string(o.Instruction.ID)
				if r.alarms.is(key) != tc.alarm {
					t.Fatalf("alarms %v", r.alarms.on)
				}
				if r.led.rec("runs").State != flex.Active {
					t.Errorf("what runs is %s", r.led.rec("runs").State)
				}
				o.Instruction.Unknown, o.Instruction.Content = "", "known"
				r.take(o, 10)
				if r.alarms.is(key) {
					t.Error("the alarm stays although it was cleared up")
				}
			})
		})
	}
}
