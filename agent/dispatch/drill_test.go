package dispatch

import (
	"testing"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func rehearsal() Drill {
	return Drill{Asset: "a", Power: -1500, For: time.Minute, By: "ann", Most: 2000}
}

func ourAssets(r *rig) { r.cfg.Assets = []flex.AssetID{"a"} }

func TestADrillIsALifeMarkedAsATest(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		m := newMarket(AnswerAsk) // the market wants to hear of everything
		r := newRig(t, newLedger(), nil, answered(m), ourAssets)
		defer r.end()
		id, err := r.eng.Drill(t.Context(), rehearsal())
		if err != nil {
			t.Fatal(err)
		}
		rec := r.led.rec(id)
		if rec.State != flex.Scheduled || rec.Answer != nil || len(rec.Shares) != 1 || rec.Shares[0] != (flex.AssetShare{Asset: "a", Power: -1500}) {
			t.Fatalf("%+v", rec)
		}
		if ahead := time.Until(rec.Window.Start); ahead < drillAhead || ahead > drillAhead+time.Second || rec.Window.Start.Nanosecond() != 0 {
			t.Errorf("begins in %v", ahead)
		}
		pass(2 * time.Minute)
		if got := r.led.said(id); got != "admitted scheduled active completed" {
			t.Errorf("said %q", got)
		}
		r.led.set(func() {
			for _, a := range r.led.acks {
				if !a.Test {
					t.Errorf("not marked: %+v", a)
				}
			}
		})
		if len(m.taken) != 0 {
			t.Errorf("the market heard %v", m.taken)
		}
	})
}

func TestDrillsThatAreRefused(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil, ourAssets)
		defer r.end()
		for name, tc := range map[string]struct {
			change func(*Drill)
			want   flex.Reason
		}{
			"another asset":  {func(d *Drill) { d.Asset = "q" }, flex.ReasonUnknownAsset},
			"no power":       {func(d *Drill) { d.Power = 0 }, flex.ReasonBadField},
			"too much":       {func(d *Drill) { d.Power = 2001 }, flex.ReasonAboveCapacity},
			"no rating":      {func(d *Drill) { d.Most = 0 }, flex.ReasonDeviceUnavailable},
			"too short":      {func(d *Drill) { d.For = DrillLeast - 1 }, flex.ReasonBadField},
			"too long":       {func(d *Drill) { d.For = DrillMost + 1 }, flex.ReasonBadField},
			"the same again": {func(*Drill) {}, ""},
		} {
			d := rehearsal()
			tc.change(&d)
			_, err := r.eng.Drill(t.Context(), d)
			if why, _ := flex.RefusalOf(err); tc.want != "" && (why == nil || why.Reason != tc.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := r.eng.Hold(t.Context(), flex.Hold{Asset: "a", By: "bob"}); err != nil {
			t.Fatal(err)
		}
		if why, _ := flex.RefusalOf(second(r.eng.Drill(t.Context(), rehearsal()))); why == nil || why.Reason != flex.ReasonLocalHold {
			t.Errorf("held: %v", why)
		}
	})
}

func second(_ flex.InstructionID, err error) error { return err }

func TestNoDrillOnAClockThatLies(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), clock.New(clocktest.New(true), time.Now().Add(time.Hour)), ourAssets)
		defer r.end()
		if why, _ := flex.RefusalOf(second(r.eng.Drill(t.Context(), rehearsal()))); why == nil || why.Reason != flex.ReasonClockUntrusted {
			t.Errorf("refused by %v", why)
		}
		if len(r.led.offers) != 0 {
			t.Error("it waits to be decided")
		}
	})
}

func TestTheMarketTakesTheAssetFromADrill(t *testing.T) {
	for name, tc := range map[string]struct {
		begins time.Duration
		want   flex.State
	}{
		"before the drill begins": {0, flex.Superseded},
		"in its midst":            {30 * time.Second, flex.Superseded},
		"after it":                {5 * time.Minute, flex.Completed},
	} {
		t.Run(name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				r := newRig(t, newLedger(), nil, ourAssets)
				defer r.end()
				id, err := r.eng.Drill(t.Context(), rehearsal())
				if err != nil {
					t.Fatal(err)
				}
				r.take(soon("i", tc.begins), 1)
				for range 600 {
					wanting := 0
					for _, d := range r.board.Running() {
						if d.Wants(time.Now()) {
							wanting++
						}
					}
					if wanting > 1 {
						t.Fatal("both want the asset")
					}
					pass(time.Second)
				}
				if i, d := r.led.rec("i").State, r.led.rec(id).State; i != flex.Completed || d != tc.want {
					t.Errorf("the market's is %s, the drill is %s", i, d)
				}
			})
		})
	}
}

func TestADrillTakesNothingFromTheMarket(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil, ourAssets)
		defer r.end()
		r.take(soon("i", 10*time.Second), 1)
		id, err := r.eng.Drill(t.Context(), rehearsal())
		if why, _ := flex.RefusalOf(err); why == nil || why.Reason != flex.ReasonOverlap || r.led.rec(id).State != flex.Refused {
			t.Errorf("%v, %+v", err, r.led.rec(id))
		}
		pass(2 * time.Minute)
		if got := r.led.rec("i").State; got != flex.Completed {
			t.Errorf("the market's is %s", got)
		}
	})
}
