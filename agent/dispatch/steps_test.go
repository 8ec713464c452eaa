package dispatch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// tick is what happens to the clock, or to the process, at a second.
type tick struct {
	at      int
	step    time.Duration
	sync    string // "synced" or "unsynced": what the kernel says from now on
	restart bool   // of flexd, before the step
}

// row is one story of a clock: what the kernel says at first, what happens,
// and in which seconds the dispatch must have run.
type row struct {
	name, begin string
	ticks       []tick
	ran         string
	state       flex.State
}

func clockRows() (rows []row) {
	const whole = "10-70"
	var steps []time.Duration
	for _, by := range []time.Duration{time.Second, 3 * time.Second, 30 * time.Second, 5 * time.Minute, time.Hour, 26 * time.Hour, 9 * 365 * 24 * time.Hour} {
		steps = append(steps, by, -by)
	}
	for _, by := range steps {
		for _, says := range []string{"synced", "unsynced"} {
			name := fmt.Sprintf("%v by a clock that calls itself %s", by, says)
			rows = append(rows,
				row{"while it runs: " + name, "synced", []tick{{at: 30, step: by, sync: says}}, whole, flex.Completed},
				row{"while it runs, and back: " + name, "synced", []tick{{at: 20, step: by, sync: says}, {at: 50, step: -by, sync: "synced"}}, whole, flex.Completed},
				row{"twice: " + name, "synced", []tick{{at: 20, step: by, sync: says}, {at: 40, step: by, sync: says}}, whole, flex.Completed},
				row{"with a restart: " + name, "synced", []tick{{at: 30, restart: true, step: by, sync: says}}, whole, flex.Completed},
				row{"and a restart after it: " + name, "synced", []tick{{at: 30, step: by, sync: says}, {at: 45, restart: true}}, whole, flex.Completed},
				row{"begun in holdover, stepped in holdover: " + name, "unsynced", []tick{{at: 30, step: by}}, whole, flex.Completed})
		}
		if by.Abs() > 2*time.Second {
			rows = append(rows,
				row{fmt.Sprintf("before it begins, by nobody's word: %v", by), "synced", []tick{{at: 5, step: by, sync: "unsynced"}}, whole, flex.Completed},
				row{fmt.Sprintf("before it begins, and put right while it runs: %v", by), "synced",
					[]tick{{at: 5, step: by, sync: "unsynced"}, {at: 40, step: -by, sync: "synced"}}, whole, flex.Completed})
		}
	}
	rows = append(rows,
		row{"synchronised before it begins: its time is later", "unsynced", []tick{{at: 5, step: -20 * time.Second, sync: "synced"}}, "30-90", flex.Completed},
		row{"synchronised before it begins: its time is now", "unsynced", []tick{{at: 5, step: 20 * time.Second, sync: "synced"}}, "5-50", flex.Completed},
		row{"synchronised before it begins: its time is past", "unsynced", []tick{{at: 5, step: time.Hour, sync: "synced"}}, "", flex.Expired},
		row{"synchronised while it runs: it is later, and ends by that", "unsynced", []tick{{at: 30, step: 20 * time.Second, sync: "synced"}}, "10-50", flex.Completed},
		row{"synchronised while it runs: it is over", "unsynced", []tick{{at: 30, step: time.Hour, sync: "synced"}}, "10-30", flex.Completed},
		row{"synchronised while it runs: it is earlier, and ends as planned", "unsynced", []tick{{at: 30, step: -time.Hour, sync: "synced"}}, whole, flex.Completed},
		row{"synchronised while flexd is restarted: it is over", "unsynced", []tick{{at: 30, restart: true, step: time.Hour, sync: "synced"}}, "10-30", flex.Completed})
	return rows
}

// A dispatch of the minute from second 10 on, as the clock was when it was
// admitted: whatever is done to the clock, what has begun ends at the instant
// planned, runs once, and is told in full.
func TestAStepOfTheClockMovesNothing(t *testing.T) {
	for _, tc := range clockRows() {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			clocktest.Bubble(t, tc.play)
		})
	}
}

func (tc row) play(t *testing.T) {
	s := newStepped(t, tc.begin == "synced")
	defer s.end()
	s.take(soon("i", 10*time.Second), 1)
	ran := s.watch(tc.ticks, "i")["i"]
	rec, said := s.led.rec("i"), s.led.said("i")
	if ran != tc.ran || rec.State != tc.state {
		t.Errorf("ran %q and is %s; want %q and %s\nsaid %q\n%+v", ran, rec.State, tc.ran, tc.state, said, rec)
	}
	if strings.Contains(said, "owed") || strings.Count(said, "completed") > 1 {
		t.Errorf("said %q", said)
	}
	if tc.ran != "" && (rec.EchoAt.Before(rec.Window.Start) || rec.EchoAt.After(rec.Window.End) || rec.ReleasedAt.Before(rec.EchoAt)) {
		t.Errorf("its facts do not fit its window: %+v", rec)
	}
}

// stepped is a rig on a machine whose clock is stepped.
type stepped struct {
	*rig
	t       *testing.T
	machine *clocktest.Source
	floor   time.Time
}

func newStepped(t *testing.T, synced bool) *stepped {
	s := &stepped{t: t, machine: clocktest.New(synced)}
	time.Sleep(20 * 365 * 24 * time.Hour) // room to step back
	s.floor = time.Now().Add(-12 * 365 * 24 * time.Hour)
	s.start(newLedger())
	return s
}

