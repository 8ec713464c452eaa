package control

import (
	"context"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func bubble(t *testing.T, fn func(t *testing.T)) { t.Helper(); clocktest.Bubble(t, fn) }

func TestADispatchStartsAndEndsOnTheSecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		start := time.Now().Add(10 * time.Second)
		end := start.Add(100 * time.Second)
		r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, start, end)} })
		time.Sleep(5 * time.Second)
		if !r.journal.open("bat") || d.controlled() {
			t.Error("ahead of the start the journal must be on disk, and nothing written")
		}
		time.Sleep(5*time.Second + time.Millisecond)
		times, powers := d.log()
		if len(times) != 1 || !times[0].Equal(start) || powers[0] != 5000 {
			t.Fatalf("writes %v %v, want 5000 at %v", times, powers, start)
		}
		time.Sleep(15 * time.Second)
		p := r.c.Progress()["i1"]
		if !p.FirstWrite.Equal(start) || p.EchoAt.IsZero() || p.ActingAt.IsZero() || p.DeliverAt.IsZero() || p.Delivering == nil || !*p.Delivering || p.Released {
			t.Errorf("progress = %+v", p)
		}
		time.Sleep(time.Until(end) - time.Millisecond)
		if !d.controlled() {
			t.Error("released before the end")
		}
		times, _ = d.log()
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap > defaultLease/3 {
				t.Errorf("refreshed after %v, at most a third of the lease", gap)
			}
		}
		if n := len(times); n > 7 {
			t.Errorf("%d writes in 100 s: refresh must not flood", n)
		}
		time.Sleep(2 * time.Millisecond)
		if d.controlled() {
			t.Error("not released at the end")
		}
		time.Sleep(time.Second)
		p = r.c.Progress()["i1"]
		if !p.Released || p.ReleasedAt.Sub(end) > 10*time.Millisecond || r.journal.open("bat") {
			t.Errorf("progress = %+v, journal open %v", p, r.journal.open("bat"))
		}
		r.kill()
	})
}

func TestObserveWritesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, true, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Minute))}
		})
		time.Sleep(30 * time.Second)
		times, _ := d.log()
		if p := r.c.Progress()["i1"]; len(times) != 0 || !p.Observed || !p.Released || r.journal.commits != 0 {
			t.Errorf("writes %d, commits %d, progress %+v", len(times), r.journal.commits, p)
		}
		if st := r.c.Status()[0]; st.Target.Power != 5000 || !st.Target.Observe {
			t.Errorf("what would be done is not shown: %+v", st.Target)
		}
		r.kill()
	})
}

func TestAHoldOutranksTheMarketAndLiftingResumes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(3 * time.Second)
		r.board.change(func(b *board) { b.holds = []flex.Hold{{By: "root"}} })
		time.Sleep(50 * time.Millisecond)
		if d.controlled() || !r.c.Progress()["i1"].Overridden {
			t.Error("a hold must hand the device back at once and say overridden")
		}
		r.board.change(func(b *board) { b.holds = nil })
		time.Sleep(time.Second)
		if !d.controlled() {
			t.Error("the dispatch is not resumed after the hold")
		}
		r.kill()
	})
}

func TestAStopCutsIntoAHangingConversation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(3500 * time.Millisecond)
		d.set(func(d *device) { d.deaf = true })
		time.Sleep(2 * time.Second) // a read hangs now
		d.set(func(d *device) { d.deaf = false })
		stopped := time.Now()
		r.board.change(func(b *board) { b.running[0].StopAt = stopped })
		time.Sleep(200 * time.Millisecond)
		if d.controlled() {
			t.Error("not released within 200 ms of the stop")
		}
		r.kill()
	})
}

func TestAReleaseIsRetriedForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", stubborn: true}
		r := newRig(t, nil, false, d)
		r.start()
		end := time.Now().Add(20 * time.Second)
		r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), end)} })
		time.Sleep(10 * time.Second)
		d.set(func(d *device) { d.offline = true })
		time.Sleep(2 * time.Hour)
		if p := r.c.Progress()["i1"]; p.Released || !p.Engaged || !r.alarms.is("release_owed bat") || !r.journal.open("bat") {
			t.Errorf("an owed release is not said: %+v", p)
		}
		d.set(func(d *device) { d.offline = false })
		time.Sleep(6 * time.Second)
		if p := r.c.Progress()["i1"]; d.controlled() || !p.Released || r.alarms.is("release_owed bat") || r.journal.open("bat") {
			t.Errorf("not released after the device came back: %+v", p)
		}
		r.kill()
	})
}

func TestAfterAKillTheDeviceIsTakenUpOrHandedBack(t *testing.T) {
	for _, tc := range []struct {
		name string
		over bool
	}{{"re-asserted while the window runs", false}, {"released when it is over", true}} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := &device{id: "bat", stubborn: true}
				r := newRig(t, nil, false, d)
				r.start()
				dispatch := wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))
				r.board.change(func(b *board) { b.running = []flex.Dispatch{dispatch} })
				time.Sleep(5 * time.Second)
				r.kill()
				if !d.controlled() {
					t.Fatal("the process is dead: nobody released")
				}
				next := newRig(t, r.journal, false, d)
				if tc.over {
					time.Sleep(2 * time.Hour)
				}
				next.board.running = []flex.Dispatch{dispatch}
				before, _ := d.log()
				if err := next.c.Recover(context.Background()); err != nil {
					t.Error(err)
				}
				if err := next.c.handBack(context.Background()); err != nil {
					t.Error(err)
				}
				next.c.settled(context.Background())
				after, _ := d.log()
				if tc.over != !d.controlled() || !tc.over && len(after) != len(before) || next.journal.open("bat") == tc.over {
					t.Errorf("controlled %v, %d writes, journal open %v", d.controlled(), len(after)-len(before), next.journal.open("bat"))
				}
				next.start()
				time.Sleep(2 * time.Second)
				p, known := next.c.Progress()["i1"]
				if !known || p.Released != tc.over {
					t.Errorf("progress after recovery = %+v %v", p, known)
				}
				next.kill()
			})
		})
	}
}

func TestWithoutAJournalNothingIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.journal.fail = true
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(time.Minute)
		if times, _ := d.log(); len(times) != 0 {
			t.Errorf("%d writes without a journal", len(times))
		}
		r.journal.mu.Lock()
		r.journal.fail = false
		r.journal.mu.Unlock()
		time.Sleep(3 * time.Second)
		if !d.controlled() {
			t.Error("not controlled after the disk came back")
		}
		r.kill()
	})
}

func TestADiskThatHangsChangesNoWattsAndDelaysNoStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := &device{id: "a"}, &device{id: "b"}
		r := newRig(t, nil, false, a, b)
		r.start()
		end := time.Now().Add(time.Hour)
		r.board.change(func(bd *board) { bd.running = []flex.Dispatch{wants("i1", a, 5000, time.Now(), end)} })
		time.Sleep(5 * time.Second)
		hang := make(chan struct{})
		r.journal.mu.Lock()
		r.journal.hang = hang
		r.journal.mu.Unlock()
		r.board.change(func(bd *board) { bd.running = append(bd.running, wants("i2", b, 3000, time.Now(), end)) })
		time.Sleep(3 * time.Minute)
		if !a.controlled() || b.controlled() {
			t.Errorf("a controlled %v, b controlled %v: what runs goes on, nothing new is taken", a.controlled(), b.controlled())
		}
		r.board.change(func(bd *board) { bd.running[0].StopAt = time.Now() })
		time.Sleep(200 * time.Millisecond)
		if a.controlled() {
			t.Error("the hanging disk delays the stop")
		}
		r.journal.mu.Lock()
		r.journal.hang = nil
		r.journal.mu.Unlock()
		close(hang)
		time.Sleep(2 * time.Second)
		if r.journal.open("a") || !b.controlled() {
			t.Errorf("journal of a open %v, b controlled %v", r.journal.open("a"), b.controlled())
		}
		r.kill()
	})
}

