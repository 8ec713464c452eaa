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

// Both is the stamp of now, and how far the wall clock is ahead of the steady
// one by steps.
func (w *Wall) Both() (now flex.Stamp, ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range tries { // a pause between the two readings is no step
		d := w.src.Now().Round(0).Sub(w.Steady().Round(0))
		if (d - w.ahead).Abs() < leastStep {
			return w.stamp(), w.ahead
		}
		ahead = d
	}
	w.ahead = ahead
	if ahead.Abs() < leastStep {
		w.ahead = 0
	}
	return w.stamp(), w.ahead
}
