package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// How long what is over stays in the state file before it goes to the archive,
// and how long measurements are kept.
const (
	window       = 7 * 24 * time.Hour
	leastWindow  = 3 * 24 * time.Hour   // polls look back by less
	keepGone     = 30 * 24 * time.Hour  // contracts that the market does not list any more
	keepMinutes  = 14 * 24 * time.Hour  // intervals shorter than a quarter of an hour
	keepQuarters = 400 * 24 * time.Hour // other intervals, and declarations
)

// Upkeep looks at so many keys and takes so many things away in a transaction
// of a few milliseconds; then decisions have their turn.
const (
	sliceLook  = 64
	sliceTake  = 8
	sliceDrop  = 128 // of what is dropped by its key alone
	sliceSync  = 128 // things that are archived with one sync
	slicePause = 20 * time.Millisecond
)

// Keep says what upkeep may let go of.
type Keep struct {
	Raw    time.Duration // how long what the market sent is kept as it came
	Unsent bool          // nobody fetches the outbox: it goes to the archive as well
}

// upkeep is where the last pass was when it ended before its end.
type upkeep struct {
	mu     sync.Mutex
	step   int
	cursor []byte
	pause  time.Duration
}

// Upkeep takes what is over out of the state file, in slices between which
// decisions are written: to the archive what tells of dispatches, with a line
// in the diary what is dropped. A pass that ctx ends is resumed by the next.
func (db *DB) Upkeep(ctx context.Context, now time.Time, keep Keep) error {
	u := &db.upkeep
	u.mu.Lock()
	defer u.mu.Unlock()
	s := &sweep{db: db, now: now, keep: keep, after: min(window, max(keep.Raw, leastWindow)), moved: map[string]int{}}
	if err := s.unsent(ctx); err != nil {
		return err
	}
	steps := s.steps()
	for u.step < len(steps) {
		st := steps[u.step]
		next, err := s.slice(ctx, st, u.cursor)
		if err != nil {
			_ = s.tell(context.WithoutCancel(ctx))
			return fmt.Errorf("upkeep of %s: %w", st.bucket, err)
		}
		if u.cursor = next; next == nil {
			u.step++
		}
	}
	u.step = 0
	return firstError(s.tell(ctx), s.bound(ctx, kindHistory, now.Add(-keepHistory), mostHistory), s.bound(ctx, kindRaw, now.Add(-keep.Raw), mostRaw))
}

// sweep is one pass.
type sweep struct {
	db    *DB
	now   time.Time
	keep  Keep
	after time.Duration // that something is over it leaves
	sent  time.Time     // acknowledgements from before are delivered
	moved map[string]int
}

// step is one bucket that is looked through.
type step struct {
	bucket []byte
	sub    []byte // of a bucket in it
	look   func(tx *bbolt.Tx, k, v []byte) (found, error)
	why    string // what is dropped and not archived
	take   int
}

// found is what a key turned out to be: something to take, or a sign to go on
// elsewhere.
type found struct {
	take *leaving
	stop bool
	seek []byte
}

// leaving is one thing on its way out, with all that belongs to it.
type leaving struct {
	history, raw []entry
	gone         []place
	past         map[string]past
}

// place is a value as it was seen. One that has changed since stays, and all
// that belongs to it.
type place struct{ bucket, sub, key, value []byte }

func (p place) in(tx *bbolt.Tx) *bbolt.Bucket {
	b := tx.Bucket(p.bucket)
	if p.sub != nil {
		b = b.Bucket(p.sub)
	}
	return b
}

// unsent finds how far acknowledgements are delivered.
func (s *sweep) unsent(ctx context.Context) error {
	s.sent = s.now
	if s.keep.Unsent {
		return nil
	}
	head, err := s.db.Head(ctx, flex.StreamAck, 1)
	if len(head) > 0 {
		s.sent = head[0].At.Add(-24 * time.Hour)
	}
	return err
}

// slice looks at keys from a cursor on, and carries away what is over. It gives
// the next cursor, nil at the end.
func (s *sweep) slice(ctx context.Context, st step, from []byte) (next []byte, err error) {
	var list []*leaving
	for next = from; ; {
		if next, list, err = s.gather(st, next, list); err != nil || next == nil || len(list) >= sliceSync {
			break
		}
		if err := ctx.Err(); err != nil {
			return from, err
		}
	}
	if err != nil || len(list) == 0 {
		return next, err
	}
	if err := s.archive(list); err != nil {
		return from, err
	}
	for some := range slices.Chunk(list, st.take) {
		if err := s.yield(ctx); err != nil {
			return from, err // what is archived twice counts once
		}
		if err := s.remove(ctx, st, some); err != nil {
			return from, err
		}
	}
	return next, nil
}

