package control

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"flexd/agent/flex"
)

// The same target is renewed in time, whichever of the times that a device
// falls back after is the shortest.
func TestALeaseIsRenewedWellBeforeItEnds(t *testing.T) {
	for _, tc := range []struct {
		name     string
		lease    time.Duration
		measured time.Duration
		refresh  time.Duration
		follow   bool
		want     time.Duration
	}{
		{"a third of the lease, a little early", 60 * time.Second, 0, 0, false, 18 * time.Second},
		{"the lease of the configuration", 0, 0, 0, false, 18 * time.Second},
		{"half of what was measured", 60 * time.Second, 10 * time.Second, 0, false, 4500 * time.Millisecond},
		{"measured longer than told: the third counts", 60 * time.Second, time.Minute, 0, false, 18 * time.Second},
		{"as often as the device wants", 60 * time.Second, 0, time.Second, false, 900 * time.Millisecond},
		{"with every sample", 60 * time.Second, 0, 0, true, time.Second},
		{"sooner than a sample where it must", 60 * time.Second, 0, 300 * time.Millisecond, true, 300 * time.Millisecond},
	} {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.c.cfg.Standing = func(flex.DeviceID) Standing { return Standing{Revert: tc.measured} }
		s := r.c.byID["bat"]
		s.plate, s.reading = flex.Nameplate{Refresh: tc.refresh, Follow: tc.follow}, &flex.Reading{At: time.Now()}
		if got := s.refreshEvery(flex.Target{Revert: tc.lease}); got != tc.want {
			t.Errorf("%s: every %v, want %v", tc.name, got, tc.want)
		}
	}
}

// A device that takes longer to answer than the window lasts is not written in
// the moment after it, before the release has cut the conversation short.
func TestASlowConversationWritesNothingAfterTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		start := time.Now().Add(5 * time.Second)
		end := start.Add(3 * time.Second)
		r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, start, end)} })
		time.Sleep(time.Until(start) - 10*time.Millisecond)
		d.set(func(d *device) { d.lag = end.Sub(start) + cutAfter/2 })
		time.Sleep(10 * time.Second)
		if times, _ := d.log(); len(times) != 0 {
			t.Errorf("written %v after the end", times[0].Sub(end))
		}
		r.kill()
	})
}

// A new target is not kept waiting by the failures of the old one.
func TestANewTargetIsTriedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", refuses: errors.New("device failure")}
		r := run(t, d)
		s := r.c.byID["bat"]
		for paused := false; !paused; time.Sleep(10 * time.Millisecond) {
			s.mu.Lock()
			paused = time.Until(s.retryAt) > 3*time.Second
			s.mu.Unlock()
		}
		d.set(func(d *device) { d.refuses = nil })
		r.board.change(func(b *board) { b.running[0].Shares[0].Power = 4000 })
		time.Sleep(100 * time.Millisecond)
		if _, powers := d.log(); len(powers) != 1 || powers[0] != 4000 {
			t.Errorf("written %v within 0.1 s of the new target", powers)
		}
		r.kill()
	})
}

// What was refused before anything was sent leaves nothing to hand back; what
// was refused in the middle does.
func TestARefusalIsUndoneByWhatWasSent(t *testing.T) {
	no := flex.Refuse(flex.ReasonUnsupported, "not at this hour")
	for _, tc := range []struct {
		name     string
		device   *device
		releases bool
	}{
		{"nothing was sent", &device{id: "bat", refuses: no}, false},
		{"the first of two writes was", &device{id: "bat", half: no}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := tc.device
				r := run(t, d)
				if d.controlled() || r.c.Progress()["i1"].Engaged {
					t.Errorf("controlled %v, progress %+v", d.controlled(), r.c.Progress()["i1"])
				}
				d.set(func(d *device) {
					if (len(d.intents) > 0) != tc.releases {
						t.Errorf("%d releases on the wire", len(d.intents))
					}
				})
				r.kill()
			})
		})
	}
}

