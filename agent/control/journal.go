package control

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// gather is how long an entry that nobody waits for waits for others.
const gather = 500 * time.Millisecond

// keeper takes the books to the disk: all that have changed, in one commit.
// Whoever changes one never waits; a goroutine of the keeper's own commits, and
// ends when there is nothing left to commit.
type keeper struct {
	journal Journal
	log     *slog.Logger
	life    context.Context // ends with the Controller
	owner   *sync.WaitGroup
	now     chan struct{} // somebody waits

	mu      sync.Mutex
	books   []*book
	due     time.Time // of the next commit
	writing bool
}

// book is one device's journal entry as it should be on disk.
type book struct {
	id   flex.DeviceID
	k    *keeper
	wake func() // the reconciler: the disk has caught up

	// Guarded by the keeper's lock.
	want    *flex.JournalEntry
	version uint64             // of want
	opened  uint64             // version by which the entry, if any, was opened
	done    uint64             // version that is on disk
	disk    *flex.JournalEntry // the open entry that is certainly on disk
	sending bool               // a commit is under way
	failing time.Time          // since when commits fail
}

func newKeeper(life context.Context, journal Journal, log *slog.Logger, owner *sync.WaitGroup) *keeper {
	return &keeper{journal: journal, log: log, life: life, owner: owner, now: make(chan struct{}, 1)}
}

func (k *keeper) add(id flex.DeviceID, wake func()) *book {
	b := &book{id: id, k: k, wake: wake}
	k.books = append(k.books, b)
	return b
}

// set replaces what should be on disk; nil closes the entry. It gives the
// version to wait for. An entry for which somebody waits is committed at once.
func (b *book) set(e *flex.JournalEntry, waits bool) uint64 {
	k := b.k
	k.mu.Lock()
	defer k.mu.Unlock()
	b.version++
	if e != nil {
		c := *e
		c.For, c.Intent = slices.Clone(e.For), slices.Clone(e.Intent)
		if b.want == nil || !b.want.Released.At.IsZero() || !sameFound(b.want.Snapshot, c.Snapshot) {
			b.opened = b.version
			if b.disk != nil && !b.sending && sameFound(b.disk.Snapshot, c.Snapshot) {
				b.opened = b.done // it never left the disk
			}
		}
		e = &c
	}
	b.want = e
	k.begin()
	if waits {
		poke(k.now)
	}
	return b.version
}

// begin has what is open committed soon; the lock is held.
func (k *keeper) begin() {
	if at := time.Now().Add(gather); !k.writing || k.due.After(at) {
		k.due = at
	}
	if !k.writing && k.life.Err() == nil {
		k.writing = true
		k.owner.Go(k.write)
	}
}

// sameFound tells whether two snapshots would be restored alike.
func sameFound(a, b flex.Snapshot) bool {
	return a.Endpoint == b.Endpoint && a.Unit == b.Unit && a.Serial == b.Serial && a.Map == b.Map && a.Controlled == b.Controlled &&
		slices.EqualFunc(a.Registers, b.Registers, sameRegister)
}

// found is the entry as the disk has it, at start.
func (b *book) found(e flex.JournalEntry) {
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	b.want = &e
	b.landed(page{b, &e, b.version}, nil)
}

// landed notes what became of a commit; the lock is held. After one that
// failed nobody knows what is on disk.
func (b *book) landed(p page, err error) {
	b.sending, b.disk = false, nil
	if err != nil {
		if b.failing.IsZero() {
			b.failing = time.Now()
			b.k.log.Error("cannot write the journal, no new control until it can", "device", b.id, "error", err)
		}
		return
	}
	b.done, b.failing = p.version, time.Time{}
	if p.want != nil && p.want.Released.At.IsZero() {
		b.disk = p.want
	}
}

// covered tells whether an entry is open and on disk: only then may the
// device be written.
func (b *book) covered() bool {
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	return b.want != nil && b.done >= b.opened
}

// stale tells whether the disk names a setpoint that is not ours any more.
func (b *book) stale() bool {
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	return b.done < b.version && b.disk != nil && len(b.disk.Intent) > 0
}

// reached tells whether a version is on disk.
func (b *book) reached(v uint64) bool {
	b.k.mu.Lock()
	defer b.k.mu.Unlock()
	return b.done >= v
}

// settled tells whether everything is on disk.
func (k *keeper) settled() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !slices.ContainsFunc(k.books, func(b *book) bool { return b.done != b.version })
}

// hurry commits at once what waits for company.
func (k *keeper) hurry() { poke(k.now) }

// failingSince is when commits began to fail, zero when they do not.
func (k *keeper) failingSince() (since time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.books {
		since = sooner(since, b.failing)
	}
	return since
}

