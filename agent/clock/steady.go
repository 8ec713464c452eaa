package clock

import (
	"time"

	"flexd/agent/flex"
)

// leastStep is how far the wall clock must move against the steady one to
// count as stepped.
const leastStep = 20 * time.Millisecond

// Steady is now by a clock that is never stepped: the wall clock's time when
// this process began and the time that has passed since, in UTC. As long as
// the wall clock was not stepped either, it is the wall clock's time. It
// carries the monotonic reading, so that ages are told by it.
func (w *Wall) Steady() time.Time { return w.epoch.Add(time.Since(w.epoch)) }

// Both is the stamp of now, and how far the wall clock was ahead of the steady
// one by steps when it was read.
func (w *Wall) Both() (now flex.Stamp, ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, steady := w.both()
	if d := now.At.Round(0).Sub(steady.Round(0)); (d - w.ahead).Abs() >= leastStep {
		w.ahead = d
		if d.Abs() < leastStep {
			w.ahead = 0
		}
	}
	return now, w.ahead
}
