package control

import (
	"context"
	"fmt"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// run starts a rig with one dispatch of 5 kW on d, now and for an hour, and
// lets it settle for a while.
func run(t *testing.T, d *device, others ...*device) *rig {
	t.Helper()
	r := newRig(t, nil, false, append([]*device{d}, others...)...)
	r.start()
	r.board.change(func(b *board) {
		b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
	})
	time.Sleep(5*time.Second + 100*time.Millisecond)
	return r
}

func TestAStopCutsIntoAHangingWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := run(t, d)
		d.set(func(d *device) { d.stuck = true })
		r.board.change(func(b *board) { b.running[0].Shares[0].Power = 6000 })
		time.Sleep(time.Second)
		r.board.change(func(b *board) { b.running[0].StopAt = time.Now() })
		time.Sleep(cutAfter + 50*time.Millisecond)
		if p := r.c.Progress()["i1"]; d.controlled() || !p.Released {
			t.Errorf("controlled %v, progress %+v: not released within 150 ms", d.controlled(), p)
		}
		r.kill()
	})
}

func TestAHangingDeviceDelaysNoNeighbourOnItsUnit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := &device{id: "a", wire: "gw:502"}, &device{id: "b", wire: "gw:502"}
		r := run(t, a, b)
		b.set(func(d *device) { d.stuck = true })
		r.board.change(func(bd *board) {
			bd.running = append(bd.running, wants("i2", b, 3000, time.Now(), time.Now().Add(time.Hour)))
		})
		time.Sleep(time.Second)
		r.board.change(func(bd *board) { bd.running[0].StopAt = time.Now() })
		time.Sleep(cutAfter + 50*time.Millisecond)
		if a.controlled() {
			t.Error("the write that hangs on b delays the release of a")
		}
		r.kill()
	})
}

func TestAnUncertainWriteThatIsNotThereIsWrittenAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", vanish: 2}
		r := run(t, d)
		if times, _ := d.log(); len(times) != 1 || r.c.Progress()["i1"].EchoAt.IsZero() {
			t.Errorf("%d writes were taken, progress %+v", len(times), r.c.Progress()["i1"])
		}
		r.kill()
	})
}

func TestSomebodyElsesValueIsAnsweredAtTheRefreshAndNoSooner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := run(t, d)
		w := flex.Watts(1000)
		d.set(func(d *device) { d.told = &w })
		time.Sleep(8 * time.Second) // read back by now
		if times, _ := d.log(); len(times) != 1 || !r.alarms.is("foreign_write bat") {
			t.Errorf("%d writes, alarm %v: others' write is said and not fought", len(times), r.alarms.is("foreign_write bat"))
		}
		time.Sleep(10 * time.Second)
		if _, powers := d.log(); len(powers) != 2 || powers[1] != 5000 {
			t.Errorf("writes %v, want the lease renewed with 5000", powers)
		}
		time.Sleep(2 * time.Minute)
		if r.alarms.is("foreign_write bat") {
			t.Error("the alarm stays after a calm minute")
		}
		r.kill()
	})
}

func TestADeviceChangedByOthersIsLeftAloneAndTheEntryCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := run(t, d)
		d.set(func(d *device) { d.left = true })
		r.board.change(func(b *board) { b.running[0].StopAt = time.Now() })
		time.Sleep(time.Second)
		if p := r.c.Progress()["i1"]; !p.Released || len(p.Left) != 1 || r.journal.open("bat") || !r.alarms.is("foreign_write bat") {
			t.Errorf("progress %+v, journal open %v", p, r.journal.open("bat"))
		}
		r.kill()
	})
}

func TestAnUnsupportedOrderIsRefusedAndLeavesNothingOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", refuses: fmt.Errorf("negative rates: %w", flex.ErrUnsupported)}
		r := run(t, d)
		p := r.c.Progress()["i1"]
		if p.MissingReason != flex.ReasonUnsupported || p.Missing != 5000 || p.Engaged || !p.Released || r.journal.open("bat") {
			t.Errorf("progress %+v, journal open %v", p, r.journal.open("bat"))
		}
		r.kill()
	})
}

