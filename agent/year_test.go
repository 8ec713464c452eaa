package agent_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
)

// The contracts of the year: working-day evenings, nights on which the clocks
// change too, and a service over midnight.
func contracts() []flex.Obligation {
	all := []time.Weekday{0, 1, 2, 3, 4, 5, 6}
	ob := func(id flex.ObligationID, d flex.Direction, w flex.Watts, days []time.Weekday, from, to time.Duration) flex.Obligation {
		return flex.Obligation{ID: id, Operator: "SPEN", Assets: []flex.AssetID{yearAsset}, Capacity: w, Direction: d, Zone: "Europe/London",
			StartDate: "2026-01-01", EndDate: "2027-01-02", Days: days, BankHolidays: true, StartTime: from, EndTime: to, MaxRuntime: 2 * time.Hour}
	}
	return []flex.Obligation{
		ob("peak", flex.Export, 14_000, all[1:6], 17*time.Hour, 21*time.Hour),
		ob("night", flex.Import, 12_000, all, time.Hour, 5*time.Hour),
		ob("late", flex.Export, 8_000, all, 22*time.Hour+30*time.Minute, 30*time.Minute),
	}
}

// The ways of the market and of the world, and how often.
var (
	kinds = []string{"plain", "plain", "plain", "repeated", "late", "stopped before", "stopped", "shortened", "lengthened", "resized",
		"superseded", "contended", "too much", "outside"}
	faults = []string{"none", "none", "none", "killed", "restarted", "away throughout", "device away", "answers lost", "writes lost", "held"}
)

// deed is something that happens at an instant.
type deed struct {
	at time.Time
	do func()
}

// TestAYear runs the deciding and controlling parts for a year on a plant and
// a disk of their own: more than three hundred dispatches with stops, changes,
// kills, outages, holds and failing devices, and at every second the plant is
// held against what the market and the site allow. Between two dispatches the
// process rests, so that each one is a restart as well.
func TestAYear(t *testing.T) {
	days := 365
	if underRace {
		days = 40
	}
	clocktest.Bubble(t, func(t *testing.T) {
		first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		time.Sleep(time.Until(first))
		w := newWorld(t)
		r := rand.New(rand.NewPCG(2026, 11))
		n := 0
		for d := range days {
			day := first.AddDate(0, 0, d)
			for _, ob := range contracts() {
				if r.IntN(10) > 3 {
					continue
				}
				service, err := dispatch.Windows(ob, day, day.AddDate(0, 0, 1))
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range service {
					if s.Start.After(time.Now().Add(time.Hour)) && s.Start.Before(day.AddDate(0, 0, 1)) {
						w.play(r, ob, s, fmt.Sprintf("d%d", n))
						n++
					}
				}
			}
		}
		w.sum(n)
	})
}

// play is one dispatch from before it is said until it is over.
func (w *world) play(r *rand.Rand, ob flex.Obligation, service flex.Window, name string) {
	length := time.Duration(180+r.IntN(720)) * time.Second
	start := service.Start.Add(time.Duration(r.Int64N(int64(service.End.Sub(service.Start)-length)/int64(time.Second))) * time.Second)
	end := start.Add(length)
	power := flex.Watts(100 * (15 + r.IntN(int(ob.Capacity)/100-15+1)))
	kind, fault := kinds[r.IntN(len(kinds))], faults[r.IntN(len(faults))]
	time.Sleep(time.Until(start.Add(-4 * time.Minute)))
	w.plant.look(func() {
		for _, c := range w.plant.cells {
			if c.energy > 0 {
				c.soc = 0.4 + 0.4*r.Float64()
			}
		}
	})
	w.scene = fmt.Sprintf("%s (%s, %s, %v to %v)", name, kind, fault, start.Format("15:04:05"), end.Format("15:04:05"))
	w.start()
	s := &script{w: w, ob: ob, id: flex.InstructionID(name), kind: kind, fault: fault, start: start, end: end, power: power}
	s.market()
	s.world(r)
	s.clock()
	slices.SortStableFunc(s.deeds, func(a, b deed) int { return a.at.Compare(b.at) })
	last := s.end.Add(90 * time.Second)
	for now := time.Now(); now.Before(last); now = time.Now() {
		for len(s.deeds) > 0 && !now.Before(s.deeds[0].at) {
			s.deeds[0].do()
			s.deeds = s.deeds[1:]
		}
		time.Sleep(time.Second)
		synctest.Wait()
		w.tick()
	}
	s.judge()
	if r.IntN(3) == 0 {
		w.kill()
	} else {
		w.stop()
	}
}

// script is one dispatch as the test wants it.
type script struct {
	w           *world
	ob          flex.Obligation
	id          flex.InstructionID
	kind, fault string
	start, end  time.Time
	power       flex.Watts
	deeds       []deed
	expect      []flex.State
	others      map[flex.InstructionID][]flex.State
	whole       bool // its energy counts
}