func (s *stepped) start(led *ledger) {
	led.machine = s.machine
	s.rig = newRig(s.t, led, clock.New(s.machine, s.floor))
}

func (s *stepped) end() { s.rig.end() }

// watch plays the ticks, and gives the seconds in which each ran; a pause shows.
func (s *stepped) watch(ticks []tick, ids ...flex.InstructionID) map[flex.InstructionID]string {
	ran, first, last := map[flex.InstructionID]string{}, map[flex.InstructionID]int{}, map[flex.InstructionID]int{}
	for sec := range 150 {
		for _, k := range ticks {
			if k.at != sec {
				continue
			}
			if k.restart {
				s.rig.end()
			}
			s.machine.Adjust(k.step, k.sync == "synced" || k.sync == "" && s.machine.Synced())
			if k.restart {
				s.start(s.led)
			}
		}
		synctest.Wait()
		for _, id := range ids {
			on := slices.ContainsFunc(s.board.Running(), func(d flex.Dispatch) bool { return d.ID == id && d.Wants(time.Now()) })
			switch {
			case on && (last[id] != sec-1 || first[id] == 0):
				first[id], last[id] = sec, sec
			case on:
				last[id] = sec
			case first[id] != 0:
				ran[id] = strings.TrimSpace(fmt.Sprintf("%s %d-%d", ran[id], first[id], last[id]+1))
				first[id] = 0
			}
		}
		time.Sleep(time.Second)
	}
	return ran
}

// One that takes over does so once, whatever is done to the clock: nothing is
// given by both, and nothing by neither unless the clock has moved the heir.
func TestAStepOfTheClockKeepsTheOrderOfTwo(t *testing.T) {
	for _, tc := range []struct {
		name  string
		ticks []tick
		old   string // the seconds in which each must have run
		heir  string
	}{
		{"no step", nil, "10-40", "40-100"},
		{"ahead by nobody's word, and right again", []tick{{at: 20, step: time.Hour, sync: "unsynced"}, {at: 30, step: -time.Hour, sync: "synced"}}, "10-40", "40-100"},
		{"back by nobody's word, and right again", []tick{{at: 20, step: -time.Hour, sync: "unsynced"}, {at: 30, step: time.Hour, sync: "synced"}}, "10-40", "40-100"},
		{"ahead over the handing over", []tick{{at: 20, step: time.Hour, sync: "unsynced"}, {at: 60, step: -time.Hour, sync: "synced"}}, "10-40", "40-100"},
		{"back over the handing over, with a restart", []tick{{at: 20, step: -time.Hour, sync: "unsynced"}, {at: 60, restart: true, step: time.Hour, sync: "synced"}}, "10-40", "40-100"},
		{"after the handing over", []tick{{at: 45, step: -time.Hour, sync: "synced"}}, "10-40", "40-100"},
		{"synchronised ahead: the heir begins sooner", []tick{{at: 20, step: 10 * time.Second, sync: "synced"}}, "10-30", "30-90"},
		{"synchronised back: the heir begins later", []tick{{at: 20, step: -10 * time.Second, sync: "synced"}}, "10-40", "50-110"},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				s := newStepped(t, true)
				defer s.end()
				s.take(soon("old", 10*time.Second), 1)
				heir := soon("heir", 40*time.Second)
				s.take(heir, 2)
				ran := s.watch(tc.ticks, "old", "heir")
				if ran["old"] != tc.old || ran["heir"] != tc.heir {
					t.Errorf("ran %v, want %s and %s", ran, tc.old, tc.heir)
				}
				if old, heir := s.led.rec("old"), s.led.rec("heir"); old.State != flex.Superseded || heir.State != flex.Completed {
					t.Errorf("%s and %s\nsaid %q and %q", old.State, heir.State, s.led.said("old"), s.led.said("heir"))
				}
			})
		})
	}
}

// Any number of steps, of any size, vouched for or not, with restarts between:
// what a good clock began runs whole, once, and is told within its window.
func TestNoRowOfStepsMovesWhatHasBegun(t *testing.T) {
	for seed := range uint64(150) {
		clocktest.Bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s := newStepped(t, true)
			defer s.end()
			s.take(soon("i", 10*time.Second), 1)
			var ticks []tick
			for range 1 + r.IntN(6) {
				by := leastStep + time.Duration(r.Int64N(int64(math.Pow(10, 9+8*r.Float64()))))
				if r.IntN(2) == 0 {
					by = -by
				}
				ticks = append(ticks, tick{at: 11 + r.IntN(70), step: by, sync: []string{"synced", "unsynced", ""}[r.IntN(3)], restart: r.IntN(3) == 0})
			}
			slices.SortStableFunc(ticks, func(a, b tick) int { return a.at - b.at })
			ran := s.watch(ticks, "i")["i"]
			if rec := s.led.rec("i"); ran != "10-70" || rec.State != flex.Completed || rec.EchoAt.Before(rec.Window.Start) || rec.EchoAt.After(rec.Window.End) {
				t.Errorf("seed %d: %+v: ran %q, said %q\n%+v", seed, ticks, ran, s.led.said("i"), rec)
			}
		})
	}
}
