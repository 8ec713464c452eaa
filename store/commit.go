package store

import (
	"context"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// Commit writes one decision with all that follows from it in one synced
// transaction: all of it, or nothing. A transaction that has begun is not
// interrupted; ctx is only looked at before.
func (db *DB) Commit(ctx context.Context, c flex.Changes) error {
	if err := db.update(ctx, rankOf(c), func(tx *bbolt.Tx) error { return db.apply(tx, c) }); err != nil {
		return err
	}
	if len(c.Holds)+len(c.HoldsGone) > 0 {
		if err := db.writeHolds(); err != nil { // tried again with the next backup, which tells
			db.log.Error("the holds are stored once, and not a second time", "error", err)
		}
	}
	return nil
}

// fill is how full a page of rising keys is made.
const fill = 0.95

// rising prepares a bucket whose keys only grow: its pages are filled, not
// left half empty for keys in between.
func rising(tx *bbolt.Tx, name []byte) *bbolt.Bucket {
	b := tx.Bucket(name)
	b.FillPercent = fill
	return b
}

func (db *DB) apply(tx *bbolt.Tx, c flex.Changes) error {
	steps := []func(*bbolt.Tx, flex.Changes) error{db.applyNotices, db.applyOffers, db.applyRecords, applyMarket, applySight, applyNominations, applySite, db.applyAudit, db.applyOutbox}
	for _, step := range steps {
		if err := step(tx, c); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) applyNotices(tx *bbolt.Tx, c flex.Changes) error {
	for _, n := range c.Notices {
		if err := putNotice(tx, n); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) applyOffers(tx *bbolt.Tx, c flex.Changes) error {
	b := rising(tx, bOffers)
	for _, o := range c.Offers {
		seq, err := b.NextSequence()
		if err != nil {
			return err
		}
		o.Seq = seq
		key, id := seqKey(seq), []byte(o.Instruction.ID)
		raw, err := encode(key, o)
		if err != nil {
			return err
		}
		err = firstError(b.Put(key, raw), mark(tx, bUndecided, key, true), tx.Bucket(bLatest).Put(id, sealed(id, key)))
		if err != nil {
			return err
		}
	}
	for _, seq := range c.Decided {
		if err := tx.Bucket(bUndecided).Delete(seqKey(seq)); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) applyRecords(tx *bbolt.Tx, c flex.Changes) error {
	for _, r := range c.Records {
		id := []byte(r.ID)
		if tx.Bucket(bRecords).Get(id) == nil {
			key := timeKey(r, db)
			if err := rising(tx, bByTime).Put(key, sealed(key, nil)); err != nil {
				return err
			}
		}
		r.Instruction.Raw = nil // the offer keeps it as it came
		if err := put(tx, bRecords, string(r.ID), r); err != nil {
			return err
		}
		if err := firstError(mark(tx, bOpen, id, !r.State.Final()), mark(tx, bOwed, id, r.Answer.Owed())); err != nil {
			return err
		}
	}
	for _, t := range c.Tombstones {
		if err := put(tx, bTombstones, string(t.ID), t); err != nil {
			return err
		}
	}
	return nil
}

// mark puts an id into an index, or takes it out.
func mark(tx *bbolt.Tx, bucket, id []byte, in bool) error {
	if !in {
		return tx.Bucket(bucket).Delete(id)
	}
	return tx.Bucket(bucket).Put(id, sealed(id, nil))
}

// timeKey orders records by when they came.
func timeKey(r flex.Record, db *DB) []byte {
	at := db.now()
	if len(r.Steps) > 0 {
		at = r.Steps[0].Fact.At
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano())), r.ID...)
}

func applyMarket(tx *bbolt.Tx, c flex.Changes) error {
	for _, o := range c.Obligations {
		if err := put(tx, bObligations, string(o.ID), o); err != nil {
			return err
		}
	}
	for _, a := range c.Assets {
		if err := put(tx, bAssets, string(a.ID), a); err != nil {
			return err
		}
	}
	for _, k := range c.Competitions {
		if err := put(tx, bCompetitions, string(k.ID), k); err != nil {
			return err
		}
	}
	return nil
}

// applySight keeps the first sight of each revision by each door, replies as
// they came, and declarations of unavailability.
func applySight(tx *bbolt.Tx, c flex.Changes) error {
	for _, s := range c.Sightings {
		have, _, err := value[[]flex.Sight](tx, bSightings, string(s.Instruction))
		if err != nil {
			return err
		}
		if len(have) >= maxSights || slices.ContainsFunc(have, func(h flex.Sight) bool { return h.Revision == s.Revision && h.Door == s.Door }) {
			continue
		}
		if err := put(tx, bSightings, string(s.Instruction), append(have, s)); err != nil {
			return err
		}
	}
	for _, r := range c.Replies {
		key := string(binary.BigEndian.AppendUint64(nil, uint64(r.At.UnixNano()))) + r.Hash
		if err := put(tx, bReplies, key, r); err != nil {
			return err
		}
	}
	for _, u := range c.Unavailable {
		if err := put(tx, bUnavailable, u.ID, u); err != nil {
			return err
		}
	}
	return nil
}

// maxSights bounds what is kept of one instruction's deliveries.
const maxSights = 64

// holdKey lets the hold on everything have a key too.
func holdKey(id flex.AssetID) string { return "*" + string(id) }

func applySite(tx *bbolt.Tx, c flex.Changes) error {
	for _, e := range c.JournalOpen {
		if err := put(tx, bJournal, string(e.Device), e); err != nil {
			return err
		}
	}
	for _, id := range c.JournalClose {
		if err := tx.Bucket(bJournal).Delete([]byte(id)); err != nil {
			return err
		}
	}
	for _, h := range c.Holds {
		if err := put(tx, bHolds, holdKey(h.Asset), h); err != nil {
			return err
		}
	}
	for _, id := range c.HoldsGone {
		if err := tx.Bucket(bHolds).Delete([]byte(holdKey(id))); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) applyAudit(tx *bbolt.Tx, c flex.Changes) error {
	b := rising(tx, bAudit)
	for _, a := range c.Audit {
		seq, err := b.NextSequence()
		if err != nil {
			return err
		}
		raw, err := encode(seqKey(seq), a)
		if err != nil {
			return err
		}
		if err := b.Put(seqKey(seq), raw); err != nil {
			return err
		}
	}
	return nil
}