func (s *script) at(t time.Time, do func()) { s.deeds = append(s.deeds, deed{t, do}) }

func (s *script) offer(id flex.InstructionID, change func(*flex.Offer)) flex.Offer {
	in := flex.Instruction{ID: id, Revision: 1, HasRevision: true, Kind: flex.KindStart, Operator: "SPEN", Obligation: s.ob.ID, Assets: s.ob.Assets,
		Capacity: s.power, Direction: s.ob.Direction, Window: flex.Window{Start: s.start, End: s.end}}
	o := flex.Offer{Notification: flex.NotificationID("n-" + string(id)), Door: flex.DoorPoll, Instruction: in, Obligation: s.ob,
		Named: []flex.MarketAsset{{ID: yearAsset, Import: 15_000, Export: 15_000}}, Ours: s.ob.Assets}
	if change != nil {
		change(&o)
	}
	o.Instruction.Content = fmt.Sprintf("%s %d %v %v %v", id, o.Instruction.Revision, o.Instruction.Capacity, o.Instruction.Window, o.Instruction.Kind)
	return o
}

// asks books what the site owes.
func (s *script) asks(id flex.InstructionID, from, to time.Time) {
	s.w.asks[id] = &asking{Window: flex.Window{Start: from, End: to}, kind: s.kind, power: s.power * s.ob.Direction.Sign(), fault: s.fault}
}

// market plans what the market says, and what must come of it.
func (s *script) market() {
	said, mid := s.start.Add(-2*time.Minute), s.start.Add(s.end.Sub(s.start)/2).Truncate(time.Second)
	say := func(at time.Time, o flex.Offer) { s.at(at, func() { s.w.say(o) }) }
	one := s.offer(s.id, nil)
	revision := func(change func(*flex.Instruction)) flex.Offer {
		return s.offer(s.id, func(o *flex.Offer) { o.Instruction.Revision = 2; change(&o.Instruction) })
	}
	stop := s.offer("stop-"+s.id, func(o *flex.Offer) {
		o.Instruction.Kind, o.Instruction.Stops = flex.KindStop, []flex.InstructionID{s.id}
	})
	s.expect, s.others = []flex.State{flex.Completed}, map[flex.InstructionID][]flex.State{}
	from, to := s.start, s.end
	switch s.kind {
	case "plain":
		s.whole = true
	case "repeated":
		s.whole = true
		say(said.Add(time.Second), one)
		say(mid, one)
	case "late":
		said, s.whole = s.start.Add(30*time.Second), true
		from = said
	case "stopped before":
		say(s.start.Add(-30*time.Second), stop)
		s.expect, to = []flex.State{flex.Cancelled}, from
	case "stopped":
		say(mid, stop)
		s.expect, to = []flex.State{flex.Stopped}, mid
	case "shortened":
		to = mid.Add(30 * time.Second)
		say(mid, revision(func(in *flex.Instruction) { in.Window.End = to }))
	case "lengthened":
		s.end = s.end.Add(2 * time.Minute)
		to = s.end
		say(mid, revision(func(in *flex.Instruction) { in.Window.End = to }))
	case "resized":
		say(mid, revision(func(in *flex.Instruction) { in.Capacity /= 2 }))
	case "superseded":
		heir := s.offer("heir-"+s.id, func(o *flex.Offer) { o.Instruction.Window.Start = mid })
		say(mid.Add(-20*time.Second), heir)
		s.expect, s.others[heir.Instruction.ID] = []flex.State{flex.Superseded}, []flex.State{flex.Completed}
	case "contended":
		rival := s.offer("rival-"+s.id, func(o *flex.Offer) { o.Obligation.ID, o.Instruction.Obligation = "other", "other" })
		say(said.Add(5*time.Second), rival)
		s.others[rival.Instruction.ID] = []flex.State{flex.Refused}
	case "too much":
		one = s.offer(s.id, func(o *flex.Offer) { o.Instruction.Capacity = s.ob.Capacity + 10 })
		s.expect, to = []flex.State{flex.Refused}, from
	case "outside":
		one = s.offer(s.id, func(o *flex.Offer) { o.Instruction.Window.End = s.start.Add(5 * time.Hour) })
		s.expect, to = []flex.State{flex.Refused}, from
	}
	say(said, one)
	if to.After(from) {
		s.asks(s.id, from, to)
	}
}