func TestAnotherDispatchTakesOverWithAProofOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		from := time.Now().Add(5 * time.Second)
		mid := from.Add(30 * time.Second)
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, from, mid), wants("i2", d, 5000, mid, mid.Add(time.Minute))}
		})
		time.Sleep(time.Until(mid) + 50*time.Millisecond)
		p1, p2 := r.c.Progress()["i1"], r.c.Progress()["i2"]
		if !p1.Released || p1.ReleasedAt.Before(mid) || !p2.EchoAt.Equal(mid) || !p2.FirstWrite.Equal(mid) || !p2.Engaged {
			t.Errorf("at the change: first %+v, second %+v", p1, p2)
		}
		r.kill()
	})
}

func TestWhatWasFoundIsJournaledAheadAndDroppedWhenTheStartIsCancelled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		from := time.Now().Add(90 * time.Second)
		r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, from, from.Add(time.Minute))} })
		time.Sleep(28 * time.Second)
		early := r.journal.open("bat")
		time.Sleep(4 * time.Second)
		if early || !r.journal.open("bat") {
			t.Errorf("journal open %v at 62 s, %v at 58 s before the start", early, r.journal.open("bat"))
		}
		if p := r.c.Progress()["i1"]; p.Engaged || !p.Released {
			t.Errorf("progress %+v: nothing was written", p)
		}
		r.board.change(func(b *board) { b.running = nil })
		time.Sleep(time.Second)
		if r.journal.open("bat") || len(d.intents) != 0 {
			t.Errorf("journal open %v, %d releases: nothing was written, the entry just closes", r.journal.open("bat"), len(d.intents))
		}
		r.kill()
	})
}

func TestAnEntryThatCannotBeWrittenDelaysNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := &device{id: "a"}, &device{id: "b"}
		r := newRig(t, nil, false, a, b)
		r.journal.bad = "a"
		r.start()
		now, end := time.Now(), time.Now().Add(time.Hour)
		r.board.change(func(bd *board) {
			bd.running = []flex.Dispatch{wants("i1", a, 5000, now, end), wants("i2", b, 3000, now, end)}
		})
		time.Sleep(time.Second)
		if a.controlled() || !b.controlled() {
			t.Errorf("a controlled %v, b controlled %v", a.controlled(), b.controlled())
		}
		r.journal.set(func(j *journal) { j.bad = "" })
		time.Sleep(2 * time.Second)
		if !a.controlled() {
			t.Error("a is not controlled although its entry can be written")
		}
		r.kill()
	})
}

// A cap that changes must never meet a journal that proves the old one: after
// a power cut it would look like somebody else's.
func TestAChangedCapIsUnprovenOnDiskBeforeItIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "pv", role: flex.RolePV, sun: 8000}
		r := newRig(t, nil, false, d)
		r.start()
		time.Sleep(70 * time.Second) // a minute of baseline
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, -3000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(5 * time.Second)
		if _, powers := d.log(); len(powers) != 1 || powers[0] != 5000 || len(r.journal.entry("pv").Intent) == 0 {
			t.Fatalf("caps %v, intent %v", powers, r.journal.entry("pv").Intent)
		}
		seen := -1
		d.set(func(d *device) { d.before = func() { seen = len(r.journal.entry("pv").Intent) } })
		r.board.change(func(b *board) { b.running[0].Shares[0].Power = -4000 })
		time.Sleep(time.Second)
		if _, powers := d.log(); len(powers) != 2 || powers[1] != 4000 || seen != 0 {
			t.Errorf("caps %v, intent on disk at the write has %d registers, want 0", powers, seen)
		}
		time.Sleep(time.Second)
		if len(r.journal.entry("pv").Intent) == 0 {
			t.Error("the proven cap is not journaled")
		}
		if p := r.c.Progress()["i1"]; p.Delivering == nil || !*p.Delivering {
			t.Errorf("progress %+v: a cap is met by less", p)
		}
		r.kill()

		next := newRig(t, r.journal, false, d)
		next.board.running = r.board.running
		if err := next.c.Recover(context.Background()); err != nil {
			t.Error(err)
		}
		next.start()
		time.Sleep(3 * time.Second)
		if _, powers := d.log(); powers[len(powers)-1] != 4000 {
			t.Errorf("caps %v: after a restart the baseline is that of before", powers)
		}
		next.kill()
	})
}

