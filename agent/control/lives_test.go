package control

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

// A window that has moved is a new life, with an echo of its own at once. One
// that is known anew by a few milliseconds, as after a step of the wall clock,
// is the old one: nothing is written and no fact is lost.
func TestAWindowThatMovesIsProvenAnewAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "bat"}
		r := newRig(t, nil, false, d)
		r.start()
		defer r.kill()
		start := time.Now()
		move := func(by time.Duration) {
			r.board.change(func(b *board) {
				b.running = []flex.Dispatch{wants("i1", d, 5000, start.Add(by), start.Add(time.Hour))}
			})
		}
		move(0)
		time.Sleep(3 * time.Second)
		first := r.c.Progress()["i1"].EchoAt
		writes, _ := d.log()
		for n := range 12 { // it may wander far, bit by bit
			move(time.Duration(n) * 90 * time.Millisecond)
			time.Sleep(time.Second)
		}
		if again, _ := d.log(); len(again) != len(writes) || !r.c.Progress()["i1"].EchoAt.Equal(first) || first.IsZero() {
			t.Errorf("%d writes became %d, echo %v became %v", len(writes), len(again), first, r.c.Progress()["i1"].EchoAt)
		}
		moved := time.Now()
		move(-5 * time.Second)
		time.Sleep(100 * time.Millisecond)
		if echo := r.c.Progress()["i1"].EchoAt; echo.Before(moved) {
			t.Errorf("moved at %v, the echo is of %v", moved, echo)
		}
	})
}
