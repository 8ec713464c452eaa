package sunspec_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// line is the way to a plant, which can break after some writes.
type line struct {
	p      *makers.SunSpec
	writes int
	left   int // writes until it breaks; below 0: it holds
	how    string
}

func (l *line) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if r.Func != modbus.WriteMultiple {
		if l.left == 0 && l.how != "refused" {
			return modbus.Response{}, modbus.ErrNotSent
		}
		return l.p.Do(ctx, r)
	}
	l.writes++
	if l.left == 0 {
		if l.how == "refused" {
			return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.IllegalValue}
		}
		return modbus.Response{}, modbus.ErrNotSent
	}
	l.left--
	res, err := l.p.Do(ctx, r)
	if l.left == 0 && l.how == "lost" {
		return modbus.Response{}, modbus.ErrUncertain
	}
	return res, err
}

// orders are what an owner or another controller may have in force.
var owners = []struct {
	name  string
	model uint16
	at    map[int][]uint16
}{
	{"nothing in force", 0, nil},
	{"a battery that may not discharge", 124, map[int][]uint16{5: {2}, 12: {0}}},
	{"a battery that may not charge", 124, map[int][]uint16{5: {1}, 13: {0}}},
	{"a battery that may charge by a fifth", 124, map[int][]uint16{5: {3}, 12: {0, 2000}}},
	{"a battery forced to charge", 124, map[int][]uint16{5: {2}, 12: {word(-2000)}, 17: {1}}},
	{"a setpoint in watts", 704, map[int][]uint16{22: {1}, 23: {1}, 24: {0, 1200}}},
	{"a setpoint in per cent", 704, map[int][]uint16{22: {1}, 23: {0}, 28: {1500}}},
	{"a setpoint with a timer", 704, map[int][]uint16{22: {1}, 23: {1}, 24: {0, 800}, 26: {0, 300}, 31: {0, 3000}}},
}

// Whatever part of a take-over, a change or a hand-back comes through, the
// power lies between what it was and what it is to be, and a later process puts
// back what was found, orders of others included.
func TestEveryPartOfASequenceLeavesThePowerInBetween(t *testing.T) {
	for _, k := range kinds {
		if k.kind.Float || k.kind.MuteState || len(k.kind.Modules) == 5 || k.kind.Ports {
			continue // measured otherwise, written alike
		}
		for _, own := range owners {
			if own.model == 124 && !k.kind.Rates || own.model == 704 && (!k.kind.DER || k.kind.Found != nil && own.at[28] == nil) {
				continue
			}
			for _, state := range []string{"charging from full sun", "discharging beside some sun"} {
				for _, how := range []string{"killed", "lost", "refused"} {
					if how != "killed" && state == "charging from full sun" {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%s/%s", k.name, own.name, state, how), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							for step := range 3 {
								for n := 0; cut(t, k.kind, states[state], own.model, own.at, step, n, how); n++ {
								}
							}
						})
					})
				}
			}
		}
	}
}

// When the agent is gone a setpoint of its owner's is in force again, and a
// later process only has the timers to put back.
func TestWhatWasInForceIsSoAgainWhenTheAgentIsGone(t *testing.T) {
	for _, k := range kinds {
		for _, own := range owners {
			if own.model != 704 || !k.kind.DER || k.kind.Found != nil && own.at[28] == nil {
				continue
			}
			t.Run(k.name+"/"+own.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := plantOf(k.kind, states["discharging beside some sun"])
					for off, words := range own.at {
						p.Order(704, off, words...)
					}
					time.Sleep(5 * time.Second)
					w := watch(t, p, flex.RoleHybrid)
					before := w.ac()
					w.take()
					w.hold(set(4000), 10*time.Second)
					w.restart() // as the process before had it
					w.sample()
					w.hold(set(4000), 10*time.Second)
					time.Sleep(70 * time.Second)
					if ac := w.ac(); math.Abs(ac-before) > w.slack {
						t.Errorf("it gave %.0f W, and %.0f W without the agent", before, ac)
					}
					w.restart()
					w.free()
				})
			})
		}
	}
}

// cut breaks one step after n writes; false when it has no more.
func cut(t *testing.T, k makers.SunSpecKind, f flows, model uint16, own map[int][]uint16, step, n int, how string) bool {
	p := plantOf(k, f)
	for off, words := range own {
		p.Order(model, off, words...)
	}
	time.Sleep(5 * time.Second)
	w := watch(t, p, flex.RoleHybrid)
	l := &line{p: p, left: -1, how: how}
	again := func() *sunspec.Device { return open(t, l, w.cfg) }
	w.dev = again()
	free := w.ac()
	w.sample()
	w.take()
	targets := []flex.Watts{flex.Watts(free) + 900, flex.Watts(free) - 900}
	if targets[0] > 10000 {
		targets[0] = 9500
	}
	from, to := free, float64(targets[0])
	if step > 0 {
		w.hold(set(targets[0]), 40*time.Second)
		from, to = w.ac(), float64(targets[1])
	}
	if step > 1 {
		w.hold(set(targets[1]), 40*time.Second)
		from, to = w.ac(), free
	}
	l.left, l.writes = n, 0
	var err error
	if step == 2 {
		_, err = w.dev.Release(t.Context(), w.entry)
	} else {
		_, err = w.dev.Apply(t.Context(), set(targets[step]))
	}
	whole := l.writes <= n && err == nil
	low, high := math.Min(from, to)-w.slack, math.Max(from, to)+w.slack
	for range 40 {
		time.Sleep(100 * time.Millisecond)
		if ac := w.ac(); ac < low || ac > high {
			t.Errorf("step %d cut after %d writes: from %.0f to %.0f W, and it gives %.0f W", step, n, from, to, ac)
			break
		}
	}
	l.left = -1
	w.dev = again()
	w.free()
	time.Sleep(5 * time.Second)
	if ac := w.ac(); math.Abs(ac-free) > w.slack {
		t.Errorf("step %d cut after %d writes: it gave %.0f W before, and %.0f W after its hand-back", step, n, free, ac)
	}
	return !whole
}
