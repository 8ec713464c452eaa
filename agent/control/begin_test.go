package control

import (
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
)

// A process that comes up shortly before a start lets the first reading of its
// devices go ahead: a line that is kept quiet for the start would put that
// reading off, and the start waits for it.
func TestTheFirstReadingIsNotPutOffByTheStart(t *testing.T) {
	for before := 100 * time.Millisecond; before <= 1500*time.Millisecond; before += 100 * time.Millisecond {
		bubble(t, func(t *testing.T) {
			const lag = 150 * time.Millisecond
			d := &device{id: "bat", lag: lag}
			r := newRig(t, nil, false, d)
			begun, start := time.Now(), time.Now().Add(before)
			var mu sync.Mutex
			var asked []time.Duration
			r.c.cfg.Quiet = func(_ flex.DeviceID, until time.Time) {
				mu.Lock()
				defer mu.Unlock()
				if until.Equal(start) {
					asked = append(asked, time.Since(begun))
				}
			}
			r.board.change(func(b *board) {
				b.running = []flex.Dispatch{wants("i1", d, 5000, start, start.Add(10*time.Second))}
			})
			r.start()
			defer r.kill()
			time.Sleep(5 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			read := 2 * lag // it is opened, and read
			if len(asked) > 0 && asked[0] < read {
				t.Errorf("%v before the start: quiet is asked for after %v, the device is read after %v", before, asked[0], read)
			}
			if before > read && len(asked) == 0 {
				t.Errorf("%v before the start: quiet is never asked for", before)
			}
			times, _ := d.log()
			if want := later(start, begun.Add(2*read)).Add(lag); len(times) == 0 || times[0].Sub(want) > 50*time.Millisecond {
				t.Errorf("%v before the start: told at %v, want by %v", before, times, want)
			}
		})
	}
}