// write commits until the disk has the latest state, or life ends.
func (k *keeper) write() {
	var wait time.Duration
	for k.gathered() {
		err := k.commit(k.take())
		if err == nil {
			wait = 0
			continue
		}
		if k.life.Err() != nil || !sleep(k.life, grow(&wait, retryMin, retryMax)) {
			break
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writing = false
}

// gathered waits until something must be committed, and tells whether there is.
func (k *keeper) gathered() bool {
	for {
		k.mu.Lock()
		open := slices.ContainsFunc(k.books, (*book).open)
		left := time.Until(k.due)
		k.writing = open
		k.mu.Unlock()
		if !open || k.life.Err() != nil {
			return false
		}
		if left <= 0 {
			return true
		}
		t := time.NewTimer(left)
		select {
		case <-k.life.Done():
		case <-t.C:
		case <-k.now:
			t.Stop()
			return true
		}
	}
}

// page is one book on its way to the disk.
type page struct {
	of      *book
	want    *flex.JournalEntry
	version uint64
}

// open tells that a book is to be committed; the lock is held.
func (b *book) open() bool { return b.done != b.version && !b.sending }

// take gives all that is not on disk nor on its way.
func (k *keeper) take() []page {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []page
	for _, b := range k.books {
		if b.open() {
			b.sending = true
			out = append(out, page{b, b.want, b.version})
		}
	}
	k.due = time.Now().Add(gather)
	return out
}

// Unwritten is what the journal still has to tell the disk, for whoever commits
// now: it comes along. told hears what became of it.
func (c *Controller) Unwritten() (ch flex.Changes, told func(error)) {
	pages := c.keeper.take()
	return changes(pages), func(err error) { c.keeper.landed(pages, err) }
}

func changes(pages []page) (ch flex.Changes) {
	for _, p := range pages {
		if p.want == nil {
			ch.JournalClose = append(ch.JournalClose, p.of.id)
			continue
		}
		ch.JournalOpen = append(ch.JournalOpen, *p.want)
	}
	return ch
}

// commit writes pages together. Where that fails each goes alone, so that one
// that cannot be written stands in nobody's way.
func (k *keeper) commit(pages []page) error {
	err := k.journal.Commit(k.life, changes(pages))
	if err != nil && len(pages) > 1 && k.life.Err() == nil {
		err = nil
		for i := range pages {
			if e := k.commit(pages[i : i+1]); e != nil {
				err = e
			}
		}
		return err
	}
	k.landed(pages, err)
	return err
}

// landed notes what became of a commit.
func (k *keeper) landed(pages []page, err error) {
	if k.life.Err() != nil {
		return
	}
	k.mu.Lock()
	for _, p := range pages {
		p.of.landed(p, err)
	}
	if slices.ContainsFunc(k.books, (*book).open) {
		k.begin()
	}
	k.mu.Unlock()
	for _, p := range pages {
		p.of.wake()
	}
}

// expectFor is how long a device stays ready for a dispatch that was offered.
const expectFor = 5 * time.Second

// Expect has the devices of assets looked at and journaled for a dispatch that
// may begin at once, while it is still being decided.
func (c *Controller) Expect(assets []flex.AssetID) {
	holds := c.cfg.Board.Holds()
	for _, a := range c.cfg.Assets {
		if a.Control == allocate.Observe || !slices.Contains(assets, a.ID) || held(holds, a.ID) {
			continue
		}
		for _, id := range a.Devices {
			if s := c.byID[id]; s != nil {
				s.expect()
			}
		}
	}
}

func (s *slot) expect() {
	if s.distrusts() {
		return
	}
	s.mu.Lock()
	if s.block == nil {
		s.expected = time.Now().Add(expectFor)
	}
	s.mu.Unlock()
	poke(s.unit.wake)
}

// uncoveredAfter is from when on a start that waits for the disk is an alarm.
const uncoveredAfter = time.Second

// tellUncovered says that a device is to be controlled and is not, since what
// was found on it is not on disk; mu is held.
func (s *slot) tellUncovered(now time.Time) {
	waits := s.entry != nil && !s.stands && s.block == nil && s.cmd.control().Order != flex.OrderNone && !s.book.covered()
	switch {
	case !waits && !s.uncovered.IsZero():
		s.uncovered = time.Time{}
		s.noteClear(CodeStoreFailing)
	case waits && s.uncovered.IsZero():
		s.uncovered = now
	case waits && now.Sub(s.uncovered) >= uncoveredAfter:
		s.c.cfg.Health.Raise(CodeStoreFailing, string(s.id()), fmt.Sprintf("%s is not controlled yet: the state found on it is not on disk; check the disk", s.id()))
	}
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
