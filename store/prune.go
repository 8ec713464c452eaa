package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// How long things are kept. Unsent messages are never dropped.
const (
	keepClosed = 400 * 24 * time.Hour
	// keepMinutes is for intervals shorter than a quarter of an hour.
	keepMinutes = 14 * 24 * time.Hour
)

// Prune drops what is older than it has to be kept. What the market sent is
// kept as it came for keepRaw, and by its hash from then on.
func (db *DB) Prune(ctx context.Context, now time.Time, keepRaw time.Duration) error {
	return db.update(ctx, deciding, func(tx *bbolt.Tx) error {
		return firstError(prune(tx, now.Add(-keepRaw), now.Add(-keepClosed)), pruneIntervals(tx, now.Add(-keepMinutes), now.Add(-keepClosed)))
	})
}

// Check walks every page of the file, free ones included, for damage.
func (db *DB) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.bolt.View(func(tx *bbolt.Tx) error {
		var found []error
		for err := range tx.Check() {
			if len(found) < 3 {
				found = append(found, err)
			}
		}
		return errors.Join(found...)
	})
}

func timeOf(k []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(k[:8]))).UTC() }

func prune(tx *bbolt.Tx, raw, closed time.Time) error {
	return firstError(pruneRaw(tx, raw), strip(tx, raw), pruneReplies(tx, closed), pruneUnavailable(tx, closed), pruneNotices(tx, closed), pruneRecords(tx, closed), pruneOffers(tx, closed), pruneAudit(tx, closed), pruneTombstones(tx, closed))
}

// collect deletes the keys of a bucket that old picks.
func collect(tx *bbolt.Tx, bucket []byte, old func(k, v []byte) (bool, error)) error {
	b := tx.Bucket(bucket)
	var keys [][]byte
	err := b.ForEach(func(k, v []byte) error {
		if gone, err := old(k, v); gone && err == nil { // what cannot be read is set aside at the next start
			keys = append(keys, append([]byte(nil), k...))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot prune %s: %w", bucket, err)
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func pruneRaw(tx *bbolt.Tx, before time.Time) error {
	return collect(tx, bRaw, func(_, v []byte) (bool, error) { return len(v) < 8 || timeOf(v).Before(before), nil })
}

func pruneNotices(tx *bbolt.Tx, before time.Time) error {
	return collect(tx, bInbox, func(k, v []byte) (bool, error) {
		var n flex.Notice
		err := decode(k, v, &n)
		return n.State != flex.NoticeVerified && n.Received.Before(before), err
	})
}

// pruneRecords drops final records with their place in time.
func pruneRecords(tx *bbolt.Tx, before time.Time) error {
	records, open, owed, sights := tx.Bucket(bRecords), tx.Bucket(bOpen), tx.Bucket(bOwed), tx.Bucket(bSightings)
	return collect(tx, bByTime, func(k, _ []byte) (bool, error) {
		id := k[8:]
		if !timeOf(k).Before(before) || open.Get(id) != nil {
			return false, nil
		}
		return true, firstError(records.Delete(id), owed.Delete(id), sights.Delete(id))
	})
}

// pruneOffers drops decided offers; the newest of each instruction goes with
// the rest, since its record went too.
func pruneOffers(tx *bbolt.Tx, before time.Time) error {
	undecided, latest := tx.Bucket(bUndecided), tx.Bucket(bLatest)
	return collect(tx, bOffers, func(k, v []byte) (bool, error) {
		if undecided.Get(k) != nil {
			return false, nil
		}
		var o flex.Offer
		if err := decode(k, v, &o); err != nil || !o.Received.At.Before(before) {
			return false, err
		}
		id := []byte(o.Instruction.ID)
		if string(unsealed(latest.Get(id))) == string(k) {
			return true, latest.Delete(id)
		}
		return true, nil
	})
}

func pruneAudit(tx *bbolt.Tx, before time.Time) error {
	return deleteWhile(tx.Bucket(bAudit), func(k, v []byte) bool {
		var a flex.Audit
		return decode(k, v, &a) == nil && a.At.At.Before(before)
	})
}

func pruneTombstones(tx *bbolt.Tx, before time.Time) error {
	return collect(tx, bTombstones, func(k, v []byte) (bool, error) {
		var t flex.Tombstone
		err := decode(k, v, &t)
		return t.At.At.Before(before), err
	})
}
