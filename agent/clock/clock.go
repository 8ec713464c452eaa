// Package clock knows how far the wall clock may be trusted, and stamps facts
// so that they can still be judged after a restart.
//
// In: the kernel's clock and its synchronisation state, the boot id,
// CLOCK_BOOTTIME, a floor below which the wall clock is surely wrong, and what
// time servers say where some are listed. Out: an instant with its trust, and
// why; beside it a steady time that no step of the clock moves. What others'
// dates say is told to people and decides nothing. It never steps a clock; for
// waiting, use package time directly.
package clock

import (
	"sync"
	"time"

	"flexd/agent/flex"
)

// Source is where the raw facts come from; System reads the kernel.
type Source interface {
	// Now reads the machine's wall clock.
	Now() time.Time
	// Synced tells whether the kernel's clock is disciplined (adjtimex).
	Synced() bool
	// Boot gives the boot id and the time since boot, suspend included.
	Boot() (id string, since time.Duration)
}

// Wall is the wall clock with its trust. It is safe for concurrent use.
type Wall struct {
	src Source

	mu     sync.Mutex
	floor  time.Time
	least  flex.Stamp    // when the floor was set: true time has gone on since
	anchor flex.Stamp    // the latest synchronised reading of this boot
	proof  *proof        // nil: no time servers, or they never agreed
	heard  *heard        // nil: nobody said a date yet
	epoch  time.Time     // when this was built, with its monotonic reading
	ahead  time.Duration // of the wall clock before the steady one, by steps since
}

// New builds a wall clock that is untrusted below floor: the build time, or
// the last time stored, whichever is later.
func New(src Source, floor time.Time) *Wall {
	w := &Wall{src: src, floor: floor.UTC(), epoch: time.Now().UTC()}
	w.least = w.read()
	return w
}

// Raise lifts the floor, for instance by the last time found in the store.
// It never lowers it.
func (w *Wall) Raise(floor time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if floor.After(w.floor) {
		w.floor, w.least = floor.UTC(), w.read()
	}
}

// Now is the current instant in UTC and how far to trust it.
func (w *Wall) Now() (time.Time, flex.ClockTrust) {
	s := w.Stamp()
	return s.At, s.Clock
}

// Stamp is Now with the boot it was read in.
func (w *Wall) Stamp() flex.Stamp {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stamp()
}

// stamp reads and judges; w.mu is held. The kernel must vouch for its clock
// before and after the reading: it is stepped and vouched for at once.
func (w *Wall) stamp() flex.Stamp {
	s, _ := w.both()
	return s
}

// both is stamp with the steady time of the same reading; w.mu is held.
func (w *Wall) both() (flex.Stamp, time.Time) {
	synced := w.src.Synced()
	s, steady := w.readings()
	synced = w.src.Synced() && synced
	off, proven := w.offset(s)
	switch {
	case s.At.Before(w.floor), proven && off.Abs() > wrongBy:
		s.Clock = flex.ClockUntrusted
	case synced:
		s.Clock = flex.ClockSynced
		w.anchor = s
	case w.astray(s).Abs() > wrongBy:
		s.Clock = flex.ClockUntrusted
	default:
		s.Clock = flex.ClockHoldover
	}
	return s, steady
}

// anchorLife is how long after the last synchronisation the time since boot
// speaks against a wall clock that was stepped: a crystal drifts by seconds a
// day.
const anchorLife = 24 * time.Hour

// astray is how far the wall clock was stepped since the kernel called it
// synchronised last; w.mu is held. By itself it only drifts together with the
// time since boot: whoever moves it without vouching for it proves it wrong.
func (w *Wall) astray(s flex.Stamp) time.Duration {
	a := w.anchor
	if a.At.IsZero() || a.Boot != s.Boot || s.Since-a.Since > anchorLife {
		return 0
	}
	return s.Line().Sub(a.Line())
}

// coherent is how far apart the two readings of a stamp may lie, and tries how
// often they are taken again: a pause of the process between them would look
// like a step of the clock.
const (
	coherent = 2 * time.Millisecond
	tries    = 5
)

// read takes the wall clock and the time since boot as at one instant.
func (w *Wall) read() flex.Stamp {
	s, _ := w.readings()
	return s
}

// readings takes the steady time as well.
func (w *Wall) readings() (s flex.Stamp, steady time.Time) {
	for range tries {
		boot, before := w.src.Boot()
		s = flex.Stamp{At: w.src.Now().UTC(), Boot: boot, Since: before}
		steady = w.Steady()
		if _, after := w.src.Boot(); after-before <= coherent {
			break
		}
	}
	return s, steady
}

// Reached is an instant, in UTC, that the true time has reached for certain:
// now while the kernel's clock is synchronised, else the latest such reading
// of this boot, or the floor, and the time since boot that has passed since.
// What is kept or thrown away for ever goes by it: a clock that nobody
// disciplines may jump years ahead.
func (w *Wall) Reached() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stamp()
	from, at := w.least, w.floor
	if a := w.anchor; !a.At.IsZero() && a.Boot == s.Boot {
		from, at = a, a.At
	}
	if from.Boot == s.Boot {
		at = at.Add(max(0, s.Since-from.Since))
	}
	if at.Before(w.floor) {
		at = w.floor
	}
	return at.UTC()
}

// Certificates is the instant, in UTC, at which certificates are judged: now,
// or the floor while the clock is below it. A machine that starts in 1970 can
// so reach its market and broker, and no certificate that had ended by the
// floor becomes good again.
func (w *Wall) Certificates() time.Time {
	now := w.src.Now().UTC()
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.floor) {
		return w.floor
	}
	return now
}
