package control

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/longtest"
)

// ledger is a store of counts that can fail.
type ledger struct {
	mu   sync.Mutex
	list []flex.Wear
	fail bool
	adds int
}

func (l *ledger) Load(context.Context) ([]flex.Wear, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail {
		return nil, errors.New("input/output error")
	}
	return slices.Clone(l.list), nil
}

func (l *ledger) Add(_ context.Context, more []flex.Wear) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail {
		return errors.New("no space left on device")
	}
	l.adds++
	l.list = summed(append(l.list, more...))
	return nil
}

func (l *ledger) set(fn func(*ledger)) { l.mu.Lock(); defer l.mu.Unlock(); fn(l) }

// thrifty is a device that is armed by a persistent register, and a rig that
// counts.
func thrifty(t *testing.T, keep *journal, l *ledger, d *device, limit int) *rig {
	d.arm = &flex.Register{Addr: 57348, Words: []uint16{4}, Name: "control_mode", Persistent: true, Budget: limit}
	r := newRig(t, keep, false, d)
	r.c.wear.budget = l
	return r
}

// count is today's count of the device's only register.
func (r *rig) count() int {
	if w := r.c.Status()[0].Wear; len(w) == 1 {
		return w[0].N
	}
	return -1
}

func (r *rig) order(id string, d *device, p flex.Watts) {
	r.board.change(func(b *board) {
		b.running = []flex.Dispatch{wants(id, d, p, time.Now(), time.Now().Add(48*time.Hour))}
	})
	time.Sleep(3 * time.Second)
}

func (r *rig) change(p flex.Watts) {
	r.board.change(func(b *board) { b.running[0].Shares[0].Power = p })
	time.Sleep(3 * time.Second)
}

func (r *rig) idle() {
	r.board.change(func(b *board) { b.running = nil })
	time.Sleep(3 * time.Second)
}

// lateInTheDay is an hour before midnight, when budgets begin anew.
func lateInTheDay() { time.Sleep(time.Until(midnight(time.Now())) - time.Hour) }

func TestADayOfRefreshesWritesAPersistentRegisterOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := thrifty(t, nil, &ledger{}, d, 100)
		r.start()
		r.order("i1", d, 5000)
		time.Sleep(longtest.Pick(2*time.Hour, 12*time.Hour))
		if times, _ := d.log(); d.armings != 1 || len(times) < longtest.Pick(333, 2000) {
			t.Errorf("%d armings in %d writes", d.armings, len(times))
		}
		r.kill()
	})
}

func TestASpentBudgetEndsControlButNeverARelease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		lateInTheDay()
		d := &device{id: "bat"}
		r := thrifty(t, nil, &ledger{}, d, 3)
		r.start()
		r.order("i1", d, 5000)
		r.idle()
		r.order("i2", d, 5000) // the third and last
		if !d.controlled() || r.count() != 3 || !r.alarms.is("write_budget bat") {
			t.Fatalf("controlled %v, count %d", d.controlled(), r.count())
		}
		time.Sleep(10 * time.Minute)
		if !d.controlled() {
			t.Error("refreshes that wear nothing out are held back")
		}
		r.idle()
		if d.controlled() || d.armings != 4 || r.count() != 4 {
			t.Errorf("controlled %v, %d writes, count %d: a release is exempt, and counted", d.controlled(), d.armings, r.count())
		}
		r.order("i3", d, 5000)
		p := r.c.Progress()["i3"]
		if d.controlled() || p.Missing != 5000 || p.MissingReason != flex.ReasonWriteBudget {
			t.Errorf("controlled %v, progress %+v", d.controlled(), p)
		}
		time.Sleep(time.Until(midnight(time.Now())) + 5*time.Second)
		if !d.controlled() || r.alarms.is("write_budget bat") {
			t.Errorf("controlled %v, alarm %v on the next day", d.controlled(), r.alarms.is("write_budget bat"))
		}
		r.kill()
	})
}

func TestASetpointThatIsKnownToWearNothingMayChangeAfterTheBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := thrifty(t, nil, &ledger{}, d, 1)
		r.start()
		r.order("i1", d, 5000)
		r.change(6000) // not known yet: handed back
		if d.controlled() {
			t.Error("a write that may wear out memory was not held back")
		}
		r.kill()

		d = &device{id: "bat"}
		r = thrifty(t, nil, &ledger{}, d, 2)
		r.start()
		r.order("i1", d, 5000)
		r.change(5500)
		r.c.wear.note("bat", []flex.Register{*d.arm}, 0, time.Now())
		r.change(6000)
		if _, powers := d.log(); !d.controlled() || powers[len(powers)-1] != 6000 {
			t.Errorf("writes %v", powers)
		}
		r.kill()
	})
}

func TestADeviceThatWearsWithEveryRefreshIsHandedBackAtItsBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat", forgets: true}
		r := thrifty(t, nil, &ledger{}, d, 20)
		r.start()
		r.order("i1", d, 5000)
		time.Sleep(time.Hour)
		if d.controlled() || r.count() != 21 {
			t.Errorf("controlled %v, count %d: want 20 writes and the release", d.controlled(), r.count())
		}
		r.kill()
	})
}

func TestCountsSurviveARestartAndAFailingStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &ledger{}
		d := &device{id: "bat"}
		r := thrifty(t, nil, l, d, 2)
		r.start()
		l.set(func(l *ledger) { l.fail = true })
		r.order("i1", d, 5000)
		r.idle()
		l.set(func(l *ledger) { l.fail = false })
		time.Sleep(10 * time.Second)
		r.kill()
		l.set(func(l *ledger) { l.fail = true })
		next := thrifty(t, r.journal, l, d, 2)
		if err := next.c.Recover(context.Background()); err != nil {
			t.Errorf("Recover = %v: counts that cannot be read hold up nothing", err)
		}
		next.start()
		time.Sleep(time.Second)
		if !next.alarms.is("store_failing write_budget") {
			t.Error("it is not said that the counts cannot be read")
		}
		l.set(func(l *ledger) { l.fail = false })
		time.Sleep(10 * time.Second)
		next.order("i2", d, 5000)
		if d.controlled() || next.count() != 2 || next.alarms.is("store_failing write_budget") {
			t.Errorf("controlled %v, count %d", d.controlled(), next.count())
		}
		next.kill()
	})
}

func TestCountsOfOtherDaysAreForgotten(t *testing.T) {
	now := time.Date(2025, 3, 4, 23, 59, 0, 0, time.UTC)
	w := &wear{counts: map[worn]*flex.Wear{}}
	reg := flex.Register{Addr: 7, Persistent: true}
	w.note("bat", []flex.Register{reg, {Addr: 8}}, 2, now)
	w.note("bat", []flex.Register{reg}, 2, now)
	if _, spent := w.spent("bat", now); !spent || len(w.of("bat", now)) != 1 {
		t.Errorf("counts %+v", w.of("bat", now))
	}
	if _, spent := w.spent("bat", now.Add(time.Minute)); spent {
		t.Error("a new day begins with an old count")
	}
	w.note("bat", []flex.Register{reg}, 2, now.Add(2*time.Minute))
	if len(w.counts) != 1 || midnight(now) != now.Add(time.Minute) {
		t.Errorf("%d counters, midnight %v", len(w.counts), midnight(now))
	}
}
