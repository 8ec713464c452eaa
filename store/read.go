package store

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// Undecided lists the offers that wait for a decision, oldest first. Those of
// known, an earlier answer, are not read again: an offer never changes.
func (db *DB) Undecided(ctx context.Context, known []flex.Offer) ([]flex.Offer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	have := make(map[string]*flex.Offer, len(known))
	for i := range known {
		have[string(seqKey(known[i].Seq))] = &known[i]
	}
	return indexed(db, bUndecided, bOffers, have)
}

// LatestOffer is the newest offer of an instruction, decided or not; of one that
// was archived, what is needed to know its repetition.
func (db *DB) LatestOffer(id flex.InstructionID) (o flex.Offer, ok bool, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		key := unsealed(tx.Bucket(bLatest).Get([]byte(id)))
		if raw := tx.Bucket(bOffers).Get(key); key != nil && raw != nil {
			ok = true
			return decode(key, raw, &o)
		}
		if p, gone := db.pastOf(tx, pastInstruction(id)); gone && p.Kind != "" {
			o, ok = p.offer(id), true
		}
		return nil
	})
	return o, ok && err == nil, err
}

// Record is the life of one instruction, also of one that was archived.
func (db *DB) Record(ctx context.Context, id flex.InstructionID) (flex.Record, bool, error) {
	if err := ctx.Err(); err != nil {
		return flex.Record{}, false, err
	}
	r, ok, err := get[flex.Record](db, bRecords, string(id))
	if err != nil || ok {
		return r, ok, err
	}
	p, gone, err := db.remembered(pastInstruction(id))
	if err != nil || !gone || p.State == "" {
		return r, false, err
	}
	if r, ok, err = archived[flex.Record](db, bRecords, string(id)); err != nil || !ok {
		if err != nil {
			db.skip([]byte(archiveDir), []byte(id), err)
		}
		r = p.record(id)
	}
	return r, true, nil
}

// RecordQuery selects records; the zero value selects all that are not archived.
type RecordQuery struct {
	Open  bool      // only those that are not final
	Owed  bool      // only those whose answer the market must still be told
	Since time.Time // only those that came since
	Limit int       // at most so many, the newest; 0: all
}

// Records lists records, newest first.
func (db *DB) Records(ctx context.Context, q RecordQuery) ([]flex.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if q.Open || q.Owed {
		return db.marked(q)
	}
	out := []flex.Record{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bByTime).Cursor()
		for k, _ := c.Last(); k != nil && (q.Limit == 0 || len(out) < q.Limit); k, _ = c.Prev() {
			id := k[8:]
			if !q.Since.IsZero() && timeOf(k).Before(q.Since) {
				return nil
			}
			var r flex.Record
			if raw := tx.Bucket(bRecords).Get(id); raw == nil {
				continue
			} else if err := decode(id, raw, &r); err != nil {
				db.skip(bRecords, id, err)
				continue
			}
			out = append(out, r)
		}
		return nil
	})
	if err == nil && (len(out) < q.Limit || !q.Since.IsZero()) {
		return db.archivedRecords(q, out)
	}
	return out, err
}

// marked is Records by the indexes of what is open or owed, which are small
// however long the history.
func (db *DB) marked(q RecordQuery) ([]flex.Record, error) {
	index := bOpen
	if q.Owed {
		index = bOwed
	}
	list, err := indexed[flex.Record](db, index, bRecords, nil)
	out := list[:0]
	for _, r := range list {
		if (!q.Open || !r.State.Final()) && !came(r).Before(q.Since) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b flex.Record) int { return came(b).Compare(came(a)) })
	if q.Limit > 0 && len(out) > q.Limit {
		out = out[:q.Limit]
	}
	return out, err
}

// came is when a record came, zero where it does not tell.
func came(r flex.Record) time.Time {
	if len(r.Steps) == 0 {
		return time.Time{}
	}
	return r.Steps[0].Fact.At
}

// Tombstone is a stop that came for an id not known then.
func (db *DB) Tombstone(ctx context.Context, id flex.InstructionID) (flex.Tombstone, bool, error) {
	if err := ctx.Err(); err != nil {
		return flex.Tombstone{}, false, err
	}
	t, ok, err := get[flex.Tombstone](db, bTombstones, string(id))
	if err != nil || ok {
		return t, ok, err
	}
	p, gone, err := db.remembered(pastInstruction(id))
	if err != nil || !gone || p.Stopped == nil {
		return t, false, err
	}
	return p.tombstone(id), true, nil
}

// Obligations lists the contracts known.
func (db *DB) Obligations(context.Context) ([]flex.Obligation, error) {
	return all[flex.Obligation](db, bObligations)
}

// Obligation is one contract.
func (db *DB) Obligation(_ context.Context, id flex.ObligationID) (flex.Obligation, bool, error) {
	return get[flex.Obligation](db, bObligations, string(id))
}

// Assets lists what the market knows of assets.
func (db *DB) Assets(context.Context) ([]flex.MarketAsset, error) {
	return all[flex.MarketAsset](db, bAssets)
}

// Competitions lists the tenders known.
func (db *DB) Competitions(context.Context) ([]flex.Competition, error) {
	return all[flex.Competition](db, bCompetitions)
}

// Sights lists when an instruction came through which door, as they came.
func (db *DB) Sights(_ context.Context, id flex.InstructionID) ([]flex.Sight, error) {
	list, ok, err := get[[]flex.Sight](db, bSightings, string(id))
	if _, gone, _ := db.remembered(pastInstruction(id)); err == nil && !ok && gone {
		list, _, err = archived[[]flex.Sight](db, bSightings, string(id))
	}
	return list, err
}

// Replies lists the market's replies as they came, newest first, at most
// limit of them.
func (db *DB) Replies(_ context.Context, limit int) ([]flex.Reply, error) {
	out := []flex.Reply{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bReplies).Cursor()
		for k, raw := c.Last(); k != nil && len(out) < limit; k, raw = c.Prev() {
			var r flex.Reply
			if err := decode(k, raw, &r); err != nil {
				db.skip(bReplies, k, err)
				continue
			}
			out = append(out, r)
		}
		return nil
	})
	return out, err
}

// Unavailable lists the declarations of unavailability, oldest first.
func (db *DB) Unavailable(context.Context) ([]flex.Unavailability, error) {
	return all[flex.Unavailability](db, bUnavailable)
}

// Journal lists the devices that are owed a release.
func (db *DB) Journal(context.Context) ([]flex.JournalEntry, error) {
	return all[flex.JournalEntry](db, bJournal)
}

// Holds lists the local holds.
func (db *DB) Holds(context.Context) ([]flex.Hold, error) { return all[flex.Hold](db, bHolds) }

// Audit lists the newest lines of the diary since an instant, oldest first.
func (db *DB) Audit(_ context.Context, since time.Time, limit int) ([]flex.Audit, error) {
	out := []flex.Audit{}
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bAudit).Cursor()
		for k, raw := c.Last(); k != nil && (limit == 0 || len(out) < limit); k, raw = c.Prev() {
			var a flex.Audit
			if err := decode(k, raw, &a); err != nil {
				db.skip(bAudit, k, err)
				continue
			}
			if a.At.At.Before(since) {
				return nil
			}
			out = append(out, a)
		}
		return nil
	})
	slices.Reverse(out)
	return out, err
}