// gather looks at a few keys in one transaction that nobody waits for.
func (s *sweep) gather(st step, from []byte, list []*leaving) (next []byte, _ []*leaving, err error) {
	err = s.db.bolt.View(func(tx *bbolt.Tx) error {
		b := place{bucket: st.bucket, sub: st.sub}.in(tx)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		k, v := c.Seek(from)
		for n := 0; k != nil; n++ {
			if n >= sliceLook {
				next = bytes.Clone(k)
				return nil
			}
			f, err := st.look(tx, k, v)
			if err != nil || f.stop {
				return err
			}
			if f.take != nil {
				list = append(list, f.take)
			}
			if f.seek != nil {
				k, v = c.Seek(f.seek)
				continue
			}
			k, v = c.Next()
		}
		return nil
	})
	return next, list, err
}

// yield lets decisions go first, and the card rest.
func (s *sweep) yield(ctx context.Context) error {
	for first := true; first || s.db.group.waiting(); first = false {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(s.db.upkeep.pause):
		}
	}
	return nil
}

// archive has things safe in the archive, with one sync of each of its files.
func (s *sweep) archive(list []*leaving) error {
	var history, raw []entry
	for _, l := range list {
		history = append(history, l.history...)
		if s.keep.Raw > s.after {
			raw = append(raw, l.raw...)
		}
	}
	return firstError(s.db.archive.add(kindRaw, s.now, raw), s.db.archive.add(kindHistory, s.now, history))
}

// remove takes things out of the state file, in one transaction.
func (s *sweep) remove(ctx context.Context, st step, list []*leaving) error {
	n := 0
	err := s.db.update(ctx, deciding, func(tx *bbolt.Tx) error {
		n = 0
		for _, l := range list {
			took, err := l.leave(tx)
			if err != nil {
				return err
			}
			if took {
				n++
			}
		}
		if st.why == "" || n == 0 {
			return nil
		}
		return s.db.applyAudit(tx, flex.Changes{Audit: []flex.Audit{s.line("upkeep.dropped", fmt.Sprintf("%d of %s: %s", n, st.bucket, st.why))}})
	})
	if err == nil && st.why == "" {
		s.moved[string(st.bucket)] += n
	}
	return err
}

// leave deletes a thing that is still as it was seen.
func (l *leaving) leave(tx *bbolt.Tx) (bool, error) {
	for _, p := range l.gone {
		if b := p.in(tx); b == nil || !bytes.Equal(b.Get(p.key), p.value) {
			return false, nil
		}
	}
	for _, p := range l.gone {
		if err := p.in(tx).Delete(p.key); err != nil {
			return false, err
		}
	}
	for key, p := range l.past {
		if err := putPast(tx, key, p); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *sweep) line(what, text string) flex.Audit {
	return flex.Audit{At: flex.Stamp{At: s.now.UTC(), Clock: flex.ClockHoldover}, What: what, By: "flexd", Text: text}
}

// tell writes in the diary what went to the archive.
func (s *sweep) tell(ctx context.Context) error {
	if len(s.moved) == 0 {
		return nil
	}
	text := fmt.Sprintf("to %s: %s, since they are over for %d days", filepath.Base(s.db.archive.path(kindHistory, s.now)), tally(s.moved), s.after/(24*time.Hour))
	s.moved = map[string]int{}
	return s.db.update(ctx, deciding, func(tx *bbolt.Tx) error {
		return s.db.applyAudit(tx, flex.Changes{Audit: []flex.Audit{s.line("upkeep.archived", text)}})
	})
}

// bound deletes the segments that are too old or too many, once the diary says
// so.
func (s *sweep) bound(ctx context.Context, kind string, before time.Time, most int64) error {
	gone, why, err := s.db.archive.excess(kind, before, most)
	if err != nil {
		return err
	}
	for i, p := range gone {
		text := fmt.Sprintf("%s (%d KiB: %s): %s", p.file, p.size>>10, s.db.archive.count(p), why[i])
		err := s.db.update(ctx, deciding, func(tx *bbolt.Tx) error {
			return s.db.applyAudit(tx, flex.Changes{Audit: []flex.Audit{s.line("upkeep.dropped", text)}})
		})
		if err = firstError(err, os.Remove(filepath.Join(s.db.archive.dir, p.file))); err != nil {
			return fmt.Errorf("cannot drop a part of the archive: %w", err)
		}
	}
	return nil
}

// Fill tells how much of the room for what is new is taken, in percent.
func (db *DB) Fill() (percent int, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		percent = int(db.used(tx) * 1000 / (db.max * tenths[incoming]))
		return nil
	})
	return percent, err
}

// seen gives the places of keys in buckets as they are, of those that exist.
func seen(tx *bbolt.Tx, pairs ...[2][]byte) (out []place) {
	for _, p := range pairs {
		if v := tx.Bucket(p[0]).Get(p[1]); v != nil {
			out = append(out, place{bucket: p[0], key: slices.Clone(p[1]), value: slices.Clone(v)})
		}
	}
	return out
}
