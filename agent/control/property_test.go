package control

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"flexd/agent/flex"
)

// TestWhateverHappensEveryDeviceIsReleased runs random faults, orders and
// kills. The devices check that no write comes without an open journal.
func TestWhateverHappensEveryDeviceIsReleased(t *testing.T) {
	for seed := range uint64(30) {
		bubble(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			a, b := &device{id: "a", stubborn: true, lag: 5 * time.Millisecond}, &device{id: "b", stubborn: seed%2 == 0}
			devices := []*device{a, b}
			r := newRig(t, nil, false, a, b)
			r.start()
			for range 40 {
				d := devices[rng.IntN(2)]
				switch rng.IntN(11) {
				case 0, 1, 2:
					from := time.Now().Add(time.Duration(rng.IntN(5000)) * time.Millisecond)
					p := flex.Watts(rng.IntN(16000) - 8000)
					r.board.change(func(bd *board) {
						bd.running = []flex.Dispatch{wants("i", d, p, from, from.Add(time.Duration(rng.IntN(30))*time.Second))}
					})
				case 3:
					d.set(func(d *device) { d.offline = !d.offline })
				case 8:
					d.set(func(d *device) { d.deaf = !d.deaf })
				case 9:
					d.set(func(d *device) { d.vanish, d.stuck = rng.IntN(2), !d.stuck })
				case 10:
					r.board.change(func(bd *board) {
						for i := range bd.running {
							bd.running[i].StopAt = time.Now()
						}
					})
				case 4:
					d.set(func(d *device) { d.uncertain = rng.IntN(3) })
				case 5:
					r.board.change(func(bd *board) { bd.holds = map[bool][]flex.Hold{true: {{By: "x"}}}[rng.IntN(2) == 0] })
				case 6:
					r.journal.mu.Lock()
					r.journal.fail = rng.IntN(2) == 0
					r.journal.mu.Unlock()
				case 7:
					r.kill()
					keep := r.board.running
					r = newRig(t, r.journal, false, a, b)
					r.board.running = keep
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					_ = r.c.Recover(ctx)
					cancel()
					r.start()
				}
				time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
			}
			for _, d := range devices {
				d.set(func(d *device) { d.offline, d.deaf, d.stuck = false, false, false })
			}
			r.journal.mu.Lock()
			r.journal.fail = false
			r.journal.mu.Unlock()
			r.board.change(func(bd *board) { bd.running = nil })
			time.Sleep(2 * time.Minute)
			for _, d := range devices {
				if d.controlled() || r.journal.open(d.id) {
					t.Errorf("seed %d: %s controlled %v, journal open %v", seed, d.id, d.controlled(), r.journal.open(d.id))
				}
			}
			r.kill()
		})
	}
}