// world plans what goes wrong.
func (s *script) world(r *rand.Rand) {
	w := s.w
	when := s.start.Add(time.Duration(r.Int64N(int64(s.end.Sub(s.start))))).Truncate(time.Second)
	back := when.Add(time.Duration(1+r.IntN(90)) * time.Second)
	bat := w.cell([]flex.DeviceID{"bat1", "bat2"}[r.IntN(2)])
	alive := func() {
		if w.proc == nil {
			w.start()
		}
	}
	s.whole = s.whole && s.fault == "none"
	switch s.fault {
	case "killed":
		s.at(when, w.kill)
		s.at(back, alive)
	case "restarted":
		s.at(when, w.stop)
		s.at(when.Add(2*time.Second), alive)
	case "away throughout":
		gone := s.start.Add(-time.Minute)
		s.at(gone, w.kill)
		s.at(s.end.Add(20*time.Second), alive)
		s.expect = append(s.expect, flex.Completed, flex.Expired, flex.Refused, flex.Superseded, flex.Cancelled)
		for id := range s.others {
			s.others[id] = append(s.others[id], flex.Expired, flex.Refused, flex.Completed)
		}
	case "device away":
		s.at(when, func() { w.plant.look(func() { bat.offline = true }) })
		s.at(back, func() { w.plant.look(func() { bat.offline, bat.back = false, time.Now() }) })
	case "answers lost":
		s.at(s.start.Add(-time.Second), func() { w.plant.look(func() { bat.murky = 1 + r.IntN(3) }) })
	case "writes lost":
		s.at(s.start.Add(-time.Second), func() { w.plant.look(func() { bat.vanish = 1 + r.IntN(3) }) })
	case "held":
		s.at(when, func() {
			w.held = time.Now()
			if err := w.proc.engine.Hold(context.Background(), flex.Hold{By: "ann"}); err != nil {
				w.t.Error(err)
			}
		})
		s.at(back, func() {
			w.held = time.Time{}
			if err := w.proc.engine.LiftHold(context.Background(), "", "ann"); err != nil {
				w.t.Error(err)
			}
		})
	}
}

// judge looks at the book and at the plant once all is over.
func (s *script) judge() {
	w := s.w
	if len(s.deeds) > 0 || w.proc == nil {
		w.t.Fatalf("%s (%s, %s) is not over", s.id, s.kind, s.fault)
	}
	s.others[s.id] = s.expect
	for id, want := range s.others {
		if rec := w.record(id); !slices.Contains(want, rec.State) {
			w.broke("%s (%s, %s) is %s (%s: %s), want %v", id, s.kind, s.fault, rec.State, rec.Reason, rec.Text, want)
		}
	}
	open, err := book{w.proc.db}.OpenRecords(context.Background())
	if err != nil || len(open) > 0 {
		w.broke("%d are open after %s (%s, %s): %v", len(open), s.id, s.kind, s.fault, err)
	}
	owed, err := w.proc.db.Journal(context.Background())
	owed = slices.DeleteFunc(owed, func(e flex.JournalEntry) bool { return !e.Released.At.IsZero() }) // watched, not owed
	if err != nil || len(owed) > 0 {
		w.broke("%d hand-backs are owed after %s (%s, %s): %v", len(owed), s.id, s.kind, s.fault, err)
	}
	key := s.kind + " / " + s.fault
	if w.rows == nil {
		w.rows = map[string]*row{}
	}
	x := w.rows[key]
	if x == nil {
		x = &row{name: key, states: map[flex.State]int{}}
		w.rows[key] = x
	}
	rec := w.record(s.id)
	x.n++
	x.states[rec.State]++
	if a := w.asks[s.id]; a != nil && s.whole && !rec.Has(flex.Partial) {
		asked := float64(a.power) * a.End.Sub(a.Start).Hours()
		x.asked, x.given = x.asked+asked*float64(s.ob.Direction.Sign()), x.given+a.wh*float64(s.ob.Direction.Sign())
		if share := a.wh / asked; share < 0.96 || share > 1.01 {
			w.broke("%s (%s) gave %.1f %% of its energy", s.id, s.kind, 100*share)
		}
	}
	delete(w.asks, s.id)
}

// sum is the year's table.
func (w *world) sum(n int) {
	if n < 300 && !underRace {
		w.t.Errorf("only %d dispatches", n)
	}
	total := row{name: "all", states: map[flex.State]int{}}
	var lines []string
	for _, x := range w.rows {
		lines = append(lines, x.text())
		total.n += x.n
		total.asked, total.given = total.asked+x.asked, total.given+x.given
		for s, c := range x.states {
			total.states[s] += c
		}
	}
	slices.SortFunc(lines, cmp.Compare)
	writes := 0
	for _, c := range w.plant.cells {
		writes += c.writes
	}
	w.t.Logf("%-34s %4s %5s %5s %5s %5s %5s %5s %9s %9s\n%s\n%s\n%d seconds checked, %d kills, %d orderly ends, %d steps of the clock, %d writes, %d broken rules",
		"what / fault", "n", "compl", "stopp", "canc", "super", "refus", "expir", "asked kWh", "given kWh",
		strings.Join(lines, "\n"), total.text(), w.tally.ticks, w.tally.kills, w.tally.stops, w.tally.steps, writes, w.tally.broken)
}
