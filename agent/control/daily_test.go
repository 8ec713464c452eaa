package control

import (
	"context"
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
)

// shelf keeps the days of a test.
type shelf struct{ list []flex.DayEnergy }

func (s *shelf) LoadDays() ([]flex.DayEnergy, error) { return slices.Clone(s.list), nil }
func (s *shelf) PutDays(l []flex.DayEnergy) error    { s.list = slices.Clone(l); return nil }

// Half a cycle a day: after 5 kWh nothing more is discharged, over a restart
// too, until the next day of the site begins.
func TestTheOwnersCyclesOfADay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		keep := &shelf{}
		life := func(j *journal, d *device) *rig {
			r := newRig(t, j, false, d)
			r.c.slots[0].set.Cycles = 50
			r.c.cfg.Days = keep
			if err := r.c.Recover(context.Background()); err != nil {
				t.Fatal(err)
			}
			return r
		}
		tomorrow := midnight(time.Now())
		time.Sleep(time.Until(tomorrow) - 2*time.Hour)
		d := &device{id: "b", energy: 10_000}
		r := life(nil, d)
		now := time.Now().UTC()
		order := []flex.Dispatch{wants("i", d, 5000, now, now.Add(8*time.Hour))}
		r.board.change(func(b *board) { b.running = order })
		r.start()
		time.Sleep(50 * time.Minute)
		if !d.controlled() || !r.alarms.is(CodeShortfallAhead+" i") {
			t.Errorf("controlled %v, announced %v", d.controlled(), r.alarms.is(CodeShortfallAhead+" i"))
		}
		r.kill()
		r = life(r.journal, d)
		r.board.change(func(b *board) { b.running = order })
		r.start()
		time.Sleep(9 * time.Minute)
		power := func() flex.Watts { return r.c.Plan().Targets[0].Power }
		if power() != 5000 {
			t.Errorf("a minute before the bound: %v", power())
		}
		time.Sleep(3 * time.Minute)
		if sf := r.c.Plan().Shortfall["i"]; power() != 0 || sf.Reason != flex.ReasonOwnerLimit {
			t.Errorf("beyond the bound: %v, %+v", power(), sf)
		}
		time.Sleep(time.Until(tomorrow.Add(time.Minute)))
		if power() != 5000 {
			t.Errorf("the next day: %v", power())
		}
		r.kill()
	})
}

func TestADayIsTheSites(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	d := &daily{zone: london, days: map[flex.DeviceID]*day{}}
	p, charge := flex.Watts(6000), flex.Watts(-6000)
	at := time.Date(2026, 6, 30, 22, 58, 0, 0, time.UTC) // 23:58 in London
	for i := range 5 {
		d.add(flex.Reading{Device: "b", At: at.Add(time.Duration(i) * time.Minute), Power: &p})
	}
	if got := d.discharged("b", at.Add(5*time.Minute)); got != 300 { // 23:00Z to 23:03Z
		t.Errorf("after midnight in London: %v Wh", int64(got))
	}
	last := at.Add(4 * time.Minute)
	d.add(flex.Reading{Device: "b", At: last.Add(time.Hour), Power: &p})
	d.add(flex.Reading{Device: "b", At: last.Add(time.Hour + time.Minute), Power: &charge})
	d.add(flex.Reading{Device: "b", At: last.Add(time.Hour + 2*time.Minute)})
	if got := d.discharged("b", last.Add(2*time.Hour)); got != 300 {
		t.Errorf("a gap, charging and an empty reading counted: %v Wh", int64(got))
	}
}
