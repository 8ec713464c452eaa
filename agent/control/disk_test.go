package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
)

// fleet is n devices that one dispatch takes together.
func fleet(n int) []*device {
	out := make([]*device, n)
	for i := range out {
		out[i] = &device{id: flex.DeviceID(fmt.Sprintf("bat%02d", i)), lag: time.Duration(1+i%7) * time.Millisecond}
	}
	return out
}

// all is a dispatch of every device.
func all(id string, devices []*device, w flex.Window) flex.Dispatch {
	d := flex.Dispatch{ID: flex.InstructionID(id), Window: w}
	for _, dev := range devices {
		d.Shares = append(d.Shares, flex.AssetShare{Asset: asset(dev), Power: 4000})
	}
	return d
}

func TestOneCommitForAllDevicesOfABoundary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		devices := fleet(64)
		for _, d := range devices {
			d.arm = &flex.Register{Addr: 57348, Words: []uint16{4}, Name: "control_mode", Persistent: true}
		}
		counts := &ledger{}
		r := newRig(t, nil, false, devices...)
		r.c.wear.budget = counts
		r.start()
		start := time.Now().Add(2 * time.Minute)
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{all("i1", devices, flex.Window{Start: start, End: start.Add(3 * time.Minute)})}
		})
		time.Sleep(7 * time.Minute)
		for _, d := range devices {
			if times, _ := d.log(); len(times) == 0 || d.controlled() || r.journal.open(d.id) {
				t.Fatalf("%s: written %d times, controlled %v, open %v", d.id, len(times), d.controlled(), r.journal.open(d.id))
			}
		}
		if r.journal.commits != 3 { // found, told, handed back
			t.Errorf("%d commits", r.journal.commits)
		}
		if len(counts.list) != 64 || counts.adds != 2 { // armed, and disarmed
			t.Errorf("%d counts kept in %d goes", len(counts.list), counts.adds)
		}
		r.kill()
	})
}

// A commit is two syncs. However long they take, windows that are known ahead
// begin on time, also right after one another.
func TestStartsAreOnTimeWhateverTheDisk(t *testing.T) {
	for _, sync := range []time.Duration{100 * time.Millisecond, 400 * time.Millisecond} {
		t.Run(sync.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				devices := fleet(64)
				r := newRig(t, nil, false, devices...)
				r.journal.takes = 2 * sync
				r.start()
				defer r.others()()
				first := time.Now().Add(30 * time.Second).Truncate(time.Second)
				var starts []time.Time
				r.board.change(func(b *board) {
					for i := range 8 {
						w := flex.Window{Start: first.Add(time.Duration(i) * 6 * time.Second)}
						w.End = w.Start.Add(5 * time.Second)
						starts = append(starts, w.Start)
						b.running = append(b.running, all(fmt.Sprint("i", i), devices, w))
					}
				})
				time.Sleep(2 * time.Minute)
				var late []time.Duration
				for _, d := range devices {
					times, _ := d.log()
					for _, at := range starts {
						i := slices.IndexFunc(times, func(w time.Time) bool { return !w.Before(at) })
						if i < 0 {
							t.Fatalf("%s was not told at %v", d.id, at)
						}
						late = append(late, times[i].Sub(at))
					}
				}
				slices.Sort(late)
				if p99 := late[len(late)*99/100]; p99 > 20*time.Millisecond {
					t.Errorf("p99 %v late, at most %v", p99, late[len(late)-1])
				}
				r.kill()
			})
		})
	}
}

// others commit all the time, and take the journal along.
func (r *rig) others() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, 10*time.Millisecond) {
			if ch, told := r.c.Unwritten(); !ch.Empty() {
				told(r.journal.Commit(ctx, ch))
			}
		}
	}()
	return func() { cancel(); <-done }
}

// While the disk hangs a device is controlled whose found state was journaled
// before, and no other: that is said.
func TestAHangingDiskHoldsUpOnlyWhatWasNeverJournaled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := &device{id: "a"}, &device{id: "b"}
		r := newRig(t, nil, false, a, b)
		r.start()
		r.board.change(func(bd *board) {
			bd.running = []flex.Dispatch{wants("i1", a, 5000, time.Now().Add(50*time.Second), time.Now().Add(time.Hour))}
		})
		time.Sleep(5 * time.Second)
		hang := make(chan struct{})
		r.journal.set(func(j *journal) { j.hang = hang })
		r.board.change(func(bd *board) {
			bd.running = append(bd.running, wants("i2", b, 3000, time.Now().Add(45*time.Second), time.Now().Add(time.Hour)))
		})
		time.Sleep(48 * time.Second)
		if !a.controlled() || b.controlled() || !r.alarms.is("store_failing b") || r.alarms.is("store_failing a") {
			t.Errorf("a controlled %v, b controlled %v, said %v", a.controlled(), b.controlled(), r.alarms.on)
		}
		time.Sleep(time.Minute)
		if times, _ := a.log(); time.Since(times[len(times)-1]) > 20*time.Second || !a.controlled() {
			t.Error("a refresh waits for the disk")
		}
		r.journal.set(func(j *journal) { j.hang = nil })
		close(hang)
		time.Sleep(2 * time.Second)
		if !b.controlled() || r.alarms.is("store_failing b") {
			t.Errorf("the disk is back: b controlled %v, said %v", b.controlled(), r.alarms.on)
		}
		r.kill()
	})
}