// Less than is told, by more than the tolerance of 5 %, is not delivery.
func TestADeviceIsJudgedByItsToleranceOnce(t *testing.T) {
	for gives, short := range map[flex.Watts]bool{4800: false, 4700: true, 5200: false, 5300: true} {
		bubble(t, func(t *testing.T) {
			d := &device{id: "bat", gives: func(flex.Watts) flex.Watts { return gives }}
			r := run(t, d)
			time.Sleep(20 * time.Second)
			if got := r.alarms.is("not_delivering bat"); got != short {
				t.Errorf("told 5000 W and giving %v: alarm %v", gives, got)
			}
			r.kill()
		})
	}
}

// A boundary that has just come, or comes within a millisecond, counts to the
// nanosecond, and time is never taken back.
func TestTheInstantOfABoundary(t *testing.T) {
	at := time.Date(2026, 1, 2, 16, 0, 0, 0, time.UTC)
	var now time.Time
	r := newRig(t, nil, false, &device{id: "bat"})
	r.c.cfg.Steady = func() time.Time { return now }
	for _, tc := range []struct {
		name     string
		now      time.Duration // after the boundary
		boundary bool
		want     time.Duration
	}{
		{"well before", -2 * time.Millisecond, true, -2 * time.Millisecond},
		{"the timer fired early", -time.Millisecond, true, 0},
		{"the clock was set back a little", -500 * time.Microsecond, false, 0},
		{"a little late", 3 * time.Millisecond, true, 0},
		{"no boundary", 4 * time.Millisecond, false, 4 * time.Millisecond},
		{"set back", time.Millisecond, false, 4 * time.Millisecond},
		{"long past", tickEvery, true, tickEvery},
	} {
		now = at.Add(tc.now)
		var boundary time.Time
		if tc.boundary {
			boundary = at
		}
		if got := r.c.instant(boundary).Sub(at); got != tc.want {
			t.Errorf("%s: %v after the boundary, want %v", tc.name, got, tc.want)
		}
	}
}

// A device that fell back when its lease was over did nothing wrong; before
// that somebody has switched our control off.
func TestALeaseLapsesWhenItIsOver(t *testing.T) {
	at := time.Date(2026, 1, 2, 16, 0, 0, 0, time.UTC)
	s := newRig(t, nil, false, &device{id: "bat"}).c.byID["bat"]
	s.proof.Refreshed = at
	for lease, want := range map[time.Duration]time.Duration{0: defaultLease, 10 * time.Second: 10 * time.Second} {
		s.told.Revert = lease
		if s.lapsed(at.Add(want-1)) || !s.lapsed(at.Add(want)) {
			t.Errorf("a lease of %v does not lapse after %v", lease, want)
		}
	}
}

// A dispatch is acting, proven and delivering only when all of its devices are.
func TestADispatchIsAsFarAsItsLastDevice(t *testing.T) {
	at := time.Date(2026, 1, 2, 16, 0, 0, 0, time.UTC)
	all := account{parts: 2, echoed: 2, speaking: 2, acting: 2, meeting: 2, written: 2, proven: 2,
		p: flex.Progress{EchoAt: at, ActingAt: at, DeliverAt: at}}
	for _, tc := range []struct {
		name                  string
		change                func(*account)
		echo, acting, deliver bool
	}{
		{"all", func(*account) {}, true, true, true},
		{"one has not taken its setpoint", func(a *account) { a.echoed = 1 }, false, true, true},
		{"one was written and never proven", func(a *account) { a.proven = 1 }, false, true, true},
		{"one says that it does not act", func(a *account) { a.acting = 1 }, true, false, true},
		{"one is not known to deliver", func(a *account) { a.meeting = 1 }, true, true, false},
	} {
		a := all
		tc.change(&a)
		p := a.close()
		if p.EchoAt.IsZero() == tc.echo || p.ActingAt.IsZero() == tc.acting || p.DeliverAt.IsZero() == tc.deliver {
			t.Errorf("%s: echo %v, acting %v, delivered %v", tc.name, p.EchoAt, p.ActingAt, p.DeliverAt)
		}
		if p.Delivering != nil != tc.deliver {
			t.Errorf("%s: delivering %v", tc.name, p.Delivering)
		}
	}
}

