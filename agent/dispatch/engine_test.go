package dispatch

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestLifeOfADispatch(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		o := soon("i", 10*time.Second)
		r.take(o, 1)
		r.take(o, 2) // a duplicate
		if got := r.led.said("i"); got != "admitted scheduled" || len(r.board.Running()) != 1 {
			t.Fatalf("after admission: %q, board %v", got, r.board.Running())
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		rec := r.led.rec("i")
		if rec.State != flex.Active || rec.EchoAt.Sub(rec.Window.Start) > 300*time.Millisecond || !rec.Steps[2].Fact.At.Equal(rec.EchoAt) {
			t.Fatalf("at the start: %+v", rec)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if got := r.led.said("i"); got != "admitted scheduled active completed" || len(r.board.Running()) != 0 {
			t.Errorf("at the end: %q, board %v", got, r.board.Running())
		}
	})
}

// What begins together is stored together, and so are the facts of a moment.
func TestWhatBeginsTogetherIsOneCommit(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		for i, id := range []flex.InstructionID{"a", "b", "c"} {
			o := soon(id, 10*time.Second)
			own := []flex.AssetID{flex.AssetID("asset-" + id)}
			o.Named, o.Obligation.Assets, o.Ours, o.Instruction.Assets = []flex.MarketAsset{{ID: own[0], Export: 10_000}}, own, own, own
			r.take(o, uint64(i+1))
		}
		commits := func() (n int) { r.led.set(func() { n = r.led.commits }); return n }
		before, began := commits(), time.Now()
		r.hands.mu.Lock()
		r.hands.extra = func(p *flex.Progress) {
			if at := began.Add(10500 * time.Millisecond); !p.EchoAt.IsZero() && p.ActingAt.IsZero() && !time.Now().Before(at) {
				p.ActingAt = at
			}
			if at := began.Add(11200 * time.Millisecond); p.DeliverAt.IsZero() && !time.Now().Before(at) {
				p.DeliverAt = at
			}
		}
		r.hands.mu.Unlock()
		time.Sleep(10400 * time.Millisecond)
		synctest.Wait()
		if n := commits() - before; n != 1 || r.led.rec("c").State != flex.Active {
			t.Errorf("%d commits for three beginnings, %v", n, r.led.rec("c").State)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if rec := r.led.rec("b"); commits()-before != 2 || rec.ActingAt.IsZero() || rec.DeliverAt.IsZero() {
			t.Errorf("%d commits, %v, %v", commits()-before, rec.ActingAt, rec.DeliverAt)
		}
	})
}

func TestStuckReleaseStaysOwed(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		r.take(soon("i", 0), 1)
		time.Sleep(30 * time.Second)
		r.hands.mu.Lock()
		r.hands.stuck = true
		r.hands.mu.Unlock()
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if !r.alarms.is("release_owed:i") || !strings.HasSuffix(r.led.said("i"), "active+release_owed") {
			t.Fatalf("said %q", r.led.said("i"))
		}
		r.hands.mu.Lock()
		r.hands.stuck = false
		r.hands.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r.alarms.is("release_owed:i") || !strings.HasSuffix(r.led.said("i"), "completed") {
			t.Errorf("said %q", r.led.said("i"))
		}
	})
}

func TestStopActsWhileTheStoreHangs(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		r.take(soon("i", 0), 1)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		gate := make(chan struct{})
		r.led.set(func() { r.led.gate = gate })
		r.take(soon("j", time.Hour), 2) // the Engine hangs in this commit
		var woken atomic.Int32
		r.board.OnChange(func() { woken.Add(1) })
		stop := stopOffer("i", nil)
		stop.Received = stampAt(time.Now().UTC())
		r.board.StopNow(stop.Instruction, stop.Received.At)
		if !r.stopAt("i").Equal(stop.Received.At) || woken.Load() != 1 {
			t.Fatalf("stop at %v, woken %d", r.stopAt("i"), woken.Load())
		}
		time.Sleep(hangAlarm + time.Second)
		if !r.alarms.is("store_failing:") || r.board.StoreFailing() {
			t.Error("a hanging store is an alarm, and no reason to let go")
		}
		close(gate)
		r.take(stop, 3)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if rec := r.led.rec("i"); rec.State != flex.Stopped || !rec.StopAt.Equal(stop.Received.At) || r.alarms.is("store_failing:") {
			t.Errorf("record %+v", rec)
		}
	})
}