// Whenever the process dies beside a slow disk, the next one hands back.
func TestAKillBesideASlowDiskHandsBack(t *testing.T) {
	for at := 28 * time.Second; at < 45*time.Second; at += 370 * time.Millisecond {
		bubble(t, func(t *testing.T) {
			devices := []*device{{id: "bat", stubborn: true}, {id: "pv", role: flex.RolePV, sun: 8000, stubborn: true}}
			r := newRig(t, nil, false, devices...)
			r.journal.takes = 800 * time.Millisecond
			r.start()
			start := time.Now().Add(30 * time.Second)
			r.board.change(func(b *board) {
				for i := range 3 {
					from := start.Add(time.Duration(i) * 5 * time.Second)
					id := fmt.Sprint("i", i)
					b.running = append(b.running, wants(id+"b", devices[0], 5000, from, from.Add(4*time.Second)), wants(id+"p", devices[1], -3000, from, from.Add(4*time.Second)))
				}
			})
			time.Sleep(at)
			r.kill()
			next := newRig(t, r.journal, false, devices...)
			if err := next.c.Recover(context.Background()); err != nil {
				t.Fatal(err)
			}
			next.start()
			time.Sleep(5 * time.Second)
			for _, d := range devices {
				if d.controlled() || next.journal.open(d.id) {
					t.Errorf("killed after %v: %s controlled %v, open %v", at, d.id, d.controlled(), next.journal.open(d.id))
				}
			}
			next.kill()
		})
	}
}

// What is on disk covers a device again only when it would be restored alike,
// and when nothing is on its way that would take it off.
func TestWhatIsOnDiskCoversADeviceAgain(t *testing.T) {
	found := func(words ...uint16) *flex.JournalEntry {
		return &flex.JournalEntry{Device: "a", Snapshot: flex.Snapshot{Device: "a", Serial: "s", Registers: []flex.Register{{Addr: 1, Words: words}}}}
	}
	for _, tc := range []struct {
		name    string
		kept    bool // for another dispatch
		closing bool // its end is on its way to the disk
		again   *flex.JournalEntry
		covered bool
	}{
		{"alike", false, false, found(7), true},
		{"another state", false, false, found(8), false},
		{"alike, but about to be closed", false, true, found(7), false},
		{"kept", true, false, found(7), true},
		{"kept, and another state", true, false, found(8), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, false, &device{id: "a"})
				b := r.c.byID["a"].book
				b.set(found(7), true)
				time.Sleep(time.Second)
				hang := make(chan struct{})
				r.journal.set(func(j *journal) { j.hang = hang })
				if !tc.kept {
					b.set(nil, tc.closing)
				}
				time.Sleep(gather / 2)
				b.set(tc.again, true)
				if b.covered() != tc.covered {
					t.Errorf("covered %v", b.covered())
				}
				close(hang)
				time.Sleep(time.Second)
				if !b.covered() || r.journal.entry("a").Snapshot.Registers[0].Words[0] != tc.again.Snapshot.Registers[0].Words[0] {
					t.Errorf("in the end covered %v by %v", b.covered(), r.journal.entry("a"))
				}
				r.c.end()
			})
		})
	}
}

// An entry that is kept for the next dispatch is closed when nothing comes of
// that.
func TestAnEntryIsNotKeptForNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		end := time.Now().Add(10 * time.Second)
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), end), wants("i2", d, 5000, end.Add(30*time.Second), end.Add(time.Minute))}
		})
		time.Sleep(9 * time.Second)
		d.set(func(d *device) { d.foreign = flex.Refuse(flex.ReasonLimitSetByOthers, "a cap of others") })
		time.Sleep(3 * time.Second)
		if d.controlled() || r.journal.open("bat") {
			t.Errorf("controlled %v, open %v", d.controlled(), r.journal.open("bat"))
		}
		r.kill()
	})
}

