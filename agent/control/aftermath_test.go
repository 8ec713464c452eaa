package control

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"flexd/agent/flex"
)

// broken runs a dispatch of 5 kW for ten seconds, in which the connection
// breaks, and two seconds more.
func broken(t *testing.T, d *device, breaks bool) *rig {
	t.Helper()
	var count atomic.Uint64
	r := newRig(t, nil, false, d)
	r.c.cfg.Breaks = func(flex.DeviceID) uint64 { return count.Load() }
	r.start()
	end := time.Now().Add(10 * time.Second)
	r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), end)} })
	time.Sleep(5 * time.Second)
	if breaks {
		count.Add(1)
	}
	time.Sleep(5*time.Second + time.Millisecond)
	if d.controlled() || r.c.Status()[0].Held {
		t.Errorf("at the end controlled %v, held %v", d.controlled(), r.c.Status()[0].Held)
	}
	r.board.change(func(b *board) { b.running = nil })
	return r
}

// arrives is a write from the past. Nothing on the device ends it.
func (d *device) arrives(w flex.Watts) {
	d.set(func(d *device) { d.told, d.until, d.stubborn = &w, time.Now().Add(time.Hour), true })
}

// looked are the instants at which its registers were read back.
func (d *device) looked() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.verifies)
}

func TestRegistersAreReadAgainAfterABrokenConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, breaks := range []bool{false, true} {
			d := &device{id: "bat"}
			r := broken(t, d, breaks)
			released := time.Now().Add(time.Millisecond)
			time.Sleep(2 * time.Millisecond)
			time.Sleep(10 * time.Minute)
			var looks []time.Duration
			for _, at := range d.looked() {
				if at.After(released) {
					looks = append(looks, at.Sub(released).Round(time.Second))
				}
			}
			want := 0
			if breaks {
				want = 3
			}
			if len(looks) != want || breaks && (looks[0] != 2*time.Second || looks[1] != 10*time.Second || looks[2] != time.Minute) {
				t.Errorf("broken %v: looks at %v", breaks, looks)
			}
			if _, kept := r.journal.entries["bat"]; kept != breaks || r.c.Status()[0].Held {
				t.Errorf("broken %v: kept in the journal %v, held %v", breaks, kept, r.c.Status()[0].Held)
			}
			r.kill()
		}
	})
}

func TestAWriteThatArrivesAfterTheReleaseIsFoundAndUndone(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration
		d     *device
		ours  bool
		power flex.Watts // 0: as last told
	}{
		{"before the first look", time.Second, &device{}, true, 0},
		{"before the last look", 30 * time.Second, &device{}, true, 0},
		{"half an hour later", 30 * time.Minute, &device{}, true, 0},
		{"on a device that does not say whether it acts", 30 * time.Minute, &device{own: still}, true, 0},
		{"on one whose registers tell nothing", 30 * time.Minute, &device{own: still, mute: true}, true, 0},
		{"an older setpoint", 5 * time.Second, &device{}, true, 3000},
		{"somebody else's", 30 * time.Second, &device{}, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := tc.d
				d.id = "bat"
				r := broken(t, d, true)
				defer r.kill()
				time.Sleep(tc.after)
				d.arrives(cmp.Or(tc.power, 5000))
				d.set(func(d *device) { d.left = !tc.ours })
				time.Sleep(5 * time.Second)
				if tc.ours && (d.controlled() || !r.alarms.is("late_write bat")) {
					t.Errorf("controlled %v, alarm %v", d.controlled(), r.alarms.is("late_write bat"))
				}
				time.Sleep(2 * time.Minute)
				if r.alarms.is("late_write bat") || r.alarms.ever("late_write bat") != tc.ours || d.controlled() == tc.ours || r.journal.open("bat") {
					t.Errorf("alarm %v, ever %v, controlled %v, journal open %v", r.alarms.is("late_write bat"), r.alarms.ever("late_write bat"), d.controlled(), r.journal.open("bat"))
				}
			})
		})
	}
}

// What was released is watched by the next process too, and what the next
// process itself hands back was left by one whose connection is gone.
func TestAWriteFromThePastIsFoundAfterARestart(t *testing.T) {
	for _, tc := range []struct {
		name     string
		released bool
	}{{"released before", true}, {"released by the next process", false}} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := &device{id: "bat", stubborn: true}
				var r *rig
				if tc.released {
					r = broken(t, d, true)
					time.Sleep(time.Second)
				} else {
					r = newRig(t, nil, false, d)
					r.start()
					r.order("i1", d, 5000)
				}
				r.kill()
				if tc.released {
					d.arrives(5000)
				}
				next := newRig(t, r.journal, false, d)
				if err := next.c.Recover(context.Background()); err != nil {
					t.Fatal(err)
				}
				next.start()
				defer next.kill()
				time.Sleep(5 * time.Second)
				if !tc.released {
					d.arrives(5000)
					time.Sleep(5 * time.Second)
				}
				if d.controlled() || !next.alarms.is("late_write bat") {
					t.Errorf("controlled %v, alarm %v", d.controlled(), next.alarms.is("late_write bat"))
				}
			})
		})
	}
}

// What arrived late does not pass for what was found, when the next dispatch
// begins at once.
func TestAWriteFromThePastIsNotRestored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := broken(t, d, true)
		defer r.kill()
		time.Sleep(1500 * time.Millisecond)
		d.arrives(5000)
		r.order("i2", d, -3000)
		e := r.journal.entry("bat")
		if e.Snapshot.Controlled || !r.alarms.ever("late_write bat") {
			t.Errorf("found as controlled %v, told of %v", e.Snapshot.Controlled, r.alarms.ever("late_write bat"))
		}
		if _, powers := d.log(); powers[len(powers)-1] != -3000 || !d.controlled() {
			t.Errorf("writes %v", powers)
		}
		r.idle()
		if d.controlled() {
			t.Error("not handed back after it")
		}
	})
}

// One that ramps down from its setpoint, and whose registers tell nothing, does
// not take one from the past.
func TestASlowDeviceIsNotTakenForOneThatWasTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", own: still, mute: true, rate: 30}
		r := newRig(t, nil, false, d)
		var count atomic.Uint64
		r.c.cfg.Breaks = func(flex.DeviceID) uint64 { return count.Load() }
		r.start()
		defer r.kill()
		r.order("i1", d, 5000)
		time.Sleep(5 * time.Minute)
		count.Add(1)
		r.idle()
		time.Sleep(10 * time.Minute)
		if r.alarms.ever("late_write bat") {
			t.Error("taken for a late write")
		}
	})
}