func TestACapDoesNotWaitForAHangingDiskForLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "pv", role: flex.RolePV, sun: 8000}
		r := newRig(t, nil, false, d)
		r.start()
		time.Sleep(70 * time.Second)
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, -3000, time.Now(), time.Now().Add(time.Hour))}
		})
		time.Sleep(5 * time.Second)
		hang := make(chan struct{})
		r.journal.set(func(j *journal) { j.hang = hang })
		r.board.change(func(b *board) { b.running[0].Shares[0].Power = -4000 })
		time.Sleep(clearAtMost + 100*time.Millisecond)
		if _, powers := d.log(); powers[len(powers)-1] != 4000 {
			t.Errorf("caps %v: the lower cap waits for the disk", powers)
		}
		r.journal.set(func(j *journal) { j.hang = nil })
		close(hang)
		r.kill()
	})
}

func TestADeviceThatIsNotConfiguredAnyMoreStaysOwed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, nil, false, &device{id: "bat"})
		r.journal.entries["gone"] = flex.JournalEntry{Device: "gone", For: []flex.InstructionID{"i0"}}
		_ = r.c.Recover(context.Background())
		if p := r.c.Progress()["i0"]; !p.Engaged || p.Released || !r.alarms.is("journal_orphan gone") || !r.journal.open("gone") {
			t.Errorf("progress %+v", p)
		}
	})
}

// A device that does not answer at the start stands in nobody's way, and is
// owed its release until it is back.
func TestADeviceThatIsAwayAtTheStartHoldsNothingUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d, other := &device{id: "bat", stubborn: true}, &device{id: "other"}
		r := run(t, d)
		r.kill()
		d.set(func(d *device) { d.deaf = true })
		next := newRig(t, r.journal, false, d, other)
		next.board.running = []flex.Dispatch{wants("i2", other, 3000, time.Now(), time.Now().Add(time.Hour))}
		begun := time.Now()
		if err := next.c.Recover(context.Background()); err != nil {
			t.Error(err)
		}
		next.start()
		if took := time.Since(begun); took > 10*time.Millisecond {
			t.Errorf("it serves after %v", took)
		}
		time.Sleep(time.Second)
		if !other.controlled() {
			t.Error("the other device waits")
		}
		time.Sleep(time.Minute)
		if !next.alarms.is("release_owed bat") || !next.c.Status()[0].ReleaseOwed {
			t.Error("what is owed is not said")
		}
		d.set(func(d *device) { d.deaf = false })
		time.Sleep(16 * time.Second)
		if d.controlled() || next.journal.open("bat") {
			t.Error("not released after the device came back")
		}
		next.kill()
	})
}

// What an earlier process left is handed back before the device is told
// anything new, however early that is asked for.
func TestWhatWasLeftIsHandedBackBeforeAnythingNew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", stubborn: true, lag: 200 * time.Millisecond}
		r := run(t, d)
		r.kill()
		next := newRig(t, r.journal, false, d)
		next.board.running = []flex.Dispatch{wants("i2", d, -3000, time.Now(), time.Now().Add(time.Hour))}
		if err := next.c.Recover(context.Background()); err != nil {
			t.Error(err)
		}
		d.set(func(d *device) {
			d.reluctant = 2
			d.before = func() {
				if d.told != nil && *d.told != -3000 {
					t.Error("told anew with the old setpoint in force")
				}
			}
		})
		next.start()
		time.Sleep(8 * time.Second)
		if _, powers := d.log(); powers[len(powers)-1] != -3000 {
			t.Errorf("told %v", powers)
		}
		next.kill()
	})
}

// A process that starts just before a dispatch does: its first look at the
// device is not cut by the release of what its predecessor has prepared.
func TestAStartRightAfterTheProcessIsOnTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", lag: 150 * time.Millisecond}
		r := newRig(t, nil, false, d)
		r.start()
		time.Sleep(2 * time.Second)
		start := time.Now().Truncate(time.Second).Add(10 * time.Second)
		order := []flex.Dispatch{wants("i1", d, 5000, start, start.Add(time.Minute))}
		r.board.change(func(b *board) { b.running = order })
		time.Sleep(time.Until(start.Add(-700 * time.Millisecond)))
		r.kill()
		if !r.journal.open("bat") {
			t.Fatal("nothing is prepared")
		}
		next := newRig(t, r.journal, false, d)
		next.board.running = order
		if err := next.c.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		next.start()
		time.Sleep(5 * time.Second)
		times, _ := d.log()
		if len(times) == 0 || times[0].Sub(start) > 160*time.Millisecond {
			t.Errorf("told at %v after the start", times)
		}
		next.kill()
	})
}

func TestReadingsKeepClearOfTheStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", lag: 300 * time.Millisecond}
		r := newRig(t, nil, false, d)
		var quiet time.Time
		r.c.cfg.Quiet = func(_ flex.DeviceID, until time.Time) { quiet = until }
		r.start()
		start := time.Now().Add(10*time.Second + 450*time.Millisecond) // in the middle of a reading
		r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, start, start.Add(time.Minute))} })
		time.Sleep(time.Until(start) - time.Millisecond)
		d.set(func(d *device) {
			if d.reading {
				t.Error("a reading is on the wire when the dispatch begins")
			}
		})
		time.Sleep(time.Second)
		times, _ := d.log()
		if len(times) == 0 || !times[0].Equal(start.Add(d.lag)) || !quiet.Equal(start.Add(time.Minute)) {
			t.Errorf("written %v, start %v, quiet until %v", times, start, quiet)
		}
		r.kill()
	})
}

func TestWithoutReadingTheJournalNothingIsControlled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.journal.blind = true
		if err := r.c.Recover(context.Background()); err == nil {
			t.Error("Recover hides that the journal cannot be read")
		}
		r.board.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
		r.start()
		time.Sleep(10 * time.Second)
		if times, _ := d.log(); len(times) != 0 || !r.alarms.is("store_failing journal") {
			t.Errorf("%d writes", len(times))
		}
		r.journal.set(func(j *journal) { j.blind = false })
		time.Sleep(6 * time.Second)
		if !d.controlled() || r.alarms.is("store_failing journal") {
			t.Error("not controlled after the journal could be read")
		}
		r.kill()
	})
}

func TestShutdownEndsARunningController(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := run(t, d)
		if err := r.c.Shutdown(context.Background(), true); err != nil {
			t.Error(err)
		}
		if err := <-r.done; err != nil || d.controlled() || r.journal.open("bat") {
			t.Errorf("Run = %v, controlled %v, journal open %v", err, d.controlled(), r.journal.open("bat"))
		}
		if err := r.c.Run(context.Background()); err == nil {
			t.Error("control runs again after its shutdown")
		}
	})
}

func TestShutdownOfADeadDeviceEndsInTimeAndSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := run(t, d)
		d.set(func(d *device) { d.offline = true })
		r.stop()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.c.Shutdown(ctx, true); err == nil || !r.journal.open("bat") {
			t.Errorf("Shutdown = %v, journal open %v", err, r.journal.open("bat"))
		}
	})
}

func BenchmarkTick(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var devices []*device
			for i := range n {
				devices = append(devices, &device{id: flex.DeviceID(fmt.Sprintf("bat%02d", i))})
			}
			r := newRig(nil, nil, false, devices...)
			now := time.Now()
			for _, d := range devices {
				r.board.running = append(r.board.running, wants("i-"+string(d.id), d, 3000, now.Add(-time.Minute), now.Add(time.Hour)))
				r.c.byID[d.id].sample(context.Background())
			}
			r.c.known = true
			var p allocate.Planner
			r.c.cfg.Plan = p.Decide
			b.ReportAllocs()
			for b.Loop() {
				r.c.tick(now)
			}
		})
	}
}

// A device that falls back sooner than a lease ends says how often it wants its
// setpoint: it never falls back while it is dispatched.
func TestADeviceIsRefreshedAsOftenAsItWants(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", short: 10 * time.Second}
		r := run(t, d)
		for range 120 {
			if !d.controlled() {
				t.Fatal("it fell back in the middle of its window")
			}
			time.Sleep(500 * time.Millisecond)
		}
		if times, _ := d.log(); len(times) > 25 {
			t.Errorf("%d writes in a minute", len(times))
		}
		r.kill()
	})
}

// A device whose map says that it follows slowly is given its time.
func TestASlowDeviceIsGivenItsTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		quick, slow := &device{id: "quick", ignores: true}, &device{id: "slow", ignores: true, settle: time.Minute}
		r := run(t, quick, slow)
		r.board.change(func(b *board) {
			b.running = append(b.running, wants("i2", slow, 3000, time.Now(), time.Now().Add(time.Hour)))
		})
		time.Sleep(50 * time.Second)
		if !r.alarms.is("not_delivering quick") || r.alarms.ever("not_delivering slow") {
			t.Error("after 50 s: the quick one is to blame, the slow one is not")
		}
		time.Sleep(40 * time.Second)
		if !r.alarms.is("not_delivering slow") {
			t.Error("it has no more time than its map says")
		}
		r.kill()
	})
}
