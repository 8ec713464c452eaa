package dispatch

import (
	"fmt"
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
			synctest.Test(t, tc.play)
		})
	}
}

func (tc row) play(t *testing.T) {
	led, machine := newLedger(), clocktest.New(tc.begin == "synced")
	led.machine = machine
	time.Sleep(20 * 365 * 24 * time.Hour) // room to step back
	floor := time.Now().Add(-12 * 365 * 24 * time.Hour)
	r := newRig(t, led, clock.New(machine, floor))
	defer func() { r.end() }()
	r.take(soon("i", 10*time.Second), 1)
	ran, first, last, begun := "", -1, -1, 0
	for s := range 120 {
		for _, k := range tc.ticks {
			if k.at != s {
				continue
			}
			if k.restart {
				r.end()
			}
			machine.Adjust(k.step, k.sync == "synced" || k.sync == "" && machine.Synced())
			if k.restart {
				r = newRig(t, led, clock.New(machine, floor))
			}
		}
		synctest.Wait()
		on := false
		for _, d := range r.board.Running() {
			on = on || d.Wants(time.Now())
		}
		if on && last != s-1 {
			begun++
		}
		if on {
			last = s
			if first < 0 {
				first = s
			}
		}
		time.Sleep(time.Second)
	}
	if first >= 0 {
		ran = fmt.Sprintf("%d-%d", first, last+1)
	}
	rec := led.rec("i")
	if ran != tc.ran || rec.State != tc.state || begun > 1 {
		t.Errorf("ran %q (begun %d times) and is %s; want %q and %s\nsaid %q\n%+v", ran, begun, rec.State, tc.ran, tc.state, led.said("i"), rec)
	}
	if said := led.said("i"); strings.Contains(said, "owed") || strings.Count(said, "completed") > 1 {
		t.Errorf("said %q", said)
	}
	if tc.ran != "" && (rec.EchoAt.Before(rec.Window.Start) || rec.EchoAt.After(rec.Window.End) || rec.ReleasedAt.Before(rec.EchoAt)) {
		t.Errorf("its facts do not fit its window: %+v", rec)
	}
}
