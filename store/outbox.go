package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"flexd/agent/flex"
)

// applyOutbox gives each message its id and its number in the stream. Numbers
// are never used twice: the bucket's own sequence survives deletion.
func (db *DB) applyOutbox(tx *bbolt.Tx, c flex.Changes) error {
	events := false
	for _, m := range c.Outbox {
		events = events || m.Stream == flex.StreamEvent
		b, err := tx.Bucket(bOutbox).CreateBucketIfNotExists([]byte(m.Stream))
		if err != nil {
			return err
		}
		b.FillPercent = fill
		if err := putMessage(db, b, m); err != nil {
			return err
		}
	}
	if !events {
		return nil
	}
	return db.foldEvents(tx, flex.Stamp{At: db.now().UTC(), Clock: flex.ClockHoldover})
}

// putMessage gives a message its id, its epoch and the stream's next number.
func putMessage(db *DB, b *bbolt.Bucket, m flex.Message) (err error) {
	if m.Seq, err = b.NextSequence(); err != nil {
		return err
	}
	if m.ID, err = db.ids.next(db.now()); err != nil {
		return err
	}
	m.Epoch = db.epoch.Now
	raw, err := encode(seqKey(m.Seq), m)
	if err != nil {
		return err
	}
	return b.Put(seqKey(m.Seq), raw)
}

// doneWithin is how long what is done waits for another change, with which it
// is deleted at no cost. A process that dies before sends it again.
const doneWithin = 3 * time.Second

// outbox is what is done and not deleted yet: by stream, all up to a number.
type outbox struct {
	mu    sync.Mutex
	upto  map[flex.Stream]uint64
	rest  bool // more than one change deletes is done
	timer *time.Timer
	over  bool // the file is being closed
}

// doneMost is how many messages one change deletes: others wait for it.
const doneMost = 256

func (o *outbox) done(stream flex.Stream) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.upto[stream]
}

// deletion deletes all that is done.
func (o *outbox) deletion() (*call, func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.upto) == 0 {
		return nil, nil
	}
	upto := maps.Clone(o.upto)
	rest := false
	fn := func(tx *bbolt.Tx) error {
		rest = false
		for stream, n := range upto {
			deleted, err := deleteUpto(tx, stream, n, doneMost)
			if err != nil {
				return err
			}
			rest = rest || deleted == doneMost
		}
		return nil
	}
	return &call{rank: deciding, fn: fn}, func(err error) {
		if err != nil {
			return // tried again with the next change
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.rest = rest; rest {
			return
		}
		maps.DeleteFunc(o.upto, func(stream flex.Stream, n uint64) bool { return n == upto[stream] })
	}
}

// deleteUpto deletes at most so many, the lowest first. Keys are collected
// first: a cursor is not to be trusted while its bucket changes.
func deleteUpto(tx *bbolt.Tx, stream flex.Stream, upto uint64, most int) (deleted int, err error) {
	b := tx.Bucket(bOutbox).Bucket([]byte(stream))
	if b == nil {
		return 0, nil
	}
	var keys [][]byte
	c := b.Cursor()
	for k, _ := c.First(); k != nil && len(keys) < most && binary.BigEndian.Uint64(k) <= upto; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

func countUpto(b *bbolt.Bucket, upto uint64) (n int) {
	c := b.Cursor()
	for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k) <= upto; k, _ = c.Next() {
		n++
	}
	return n
}

// settle deletes what is done and found no company.
func (o *outbox) settle(db *DB) {
	o.mu.Lock()
	o.timer = nil
	gone := len(o.upto) == 0
	o.mu.Unlock()
	if gone {
		return
	}
	err := db.update(context.Background(), deciding, func(*bbolt.Tx) error { return nil })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.upto) > 0 { // it failed, or something was done meanwhile
		o.wait(db)
	}
}

// end stops the timer for good.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	if o.timer != nil {
		o.timer.Stop()
	}
}

// wait has what is done deleted soon; mu is held.
func (o *outbox) wait(db *DB) {
	within := doneWithin
	if o.rest {
		within = slicePause
	}
	if o.timer == nil && !o.over {
		o.timer = time.AfterFunc(within, func() { o.settle(db) })
	}
}

// Head gives the oldest n messages of a stream that are not done.
func (db *DB) Head(ctx context.Context, stream flex.Stream, n int) ([]flex.Message, error) {
	return db.After(ctx, stream, 0, n)
}

// After gives the oldest n messages of a stream above a number that are not
// done.
func (db *DB) After(ctx context.Context, stream flex.Stream, seq uint64, n int) ([]flex.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := []flex.Message{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bOutbox).Bucket([]byte(stream))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, raw := c.Seek(seqKey(max(seq, db.outbox.done(stream)) + 1)); k != nil && len(out) < n; k, raw = c.Next() {
			var m flex.Message
			if err := decode(k, raw, &m); err != nil {
				db.skip(bOutbox, k, err)
				continue
			}
			m.Epoch = cmp.Or(m.Epoch, db.epoch.First)
			out = append(out, m)
		}
		return nil
	})
	return out, err
}

// Done tells that the messages of a stream up to and including a number are
// sent. They are deleted with the next change of something else, or soon.
func (db *DB) Done(ctx context.Context, stream flex.Stream, upto uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	given := uint64(0) // the highest number so far
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bOutbox).Bucket([]byte(stream)); b != nil {
			given = b.Sequence()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read the outbox: %w", err)
	}
	o := &db.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if upto = min(upto, given); upto > o.upto[stream] {
		if o.upto == nil {
			o.upto = map[flex.Stream]uint64{}
		}
		o.upto[stream] = upto
		o.wait(db)
	}
	return nil
}

// Waiting counts the messages of a stream that are not done.
func (db *DB) Waiting(stream flex.Stream) (int, error) {
	n := 0
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bOutbox).Bucket([]byte(stream)); b != nil {
			n = b.Stats().KeyN - countUpto(b, db.outbox.done(stream))
		}
		return nil
	})
	return n, err
}
