package store

import (
	"context"
	"encoding/binary"

	"go.etcd.io/bbolt"

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
		if m.Seq, err = b.NextSequence(); err != nil {
			return err
		}
		if m.ID, err = db.ids.next(db.now()); err != nil {
			return err
		}
		raw, err := encode(seqKey(m.Seq), m)
		if err != nil {
			return err
		}
		if err := b.Put(seqKey(m.Seq), raw); err != nil {
			return err
		}
	}
	if !events {
		return nil
	}
	return db.foldEvents(tx, flex.Stamp{At: db.now().UTC(), Clock: flex.ClockHoldover})
}

// Head gives the oldest n messages of a stream that are not done.
func (db *DB) Head(ctx context.Context, stream flex.Stream, n int) ([]flex.Message, error) {
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
		for k, raw := c.First(); k != nil && len(out) < n; k, raw = c.Next() {
			var m flex.Message
			if err := decode(k, raw, &m); err != nil {
				db.skip(bOutbox, k, err)
				continue
			}
			out = append(out, m)
		}
		return nil
	})
	return out, err
}

// Done deletes the messages of a stream up to and including a number.
func (db *DB) Done(ctx context.Context, stream flex.Stream, upto uint64) error {
	return db.update(ctx, deciding, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bOutbox).Bucket([]byte(stream))
		if b == nil {
			return nil
		}
		return deleteWhile(b, func(k, _ []byte) bool { return binary.BigEndian.Uint64(k) <= upto })
	})
}

// Waiting counts the messages of a stream that are not done.
func (db *DB) Waiting(stream flex.Stream) (int, error) {
	n := 0
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bOutbox).Bucket([]byte(stream)); b != nil {
			n = b.Stats().KeyN
		}
		return nil
	})
	return n, err
}

// deleteWhile deletes from the lowest key on. Keys are collected first: a
// cursor is not to be trusted while its bucket changes.
func deleteWhile(b *bbolt.Bucket, old func(k, v []byte) bool) error {
	var keys [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil && old(k, v); k, v = c.Next() {
		keys = append(keys, append([]byte(nil), k...))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