func TestAStoreThatFailsForLongEndsAllControl(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(5 * time.Second)
		r.board.change(func(b *board) { b.failing = true })
		time.Sleep(30 * time.Second)
		if !d.controlled() {
			t.Error("a short failure ended control")
		}
		time.Sleep(40 * time.Second)
		if d.controlled() {
			t.Error("still controlled without a store")
		}
		r.kill()
	})
}

func TestAnUncertainWriteIsLookedAtNotRepeated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", uncertain: 1}
		r := newRig(t, nil, false, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(5 * time.Second)
		if times, _ := d.log(); len(times) != 1 || r.c.Progress()["i1"].EchoAt.IsZero() {
			t.Errorf("%d writes, progress %+v: the register held it, reading back was enough", len(times), r.c.Progress()["i1"])
		}
		r.kill()
	})
}

func TestADeviceThatIgnoresIsSaidAndNotRewritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", ignores: true}
		r := newRig(t, nil, false, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(17 * time.Second)
		times, _ := d.log()
		if p := r.c.Progress()["i1"]; len(times) != 1 || p.Delivering == nil || *p.Delivering || !r.alarms.is("not_delivering bat") || p.EchoAt.IsZero() {
			t.Errorf("%d writes, progress %+v", len(times), p)
		}
		r.kill()
	})
}

func TestAForeignHandIsNoticedAndTheLeaseRenewed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(5 * time.Second)
		d.set(func(d *device) { d.told = nil })
		time.Sleep(7 * time.Second)
		if !d.controlled() || !r.alarms.ever("device_reverted bat") {
			t.Errorf("controlled %v: a device that fell back is told again", d.controlled())
		}
		r.kill()
	})
}

func TestALimitSetByOthersIsNotTouched(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", foreign: flex.Refuse(flex.ReasonLimitSetByOthers, "a cap of 40 %% stands")}
		r := newRig(t, nil, false, d)
		r.start()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(5 * time.Second)
		times, _ := d.log()
		if p := r.c.Progress()["i1"]; len(times) != 0 || p.MissingReason != flex.ReasonLimitSetByOthers {
			t.Errorf("%d writes, progress %+v", len(times), p)
		}
		d.set(func(d *device) { d.foreign = nil })
		time.Sleep(31 * time.Second)
		if !d.controlled() {
			t.Error("not controlled after the limit was taken back")
		}
		r.kill()
	})
}

func TestALostJournalBringsDevicesToNeutral(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := flex.Watts(3000)
		d := &device{id: "bat", stubborn: true, told: &w}
		r := newRig(t, nil, false, d)
		r.c.cfg.Lost = true
		if err := r.c.Recover(context.Background()); err != nil {
			t.Error(err)
		}
		r.start()
		time.Sleep(time.Second)
		defer r.kill()
		if d.controlled() || d.neutral != 1 || !r.alarms.is("journal_lost ") {
			t.Errorf("controlled %v, neutral %d", d.controlled(), d.neutral)
		}
	})
}

func TestShutdownHandsBackOrKeepsTheLease(t *testing.T) {
	for _, tc := range []struct {
		name              string
		release, stubborn bool
		controlled        bool
	}{{"a stop of the service releases", true, false, false}, {"a crash keeps the lease", false, false, true}, {"a crash releases what never falls back", false, true, false}} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := &device{id: "bat", stubborn: tc.stubborn}
				r := newRig(t, nil, false, d)
				r.start()
				r.board.change(func(b *board) {
					b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
				})
				time.Sleep(5 * time.Second)
				r.stop()
				if err := r.c.Shutdown(context.Background(), tc.release); err != nil {
					t.Error(err)
				}
				if d.controlled() != tc.controlled || r.journal.open("bat") != tc.controlled {
					t.Errorf("controlled %v, journal open %v", d.controlled(), r.journal.open("bat"))
				}
			})
		})
	}
}
