// Package clock knows how far the wall clock may be trusted, and stamps facts
// so that they can still be judged after a restart.
//
// In: the kernel's synchronisation state, the boot id, CLOCK_BOOTTIME and a
// floor below which the wall clock is surely wrong. Out: an instant with its
// trust. It never steps a clock and never waits; for waiting, use package
// time directly.
package clock

import (
	"sync"
	"time"

	"flexd/agent/flex"
)

// Source is where the raw facts come from; System reads the kernel.
type Source interface {
	// Synced tells whether the kernel's clock is disciplined (adjtimex).
	Synced() bool
	// Boot gives the boot id and the time since boot, suspend included.
	Boot() (id string, since time.Duration)
}

// Wall is the wall clock with its trust. It is safe for concurrent use.
type Wall struct {
	src Source

	mu    sync.Mutex
	floor time.Time
}

// New builds a wall clock that is untrusted below floor: the build time, or
// the last time stored, whichever is later.
func New(src Source, floor time.Time) *Wall { return &Wall{src: src, floor: floor} }

// Raise lifts the floor, for instance by the last time found in the store.
// It never lowers it.
func (w *Wall) Raise(floor time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if floor.After(w.floor) {
		w.floor = floor
	}
}

// Now is the current instant in UTC and how far to trust it.
func (w *Wall) Now() (time.Time, flex.ClockTrust) {
	now := time.Now().UTC()
	w.mu.Lock()
	below := now.Before(w.floor)
	w.mu.Unlock()
	switch {
	case below:
		return now, flex.ClockUntrusted
	case w.src.Synced():
		return now, flex.ClockSynced
	}
	return now, flex.ClockHoldover
}

// Certificates is the instant, in UTC, at which certificates are judged: now,
// or the floor while the clock is below it. A machine that starts in 1970 can
// so reach its market and broker, and no certificate that had ended by the
// floor becomes good again.
func (w *Wall) Certificates() time.Time {
	now := time.Now().UTC()
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.floor) {
		return w.floor.UTC()
	}
	return now
}

// Stamp is Now with the boot it was read in.
func (w *Wall) Stamp() flex.Stamp {
	at, trust := w.Now()
	boot, since := w.src.Boot()
	return flex.Stamp{At: at, Clock: trust, Boot: boot, Since: since}
}

// Fixed is a Source with constant answers, for tests.
type Fixed struct {
	IsSynced bool
	BootID   string
	Up       time.Duration
}

// Synced gives IsSynced.
func (f Fixed) Synced() bool { return f.IsSynced }

// Boot gives BootID and Up.
func (f Fixed) Boot() (string, time.Duration) { return f.BootID, f.Up }
