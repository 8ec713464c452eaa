package control

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
)

// book keeps one device's journal entry as it should be on disk. Whoever sets
// it never waits: a goroutine of the book's own commits the latest state, and
// ends when there is nothing left to commit.
type book struct {
	id      flex.DeviceID
	journal Journal
	log     *slog.Logger
	life    context.Context // ends with the Controller
	owner   *sync.WaitGroup
	wake    func() // the reconciler: the disk has caught up

	mu      sync.Mutex
	want    *flex.JournalEntry
	version uint64 // of want
	opened  uint64 // version by which the entry, if any, was opened
	done    uint64 // version that is on disk
	writing bool
	failing time.Time // since when commits fail
}

// set replaces what should be on disk; nil closes the entry. It gives the
// version to wait for.
func (b *book) set(e *flex.JournalEntry) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.version++
	if e != nil {
		c := *e
		c.For, c.Intent = slices.Clone(e.For), slices.Clone(e.Intent)
		if b.want == nil || !b.want.Released.At.IsZero() {
			b.opened = b.version
		}
		e = &c
	}
	b.want = e
	if !b.writing {
		b.writing = true
		b.owner.Go(b.write)
	}
	return b.version
}

// found is the entry as the disk has it, at start.
func (b *book) found(e flex.JournalEntry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.want = &e
}

// covered tells whether an entry is open and on disk: only then may the
// device be written.
func (b *book) covered() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.want != nil && b.done >= b.opened
}

// reached tells whether a version is on disk.
func (b *book) reached(v uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done >= v
}

// settled tells whether everything is on disk.
func (b *book) settled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done == b.version
}

// failingSince is when commits began to fail, zero when they do not.
func (b *book) failingSince() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failing
}

// write commits until the disk has the latest state, or life ends.
func (b *book) write() {
	var wait time.Duration
	for {
		changes, version, more := b.next()
		if !more {
			return
		}
		err := b.journal.Commit(b.life, changes)
		if b.life.Err() != nil {
			b.stop()
			return
		}
		b.mu.Lock()
		if err == nil {
			b.done, b.failing, wait = version, time.Time{}, 0
		} else if b.failing.IsZero() {
			b.failing = time.Now()
			b.log.Error("cannot write the journal, no new control until it can", "device", b.id, "error", err)
		}
		b.mu.Unlock()
		b.wake()
		if err != nil && !sleep(b.life, grow(&wait, retryMin, retryMax)) {
			b.stop()
			return
		}
	}
}

func (b *book) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = false
}

// next is what to commit now.
func (b *book) next() (flex.Changes, uint64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done == b.version {
		b.writing = false
		return flex.Changes{}, 0, false
	}
	if b.want == nil {
		return flex.Changes{JournalClose: []flex.DeviceID{b.id}}, b.version, true
	}
	return flex.Changes{JournalOpen: []flex.JournalEntry{*b.want}}, b.version, true
}

// grow doubles a wait within bounds.
func grow(wait *time.Duration, lo, hi time.Duration) time.Duration {
	*wait = min(hi, max(lo, 2**wait))
	return *wait
}

// sleep waits and tells whether the time has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
