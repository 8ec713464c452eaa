package store

import (
	"context"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// PutNotice stores a verified notification with its raw body and what follows
// from it, in one transaction. fresh is false when it was seen before: then
// only the count of deliveries changes, and a door by which it came first now
// is noted.
func (db *DB) PutNotice(ctx context.Context, n flex.Notice, raw []byte, ch flex.Changes) (fresh bool, err error) {
	err = db.update(ctx, deciding, func(tx *bbolt.Tx) error {
		fresh = false // the function may run twice
		if old := tx.Bucket(bInbox).Get([]byte(n.ID)); old != nil {
			var have flex.Notice
			if err := decode([]byte(n.ID), old, &have); err != nil {
				return err
			}
			have.Seen++
			for _, d := range n.Doors {
				if !slices.ContainsFunc(have.Doors, func(h flex.Sighting) bool { return h.Door == d.Door }) {
					have.Doors = append(have.Doors, d)
				}
			}
			return putNotice(tx, have)
		}
		if _, gone := db.pastOf(tx, pastNotification(n.ID)); gone {
			n.Seen, n.State, n.Again = 2, flex.NoticeFetched, true // it was fetched long ago
			return putNotice(tx, n)
		}
		if err := db.room(tx, pointing); err != nil {
			return err
		}
		fresh = true
		n.Seen = 1
		if err := putNotice(tx, n); err != nil {
			return err
		}
		if db.used(tx) > db.max*tenths[incoming]/10 {
			return db.apply(tx, ch) // its hash is kept
		}
		stamped := append(binary.BigEndian.AppendUint64(nil, uint64(n.Received.UnixNano())), raw...)
		if err := tx.Bucket(bRaw).Put([]byte(n.ID), stamped); err != nil {
			return err
		}
		return db.apply(tx, ch)
	})
	return fresh && err == nil, err
}

func putNotice(tx *bbolt.Tx, n flex.Notice) error {
	return firstError(put(tx, bInbox, string(n.ID), n), mark(tx, bOpenNotices, []byte(n.ID), n.State == flex.NoticeVerified))
}

// Notice is one notification.
func (db *DB) Notice(id flex.NotificationID) (flex.Notice, bool, error) {
	n, ok, err := get[flex.Notice](db, bInbox, string(id))
	if _, gone, _ := db.remembered(pastNotification(id)); err == nil && !ok && gone {
		return archived[flex.Notice](db, bInbox, string(id))
	}
	return n, ok, err
}

// OpenNotices lists the notifications whose instructions are not all fetched.
func (db *DB) OpenNotices(ctx context.Context) ([]flex.Notice, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return indexed[flex.Notice](db, bOpenNotices, bInbox, nil)
}

// Raw is the body of a notification as it came, while it is kept.
func (db *DB) Raw(id flex.NotificationID) (body []byte, ok bool, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bRaw).Get([]byte(id)); len(v) >= 8 {
			body, ok = append([]byte{}, v[8:]...), true
		}
		return nil
	})
	if _, gone, _ := db.remembered(pastNotification(id)); err == nil && !ok && gone {
		e, found, err := db.archive.find(kindRaw, bRaw, string(id))
		return e.Bytes, found, err
	}
	return body, ok, err
}
