package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// mostEvents bounds the unsent events in a file of the usual size; a smaller
// file holds fewer.
const mostEvents = 1024

func (db *DB) mostEvents() int { return int(min(mostEvents, max(64, db.max>>13))) }

// foldEvents keeps the unsent events from taking the room of decisions. Beyond
// the bound only the newest of each code and subject stays and says how many
// it stands for; if that is not enough, the oldest go down to half. The diary
// has every one of them, and says what was dropped. Acknowledgements are never
// touched.
func (db *DB) foldEvents(tx *bbolt.Tx, now flex.Stamp) error {
	b := tx.Bucket(bOutbox).Bucket([]byte(flex.StreamEvent))
	sent := db.outbox.done(flex.StreamEvent)
	if b == nil || b.Stats().KeyN-countUpto(b, sent) <= db.mostEvents() {
		return nil
	}
	if _, err := deleteUpto(tx, flex.StreamEvent, sent, math.MaxInt); err != nil {
		return err
	}
	kept, err := foldSame(db, b)
	if err != nil {
		return err
	}
	over := len(kept) - db.mostEvents()/2
	if over <= 0 {
		return nil
	}
	for _, k := range kept[:over] {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return db.applyAudit(tx, flex.Changes{Audit: []flex.Audit{{At: now, What: "outbox.dropped", Subject: string(flex.StreamEvent), By: "flexd",
		Text: fmt.Sprintf("%d unsent events of different kinds, the oldest: more than %d wait for the broker", over, db.mostEvents())}}})
}

// foldSame deletes what a later event of the same code and subject overtook,
// and gives the keys of the others. One that stands for others is another
// message than before, and has an id and a number of its own.
func foldSame(db *DB, b *bbolt.Bucket) (kept [][]byte, err error) {
	type subject struct{ code, subject string }
	stands, gone := map[subject]int{}, [][]byte{}
	c := b.Cursor()
	for k, raw := c.Last(); k != nil; k, raw = c.Prev() {
		var m flex.Message
		var e flex.Event
		if decode(k, raw, &m) != nil || json.Unmarshal(m.Body, &e) != nil || e.Code == "" {
			kept = append(kept, bytes.Clone(k))
			continue
		}
		s := subject{e.Code, e.Subject}
		if _, newer := stands[s]; newer {
			stands[s] += 1 + e.Folded
			gone = append(gone, bytes.Clone(k))
			continue
		}
		stands[s] = 0
		kept = append(kept, bytes.Clone(k))
	}
	for _, k := range gone {
		if err := b.Delete(k); err != nil {
			return nil, err
		}
	}
	slices.Reverse(kept)
	var same, folded [][]byte
	for _, k := range kept {
		var m flex.Message
		var e flex.Event
		if decode(k, b.Get(k), &m) != nil || json.Unmarshal(m.Body, &e) != nil || stands[subject{e.Code, e.Subject}] == 0 {
			same = append(same, k)
			continue
		}
		e.Folded += stands[subject{e.Code, e.Subject}]
		if m.Body, err = json.Marshal(e); err != nil {
			return nil, fmt.Errorf("cannot fold the events of %s: %w", e.Code, err)
		}
		if err := firstError(b.Delete(k), putMessage(db, b, m)); err != nil {
			return nil, err
		}
		folded = append(folded, seqKey(b.Sequence()))
	}
	return append(same, folded...), nil
}
