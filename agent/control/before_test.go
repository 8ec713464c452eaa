package control

import (
	"context"
	"testing"
	"time"

	"flexd/agent/flex"
)

// What a generator gave before its dispatch is known to the next process: what
// it cannot give stays missing.
func TestAKillDoesNotInventGeneration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "pv", role: flex.RolePV, sun: 3000}
		r := newRig(t, nil, false, d)
		if err := r.c.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.start()
		time.Sleep(70 * time.Second)
		now := time.Now().UTC()
		order := []flex.Dispatch{wants("i", d, -5000, now, now.Add(time.Hour))}
		r.board.change(func(b *board) { b.running = order })
		time.Sleep(5 * time.Second)
		if got := r.c.Plan().Shortfall["i"].Missing; got != 2000 || !d.controlled() {
			t.Fatalf("missing %v, controlled %v", got, d.controlled())
		}
		r.kill()
		r = newRig(t, r.journal, false, d)
		r.board.running = order
		if err := r.c.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.start()
		defer r.kill()
		time.Sleep(5 * time.Second)
		if got := r.c.Plan().Shortfall["i"].Missing; got != 2000 || !d.controlled() {
			t.Errorf("after a restart: missing %v, controlled %v", got, d.controlled())
		}
	})
}