// More than was asked is not what was asked, unless the asset is free to give
// more.
func TestTooMuchIsMissedUnlessTheAssetIsFree(t *testing.T) {
	for _, free := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			d := &device{id: "bat", gives: func(flex.Watts) flex.Watts { return 5600 }}
			r := newRig(t, nil, false, d)
			r.c.cfg.Assets[0].Free = free
			r.start()
			r.board.change(func(b *board) {
				b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), time.Now().Add(time.Hour))}
			})
			time.Sleep(2 * time.Minute)
			if got := r.alarms.is(CodeNotDelivered + " asset-bat"); got == free {
				t.Errorf("free %v: alarm %v", free, got)
			}
			r.kill()
		})
	}
}

// A device that asks for pauses between requests takes longer to be handed back
// than others. That is said as owed only when it takes longer than that.
func TestASlowPaceIsNoDebt(t *testing.T) {
	for pace, owed := range map[time.Duration]bool{0: true, 8 * time.Second: false} {
		bubble(t, func(t *testing.T) {
			d := &device{id: "bat", lag: 6 * time.Second, pace: pace}
			r := newRig(t, nil, false, d)
			r.start()
			defer r.kill()
			end := time.Now().Add(2 * time.Minute)
			r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, time.Now(), end)} })
			time.Sleep(time.Minute)
			if got := r.c.Progress()["i1"].HandBack; !d.controlled() || got != pace {
				t.Errorf("told %v, a hand-back takes %v", d.controlled(), got)
			}
			time.Sleep(time.Until(end) + 30*time.Second)
			if d.controlled() || r.alarms.ever("release_owed bat") != owed {
				t.Errorf("pace %v: still told %v, alarm %v", pace, d.controlled(), r.alarms.ever("release_owed bat"))
			}
		})
	}
}

// In the first moments of a process nothing is missing yet: the device has not
// been looked at.
func TestNothingIsMissingBeforeTheFirstLook(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := run(t, d)
		r.kill()
		d.set(func(d *device) { d.lag = 150 * time.Millisecond })
		next := newRig(t, r.journal, false, d)
		next.board.running = r.board.running
		if err := next.c.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		next.start()
		for range 60 {
			time.Sleep(20 * time.Millisecond)
			if p := next.c.Progress()["i1"]; p.Missing != 0 || len(p.Failed) > 0 {
				t.Fatalf("missing while it is looked at: %+v", p)
			}
		}
		time.Sleep(5 * time.Second)
		if p := next.c.Progress()["i1"]; p.Delivering == nil || !*p.Delivering {
			t.Errorf("not delivering afterwards: %+v", p)
		}
		next.kill()
	})
}

// A device that is made ready for a dispatch is not under control yet.
func TestWhatIsOnlyMadeReadyIsNotHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		start := time.Now().Add(30 * time.Second)
		r.board.change(func(b *board) { b.running = []flex.Dispatch{wants("i1", d, 5000, start, start.Add(time.Minute))} })
		time.Sleep(20 * time.Second)
		if got := r.c.Status()[0].Held; got || !r.journal.open("bat") {
			t.Errorf("journal open %v, held %v before the start", r.journal.open("bat"), got)
		}
		time.Sleep(time.Until(start) + time.Second)
		if !r.c.Status()[0].Held {
			t.Error("not held in its window")
		}
		r.kill()
	})
}

// Where windows follow one another second by second, the line is never free for
// long enough; the device is read all the same, before its last reading is old.
func TestBoundariesInARowDoNotKeepADeviceUnread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", lag: 600 * time.Millisecond}
		r := newRig(t, nil, false, d)
		r.start()
		time.Sleep(5 * time.Second)
		first := time.Now().Truncate(time.Second).Add(5 * time.Second)
		r.board.change(func(b *board) {
			for i := range 120 {
				start := first.Add(time.Duration(i) * time.Second)
				b.running = append(b.running, wants(fmt.Sprint("i", i), d, 5000, start, start.Add(time.Second)))
			}
		})
		time.Sleep(time.Until(first))
		for range 120 {
			time.Sleep(time.Second)
			if age := r.c.Status()[0].ReadingAge.Duration(); age > 15*time.Second {
				t.Fatalf("not read for %v", age)
			}
		}
		r.kill()
	})
}
