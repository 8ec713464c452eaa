package store

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// sumSize is the length of a checksum behind a value without an envelope.
const sumSize = 4

// sealed is a value followed by a checksum of its key and itself.
func sealed(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(value), sumOf(key, value))
}

// unsealed takes the checksum off an entry of bLatest; older releases wrote none.
func unsealed(v []byte) []byte { return v[:min(len(v), 8)] }

// indexes lead to records and offers; each can be made anew from these.
var indexes = [][]byte{bLatest, bUndecided, bOpen, bByTime, bOwed, bOpenNotices}

// indexSound tells whether an entry is what was written, which an entry of an
// older release, without a checksum, cannot tell.
func indexSound(bucket, k, v []byte) bool {
	old := map[string]bool{string(bLatest): len(v) == 8, string(bByTime): len(k) > 8 && bytes.Equal(k[8:], v)}
	return len(v) == 1 || old[string(bucket)] || len(v) >= sumSize && bytes.Equal(v, sealed(k, v[:len(v)-sumSize]))
}

// judgeIndexes tells whether an entry of an index is not what was written, and
// whether one leads to nothing, as when that was set aside.
func judgeIndexes(tx *bbolt.Tx) (bad, astray bool) {
	records, offers := tx.Bucket(bRecords), tx.Bucket(bOffers)
	for _, name := range indexes {
		_ = tx.Bucket(name).ForEach(func(k, v []byte) error {
			bad = bad || !indexSound(name, k, v)
			return nil
		})
	}
	leads := func(index []byte, to *bbolt.Bucket, key func(k, v []byte) []byte) {
		_ = tx.Bucket(index).ForEach(func(k, v []byte) error {
			astray = astray || to.Get(key(k, v)) == nil
			return nil
		})
	}
	leads(bOpen, records, func(k, _ []byte) []byte { return k })
	leads(bOpenNotices, tx.Bucket(bInbox), func(k, _ []byte) []byte { return k })
	leads(bUndecided, offers, func(k, _ []byte) []byte { return k })
	leads(bLatest, offers, func(_, v []byte) []byte { return unsealed(v) })
	return bad, astray
}

// reindex makes the indexes anew from records and offers. Whether an offer was
// decided stands in its index alone: the newest offer of an instruction
// without a record or a tombstone is decided again, which changes nothing
// where it was.
func (db *DB) reindex(tx *bbolt.Tx) error {
	for _, name := range indexes {
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	err := tx.Bucket(bRecords).ForEach(func(k, raw []byte) error {
		var r flex.Record
		if err := decode(k, raw, &r); err != nil {
			db.skip(bRecords, k, err)
			return nil
		}
		return firstError(mark(tx, bByTime, timeKey(r, db), true), mark(tx, bOpen, k, !r.State.Final()), mark(tx, bOwed, k, r.Answer.Owed()))
	})
	if err != nil {
		return err
	}
	err = firstError(err, indexNotices(tx, func(k []byte, err error) { db.skip(bInbox, k, err) }))
	newest := map[flex.InstructionID][]byte{}
	err = firstError(err, tx.Bucket(bOffers).ForEach(func(k, raw []byte) error {
		var o flex.Offer
		if err := decode(k, raw, &o); err != nil {
			db.skip(bOffers, k, err)
			return nil
		}
		newest[o.Instruction.ID] = bytes.Clone(k)
		return nil
	}))
	for id, seq := range newest {
		key := []byte(id)
		known := tx.Bucket(bRecords).Get(key) != nil || tx.Bucket(bTombstones).Get(key) != nil || tx.Bucket(bPast).Get([]byte(pastInstruction(id))) != nil
		err = firstError(err, tx.Bucket(bLatest).Put(key, sealed(key, seq)), mark(tx, bUndecided, seq, !known))
	}
	return err
}

// indexNotices fills the index of open notices.
func indexNotices(tx *bbolt.Tx, skip func(k []byte, err error)) error {
	return tx.Bucket(bInbox).ForEach(func(k, raw []byte) error {
		var n flex.Notice
		if err := decode(k, raw, &n); err != nil {
			skip(k, err)
			return nil
		}
		return mark(tx, bOpenNotices, k, n.State == flex.NoticeVerified)
	})
}

// mendIndexes makes damaged indexes anew when the file is opened.
func (db *DB) mendIndexes() error {
	bad, astray := false, false
	if err := db.bolt.View(func(tx *bbolt.Tx) error { bad, astray = judgeIndexes(tx); return nil }); err != nil || !bad && !astray {
		return err
	}
	if bad {
		db.aside.add(Damaged{Bucket: "indexes", Error: "an index was damaged: it was made anew from what it leads to"})
	}
	db.log.Warn("an index of the state is made anew", "damaged", bad)
	return db.bolt.Update(db.reindex)
}

// note is a small value of others, with a checksum: a mark of a newer release
// before it tells it from what an older one wrote.
var noteMark = []byte{0xFF, 'F', 1}

func note(key, value []byte) []byte { return append(bytes.Clone(noteMark), sealed(key, value)...) }

// noted reads a small value, and tells whether it is what was written.
func noted(key, raw []byte) ([]byte, bool) {
	body, ours := bytes.CutPrefix(raw, noteMark)
	if !ours {
		return raw, true
	}
	if len(body) < sumSize || !bytes.Equal(body, sealed(key, body[:len(body)-sumSize])) {
		return nil, false
	}
	return body[:len(body)-sumSize], true
}
