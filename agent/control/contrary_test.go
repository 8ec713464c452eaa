package control

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
)

// shame is a store of distrusts that can fail.
type shame struct {
	mu   sync.Mutex
	list []flex.Distrust
	fail bool
}

func (s *shame) LoadDistrusts() ([]flex.Distrust, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return nil, errors.New("input/output error")
	}
	return slices.Clone(s.list), nil
}

func (s *shame) PutDistrusts(list []flex.Distrust) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errors.New("no space left on device")
	}
	s.list = slices.Clone(list)
	return nil
}

func (s *shame) kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// still is a battery of which nothing is asked.
func still(time.Time) flex.Watts { return 0 }

// One that does the opposite, or more, is handed back within 5 s and stays so:
// for the dispatch, for the next, over a restart, until somebody allows it.
func TestADeviceThatDoesTheContraryIsHandedBackForGood(t *testing.T) {
	for _, tc := range []struct {
		name   string
		gives  func(flex.Watts) flex.Watts
		asked  flex.Watts
		denies bool
	}{
		{"the opposite", func(w flex.Watts) flex.Watts { return -w }, 5000, false},
		{"the opposite of charging", func(w flex.Watts) flex.Watts { return -2 * w }, -2200, false},
		{"the opposite, and its driver says that it does not act", func(w flex.Watts) flex.Watts { return -w }, 5000, true},
		{"sixteen times as much", func(w flex.Watts) flex.Watts { return 16 * w }, 500, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d, book := &device{id: "bat", own: still, gives: tc.gives, denies: tc.denies}, &shame{}
				r := newRig(t, nil, false, d)
				r.c.cfg.Distrusts = book
				r.start()
				time.Sleep(3 * time.Second)
				r.board.change(func(b *board) {
					b.running = []flex.Dispatch{wants("i1", d, tc.asked, time.Now(), time.Now().Add(time.Hour))}
				})
				time.Sleep(5 * time.Second)
				if d.controlled() || !r.alarms.is("contrary_power bat") {
					t.Fatalf("after 5 s controlled %v, alarm %v", d.controlled(), r.alarms.is("contrary_power bat"))
				}
				time.Sleep(10 * time.Minute)
				times, _ := d.log()
				p := r.c.Progress()["i1"]
				if len(times) > 1 || r.journal.open("bat") || p.MissingReason != flex.ReasonContraryPower || len(p.Failed) != 1 || p.Engaged {
					t.Errorf("%d writes, journal open %v, progress %+v", len(times), r.journal.open("bat"), p)
				}
				r.kill()

				next := newRig(t, r.journal, false, d)
				next.c.cfg.Distrusts = book
				if err := next.c.Recover(context.Background()); err != nil {
					t.Fatal(err)
				}
				next.start()
				defer next.kill()
				next.order("i2", d, tc.asked)
				time.Sleep(time.Minute)
				if times, _ := d.log(); len(times) > 1 || next.journal.open("bat") || !next.alarms.is("contrary_power bat") {
					t.Errorf("after a restart %d writes, alarm %v", len(times), next.alarms.is("contrary_power bat"))
				}
				d.set(func(d *device) { d.gives, d.denies = nil, false })
				if next.c.Resume("bat", time.Now().Add(-time.Hour)) || !next.c.Resume("bat", time.Now()) {
					t.Error("what is newer than the proof is not resumed by it, what is older is")
				}
				time.Sleep(20 * time.Second)
				if !d.controlled() || next.alarms.is("contrary_power bat") || book.kept() != 0 {
					t.Errorf("resumed: controlled %v, alarm %v, kept %d", d.controlled(), next.alarms.is("contrary_power bat"), book.kept())
				}
			})
		})
	}
}

func TestWhoIsOnItsWayDoesNotTheContrary(t *testing.T) {
	at := func(w flex.Watts) func(time.Time) flex.Watts { return func(time.Time) flex.Watts { return w } }
	wild := func(now time.Time) flex.Watts { // self-consumption of a restless house
		return []flex.Watts{-3000, 1500, 4000, -500, 2500}[now.Unix()%5]
	}
	for _, tc := range []struct {
		name  string
		d     *device
		asked flex.Watts
		upset func(*rig, *device)
	}{
		{name: "a ramp", d: &device{own: still, rate: 100}, asked: 5000},
		{name: "a ramp from the opposite", d: &device{own: at(-5000), rate: 200}, asked: 5000},
		{name: "a ramp down", d: &device{own: at(8000), rate: 200}, asked: 500},
		{name: "the house moves it until it is told", d: &device{own: wild}, asked: 1000},
		{name: "it gives nothing", d: &device{own: still, gives: func(flex.Watts) flex.Watts { return 0 }}, asked: 5000},
		{name: "noise", d: &device{own: still, gives: func(w flex.Watts) flex.Watts { return w + 80 - flex.Watts(time.Now().UnixMilli()%160) }}, asked: 500},
		{name: "it was away and does what it likes", d: &device{own: at(-5000), rate: 500}, asked: 5000,
			upset: func(_ *rig, d *device) { d.set(func(d *device) { d.told = nil }) }},
		{name: "somebody else writes the opposite", d: &device{own: still}, asked: 5000,
			upset: func(_ *rig, d *device) { d.meddle(-5000) }},
		{name: "somebody else writes the opposite, and it ramps", d: &device{own: still, rate: 300}, asked: 5000,
			upset: func(_ *rig, d *device) { d.meddle(-5000) }},
		{name: "it says that it does not act", d: &device{denies: true, own: wild, gives: func(flex.Watts) flex.Watts { return wild(time.Now()) }}, asked: 1000},
		{name: "it begins to act late", d: &device{denies: true, own: at(-5000), settle: 30 * time.Second, rate: 500, gives: func(flex.Watts) flex.Watts { return -5000 }}, asked: 5000,
			upset: func(_ *rig, d *device) { d.set(func(d *device) { d.denies, d.gives = false, nil }) }},
		{name: "a new setpoint the other way", d: &device{own: still, rate: 500}, asked: 5000,
			upset: func(r *rig, _ *device) { r.board.change(func(b *board) { b.running[0].Shares[0].Power = -5000 }) }},
		{name: "a hybrid under clouds", d: &device{role: flex.RoleHybrid, own: still, shines: func(now time.Time) flex.Watts {
			return flex.Watts(now.Unix() / 7 % 2 * 6000)
		}}, asked: -2000},
		{name: "a hybrid in the morning", d: &device{role: flex.RoleHybrid, own: still, rate: 2000, shines: func(now time.Time) flex.Watts {
			return flex.Watts(now.Unix()-946684800) * 120
		}}, asked: 3000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := tc.d
				d.id = "bat"
				r := newRig(t, nil, false, d)
				r.start()
				defer r.kill()
				time.Sleep(20 * time.Second)
				r.board.change(func(b *board) {
					b.running = []flex.Dispatch{wants("i1", d, tc.asked, time.Now(), time.Now().Add(time.Hour))}
				})
				for n := range 60 {
					if n == 20 && tc.upset != nil {
						tc.upset(r, d)
					}
					time.Sleep(time.Second)
				}
				if r.alarms.ever("contrary_power bat") || !d.controlled() {
					t.Errorf("condemned %v, controlled %v", r.alarms.ever("contrary_power bat"), d.controlled())
				}
			})
		})
	}
}
