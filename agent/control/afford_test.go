package control

import (
	"fmt"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestExpense(t *testing.T) {
	for _, tc := range []struct {
		name      string
		e         expense
		cost, day int
		want      bool
	}{
		{"the first", expense{limit: 100}, 2, 0, true},
		{"the last", expense{limit: 100, spent: 40, promised: 58}, 2, 0, true},
		{"one too many", expense{limit: 100, spent: 40, promised: 60}, 2, 0, false},
		{"what costs nothing is always carried", expense{limit: 100, spent: 300}, 0, 0, true},
		{"a day costs so much, however many", expense{limit: 100, spent: 10, promised: 400}, 2, 22, true},
		{"and no more than is left", expense{limit: 20, spent: 10}, 2, 22, true},
		{"a day costs more than is left", expense{limit: 20, promised: 40}, 2, 22, false},
		{"it is spent", expense{limit: 100, spent: 100}, 2, 0, false},
	} {
		if got := tc.e.carries(tc.cost, tc.day); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// What is promised before counts; what the budget does not carry is refused
// before it is promised, and foreseen as missing in full.
func TestABudgetIsNotPromisedTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := thrifty(t, nil, &ledger{}, d, 20)
		d.tolls = []flex.Toll{{Register: flex.Register{Addr: 57348, Name: "control_mode", Budget: 20}, Dispatch: 2}}
		r.start()
		defer r.kill()
		time.Sleep(2 * time.Second)
		at := func(n int) flex.Dispatch {
			from := time.Now().Truncate(time.Hour).Add(time.Duration(n+1) * 20 * time.Minute)
			return wants(fmt.Sprint("i", n), d, 5000, from, from.Add(10*time.Minute))
		}
		n := 0
		for ; n < 60 && r.c.Afford(at(n)) == nil; n++ {
			r.board.change(func(b *board) { b.running = append(b.running, at(n)) })
		}
		if n != 10 {
			t.Errorf("%d dispatches of 2 writes are promised, the budget carries 10", n)
		}
		why := r.c.Afford(at(n))
		if f := r.c.Foresee(at(n)); why == nil || why.Reason != flex.ReasonWriteBudget || !f.Known || f.Missing != 5000 || f.Reason != flex.ReasonWriteBudget {
			t.Errorf("refused %v, foreseen %+v", why, f)
		}
		if why := r.c.Afford(at(n - 1)); why != nil {
			t.Errorf("its own promise counts twice: %v", why)
		}
		tomorrow := at(80)
		if why := r.c.Afford(tomorrow); why != nil {
			t.Errorf("on the next day: %v", why)
		}
		time.Sleep(4 * time.Hour) // all are carried out
		if times, _ := d.log(); d.armings != 20 || len(times) < 10 {
			t.Errorf("%d writes of 20 were made", d.armings)
		}
	})
}

// Where the driver does not tell, the last dispatch does.
func TestWhatADispatchCostsIsLearned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := thrifty(t, nil, &ledger{}, d, 3)
		r.start()
		defer r.kill()
		next := wants("i2", d, 5000, time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
		if why := r.c.Afford(next); why != nil {
			t.Errorf("nothing is known: %v", why)
		}
		r.order("i1", d, 5000)
		r.idle()
		if why := r.c.Afford(next); why == nil {
			t.Error("two of three are used, and the next takes two")
		}
	})
}

func TestTheAlarmOfASpentBudgetSurvivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		lateInTheDay()
		l, d := &ledger{}, &device{id: "bat"}
		r := thrifty(t, nil, l, d, 2)
		r.start()
		r.order("i1", d, 5000)
		r.idle()
		if !r.alarms.is("write_budget bat") {
			t.Error("the budget is not spent")
		}
		r.kill()
		next := thrifty(t, r.journal, l, d, 2)
		next.start()
		defer next.kill()
		time.Sleep(time.Second)
		if !next.alarms.is("write_budget bat") {
			t.Error("not told after a restart")
		}
		time.Sleep(time.Until(midnight(time.Now())) + 5*time.Second)
		if next.alarms.is("write_budget bat") {
			t.Error("not taken back on the next day")
		}
	})
}

// A device that cannot be held at 0 W in any state is not promised for it; what
// another device of its asset can do, or what is asked beside 0 W, is.
func TestWhatNoDeviceCanHoldIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		luna, other := &device{id: "luna", restless: true}, &device{id: "other"}
		r := newRig(t, nil, false, luna, other)
		r.start()
		defer r.kill()
		time.Sleep(2 * time.Second)
		from := time.Now().Add(time.Hour)
		ask := func(p flex.Watts) flex.Dispatch { return wants("i1", luna, p, from, from.Add(time.Hour)) }
		why := r.c.Afford(ask(0))
		if f := r.c.Foresee(ask(0)); why == nil || why.Reason != flex.ReasonUncontrollable || !f.Known || f.Reason != flex.ReasonUncontrollable {
			t.Errorf("refused %v, foreseen %+v", why, f)
		}
		counted := ask(0)
		counted.Baselines = []flex.Baseline{{Asset: asset(luna)}}
		for name, d := range map[string]flex.Dispatch{
			"1 W": ask(1), "counted from a baseline": counted, "one that can": wants("i1", other, 0, from, from.Add(time.Hour)),
		} {
			if why := r.c.Afford(d); why != nil {
				t.Errorf("%s: %v", name, why)
			}
		}
	})
	bubble(t, func(t *testing.T) {
		luna, other := &device{id: "luna", restless: true}, &device{id: "other"}
		r := newRig(t, nil, false, luna, other)
		r.c.cfg.Assets[0].Devices = append(r.c.cfg.Assets[0].Devices, "other")
		r.start()
		defer r.kill()
		time.Sleep(2 * time.Second)
		if why := r.c.Afford(wants("i1", luna, 0, time.Now(), time.Now().Add(time.Hour))); why != nil {
			t.Errorf("another device of the asset can: %v", why)
		}
	})
}