func TestAStartAMomentAheadIsNotHeldUpByCompany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		time.Sleep(5 * time.Second)
		start := time.Now().Add(gather / 2)
		r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, start, start.Add(time.Minute))} })
		time.Sleep(2 * gather)
		if times, _ := d.log(); len(times) == 0 || times[0].Sub(start) > 20*time.Millisecond {
			t.Errorf("told at %v, due at %v", times, start)
		}
		r.kill()
	})
}

// A cap right after another one: while the disk still names the old one as
// ours, the new one would look like somebody else's.
func TestACapRightAfterAnotherWaitsUntilTheDiskIsClear(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "pv", role: flex.RolePV, sun: 8000}
		r := newRig(t, nil, false, d)
		r.start()
		time.Sleep(70 * time.Second)
		start := time.Now().Add(time.Second)
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{wants("i1", d, -3000, start, start.Add(10*time.Second)), wants("i2", d, -5000, start.Add(10*time.Second+50*time.Millisecond), start.Add(time.Minute))}
		})
		time.Sleep(9 * time.Second)
		d.set(func(d *device) {
			d.before = func() {
				if e := r.journal.entry("pv"); len(e.Intent) > 0 {
					t.Errorf("written while the disk names %v", e.Intent)
				}
				d.before = nil
			}
		})
		time.Sleep(5 * time.Second)
		if _, powers := d.log(); powers[len(powers)-1] != 2500 || d.before != nil {
			t.Errorf("caps %v", powers)
		}
		r.kill()
	})
}

// The journal goes along with what others commit; what does not land, and what
// changes on the way, is committed by itself.
func TestTheJournalGoesAlong(t *testing.T) {
	entry := func(word uint16) *flex.JournalEntry {
		return &flex.JournalEntry{Device: "a", Snapshot: flex.Snapshot{Registers: []flex.Register{{Words: []uint16{word}}}}}
	}
	for _, tc := range []struct {
		name    string
		err     error
		changes bool
		commits int
	}{
		{"lands", nil, false, 0},
		{"does not land", errors.New("no"), false, 1},
		{"changes on the way", nil, true, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, nil, false, &device{id: "a"})
				b := r.c.byID["a"].book
				b.set(entry(1), false)
				ch, told := r.c.Unwritten()
				if again, _ := r.c.Unwritten(); len(ch.JournalOpen) != 1 || !again.Empty() {
					t.Errorf("given %v, and once more %v", ch, again)
				}
				if tc.changes {
					b.set(entry(2), true)
				}
				time.Sleep(2 * gather) // on its way
				if b.covered() || r.journal.commits != 0 {
					t.Errorf("covered %v, %d commits", b.covered(), r.journal.commits)
				}
				told(tc.err)
				time.Sleep(2 * gather)
				if !b.covered() || r.journal.commits != tc.commits || tc.changes && r.journal.entry("a").Snapshot.Registers[0].Words[0] != 2 {
					t.Errorf("covered %v, %d commits, %v", b.covered(), r.journal.commits, r.journal.entries)
				}
				r.c.end()
			})
		})
	}
}

// What may begin at once is looked at and journaled while it is decided, and
// forgotten when it does not come.
func TestAnExpectedDispatchFindsItsDeviceReady(t *testing.T) {
	for _, expected := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			d, other := &device{id: "bat", lag: 20 * time.Millisecond}, &device{id: "other"}
			r := newRig(t, nil, false, d, other)
			r.start()
			time.Sleep(5100 * time.Millisecond)
			r.journal.set(func(j *journal) { j.takes = 100 * time.Millisecond })
			if expected {
				r.c.Expect([]flex.AssetID{asset(d)})
			}
			time.Sleep(700 * time.Millisecond)
			if r.journal.open("bat") != expected || r.journal.open("other") {
				t.Errorf("expected %v: open %v, the other one %v", expected, r.journal.open("bat"), r.journal.open("other"))
			}
			start := time.Now()
			r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, start, start.Add(time.Minute))} })
			time.Sleep(time.Second)
			if times, _ := d.log(); len(times) == 0 || times[0].Sub(start) <= 40*time.Millisecond != expected {
				t.Errorf("expected %v: told at %v, begun at %v", expected, times, start)
			}
			r.c.Expect([]flex.AssetID{asset(other)})
			time.Sleep(expectFor - 100*time.Millisecond)
			ready := r.journal.open("other")
			time.Sleep(time.Second)
			if !ready || r.journal.open("other") || len(other.applies) != 0 {
				t.Errorf("ready %v, at the end open %v", ready, r.journal.open("other"))
			}
			r.kill()
		})
	}
}