func TestAPersonStopsWhileTheStoreHangs(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		r.take(soon("i", 0), 1)
		time.Sleep(5 * time.Second)
		gate := make(chan struct{})
		r.led.set(func() { r.led.gate = gate })
		r.take(soon("j", time.Hour), 2)
		now := time.Now()
		if err := r.eng.StopLocal(t.Context(), "i", "ann"); err == nil {
			t.Error("an order that is not stored must say so")
		}
		if !r.stopAt("i").Equal(now) {
			t.Errorf("stopped at %v, want %v", r.stopAt("i"), now)
		}
		close(gate)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if rec := r.led.rec("i"); rec.State != flex.Stopped || !rec.StopAt.Equal(now) || !rec.Steps[3].Fact.At.After(now.Add(-time.Nanosecond)) {
			t.Errorf("record %+v", rec)
		}
	})
}

func TestStopBeforeItsStartArrives(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		stop := stopOffer("i", nil)
		r.board.StopNow(stop.Instruction, time.Now().UTC())
		r.take(soon("i", 0), 1) // the start is on disk first
		for _, d := range r.board.Running() {
			if d.Wants(time.Now()) {
				t.Fatalf("%+v wants power in spite of a stop", d)
			}
		}
		r.take(stop, 2)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if rec := r.led.rec("i"); !rec.State.Final() || len(r.board.Running()) != 0 {
			t.Errorf("record %+v, board %v", rec, r.board.Running())
		}
	})
}

func TestFailingStoreIsTriedAgain(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		r.led.set(func() { r.led.fail = errors.New("no space left") })
		r.take(soon("i", time.Hour), 1)
		if !r.alarms.is("store_failing:") || !r.board.StoreFailing() || len(r.board.Running()) != 0 {
			t.Fatal("what is not stored must not run, and is an alarm")
		}
		if err := r.eng.Hold(t.Context(), flex.Hold{Asset: "a", By: "ann"}); err == nil {
			t.Error("a hold that is not stored must say so")
		}
		if len(r.board.Holds()) != 1 {
			t.Error("a hold must act without the store")
		}
		r.led.set(func() { r.led.fail = nil })
		time.Sleep(backoffMost + time.Second)
		synctest.Wait()
		if _, holds, _ := r.led.counts(); r.alarms.is("store_failing:") || len(r.board.Running()) != 1 || holds != 1 {
			t.Errorf("after the failure: running %v, %d holds", r.board.Running(), holds)
		}
	})
}

func TestLocalOrders(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		r.take(soon("i", 0), 1)
		time.Sleep(time.Second)
		if err := r.eng.Hold(t.Context(), flex.Hold{By: "ann", Reason: "smoke"}); err != nil {
			t.Fatal(err)
		}
		err := r.eng.LiftHold(t.Context(), "", "ann")
		if _, holds, events := r.led.counts(); err != nil || holds != 0 || events != 2 || len(r.board.Holds()) != 0 {
			t.Fatalf("%v, %d holds, %d events", err, holds, events)
		}
		if err := r.eng.StopLocal(t.Context(), "nope", "ann"); err == nil {
			t.Error("stopping the unknown must be an error")
		}
		if err := r.eng.StopLocal(t.Context(), "i", "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if rec := r.led.rec("i"); rec.State != flex.Stopped || rec.Reason != flex.ReasonStoppedLocal {
			t.Errorf("record %+v", rec)
		}
	})
}

