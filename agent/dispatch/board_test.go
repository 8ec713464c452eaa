package dispatch

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestBoardStops(t *testing.T) {
	now := noon.Add(time.Second)
	for _, tc := range []struct {
		name string
		in   flex.Instruction
		x, y bool // stopped
	}{
		{"by id", flex.Instruction{ID: "x", Kind: flex.KindStop}, true, false},
		{"by name", flex.Instruction{ID: "s", Kind: flex.KindStop, Stops: []flex.InstructionID{"y"}}, false, true},
		{"by obligation", flex.Instruction{ID: "s", Kind: flex.KindStop, Obligation: "ob"}, true, false},
		{"by asset", flex.Instruction{ID: "s", Kind: flex.KindStop, Assets: []flex.AssetID{"a"}}, true, true},
		{"by nothing", flex.Instruction{ID: "s", Kind: flex.KindStop}, false, false},
		{"withdrawn by its status", flex.Instruction{ID: "x", Kind: flex.KindStart, Status: "withdrawn", Capacity: 1}, true, false},
		{"another that was called back by its status", flex.Instruction{ID: "w", Kind: flex.KindStop, Stops: []flex.InstructionID{"w"}, Status: "cancelled", Obligation: "ob"}, false, false},
		{"by obligation, for a later time", flex.Instruction{ID: "s", Kind: flex.KindStop, Obligation: "ob", Window: flex.Window{Start: noon.Add(2 * time.Hour)}}, true, false},
		{"a start is not a stop", flex.Instruction{ID: "x", Kind: flex.KindStart, Capacity: 1}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := NewBoard()
			b.wall = stoodStill{now}
			b.put(openRecord("x", "ob", 0, 60), openRecord("y", "ob2", 0, 60), flex.Record{ID: "z", State: flex.Refused})
			b.StopNow(tc.in, now)
			run := b.Running()
			if len(run) != 2 || run[0].StopAt.Equal(now) != tc.x || run[1].StopAt.Equal(now) != tc.y {
				t.Errorf("running %+v", run)
			}
			run[0].Shares[0].Power = 0
			if b.Running()[0].Shares[0].Power == 0 {
				t.Error("the caller can change what the board holds")
			}
		})
	}
}

// stoodStill is a clock that does not go on.
type stoodStill struct{ at time.Time }

func (s stoodStill) Now() (time.Time, flex.ClockTrust)           { return s.at, flex.ClockSynced }
func (s stoodStill) Stamp() flex.Stamp                           { return stampAt(s.at) }
func (s stoodStill) Both() (now flex.Stamp, ahead time.Duration) { return stampAt(s.at), 0 }

func TestBoardMemoryIsBounded(t *testing.T) {
	b := NewBoard()
	for i := range memory + 10 {
		b.StopNow(flex.Instruction{ID: flex.InstructionID(fmt.Sprint(i)), Kind: flex.KindStop}, noon)
	}
	if len(b.stops) != memory {
		t.Errorf("%d early stops are kept", len(b.stops))
	}
}

func TestBoardWakesOnNewsOnly(t *testing.T) {
	b, woken := NewBoard(), 0
	b.OnChange(func() { woken++ })
	r := openRecord("x", "ob", 0, 60)
	b.put(r)
	b.put(r)
	b.settle("nobody")
	b.drop("nobody")
	b.setFailing(false)
	if woken != 1 {
		t.Errorf("woken %d times, want once", woken)
	}
}

func TestRefusedStopLetsTheDispatchGoOn(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		r.take(soon("i", 0), 1)
		forged := stopOffer("i", nil)
		forged.Signature = string(flex.ReasonSignatureInvalid)
		r.board.OnChange(func() { t.Error("a forged stop reaches control") })
		r.take(forged, 2)
		if at := r.stopAt("i"); !at.IsZero() {
			t.Errorf("a forged stop ends the dispatch at %v", at)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s := r.led.rec("i").State; s != flex.Active {
			t.Errorf("the dispatch is %s", s)
		}
	})
}