func TestRestartFindsTheBoard(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil)
		r.take(soon("i", 0), 1)
		time.Sleep(time.Second)
		if err := r.eng.Hold(t.Context(), flex.Hold{Asset: "q", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		r.end()
		r = newRig(t, led, nil)
		defer r.end()
		if len(r.board.Running()) != 1 || len(r.board.Holds()) != 1 {
			t.Fatalf("board %v %v", r.board.Running(), r.board.Holds())
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if got := led.said("i"); got != "admitted scheduled active completed" {
			t.Errorf("said %q: every step once", got)
		}
	})
}

func TestWindowThatPassedWhileDownWaitsForControl(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		led := newLedger()
		r := newRig(t, led, nil)
		r.take(soon("i", time.Hour), 1)
		r.end()
		time.Sleep(2 * time.Hour)
		r = newRig(t, led, nil, func(r *rig) { r.hands.blind = true })
		defer r.end()
		time.Sleep(settle / 2)
		synctest.Wait()
		if s := led.rec("i").State; s != flex.Scheduled {
			t.Fatalf("%s before control has looked", s)
		}
		time.Sleep(settle)
		synctest.Wait()
		if s := led.rec("i").State; s != flex.Expired {
			t.Errorf("%s, want expired", s)
		}
	})
}

func TestConditionsAreAnnouncedCalmly(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		flip := false
		r.hands.mu.Lock()
		r.hands.extra = func(p *flex.Progress) {
			flip = !flip
			p.Missing, p.MissingReason = 0, ""
			if flip && time.Now().Second() < 30 {
				p.Missing, p.MissingReason = 500, flex.ReasonSiteLimit
			}
		}
		r.hands.mu.Unlock()
		r.take(soon("i", 0), 1)
		time.Sleep(55 * time.Second)
		synctest.Wait()
		if got := r.led.said("i"); strings.Count(got, "partial") != 1 || strings.Count(got, "active") != 2 {
			t.Errorf("said %q, want the condition once on and once off", got)
		}
	})
}

func TestUntrustedClockKeepsOffers(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		wall := clock.New(clocktest.New(true), time.Now().Add(time.Minute))
		r := newRig(t, newLedger(), wall)
		defer r.end()
		r.take(soon("i", 2*time.Minute), 1)
		if recs, _, _ := r.led.counts(); recs != 0 || !r.alarms.is("clock_untrusted:") {
			t.Fatalf("%d records, the clock's alarm is %v", recs, r.alarms.is("clock_untrusted:"))
		}
		time.Sleep(62 * time.Second)
		synctest.Wait()
		if r.led.rec("i").State != flex.Scheduled || r.alarms.is("clock_untrusted:") {
			t.Errorf("record %+v", r.led.rec("i"))
		}
	})
}

func TestSupersedeIsSeamless(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		r.take(soon("i", 0), 1)
		r.take(soon("j", 30*time.Second), 2)
		now := time.Now()
		for s := range 90 {
			at, wanting := now.Add(time.Duration(s)*time.Second), 0
			for _, d := range r.board.Running() {
				if d.Wants(at) {
					wanting++
				}
			}
			if wanting != 1 {
				t.Fatalf("%d dispatches want power %d s in", wanting, s)
			}
		}
		time.Sleep(95 * time.Second)
		synctest.Wait()
		if i, j := r.led.rec("i").State, r.led.rec("j").State; i != flex.Superseded || j != flex.Completed {
			t.Errorf("i is %s, j is %s", i, j)
		}
	})
}

func TestRepeatedStopForAllSparesWhatBeganSince(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		stop := stopOffer("s", func(i *flex.Instruction) { i.Obligation = "ob" })
		r.take(soon("i", 0), 1)
		r.take(stop, 2)
		r.take(soon("j", 0), 3)
		r.board.StopNow(stop.Instruction, time.Now()) // the poll finds it again
		r.take(stop, 4)
		if at := r.stopAt("j"); !at.IsZero() {
			t.Errorf("j is stopped at %v by a stop of the past", at)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if r.led.rec("i").State != flex.Stopped || r.led.rec("j").State != flex.Active {
			t.Errorf("i is %s, j is %s", r.led.rec("i").State, r.led.rec("j").State)
		}
	})
}
