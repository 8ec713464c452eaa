package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// How long the ids of what was archived are remembered. A start that comes
// again after that is refused for its window; a notification is refused for
// its age.
const (
	keepPast    = 400 * 24 * time.Hour
	keepPastIDs = 90 * 24 * time.Hour // of notifications
)

// past is what must be remembered of an instruction whose history left the
// state file, so that nothing old counts as new and no decision depends on the
// archive.
type past struct {
	At       int64              `json:"t"` // unix seconds, of leaving
	Content  string             `json:"c,omitempty"`
	Revision int64              `json:"r,omitempty"`
	Explicit bool               `json:"x,omitempty"` // the market stated the revision
	Kind     flex.Kind          `json:"k,omitempty"`
	Forged   string             `json:"g,omitempty"` // how the operator's signature was judged
	State    flex.State         `json:"s,omitempty"` // of the record
	Reason   flex.Reason        `json:"e,omitempty"`
	Start    int64              `json:"b,omitempty"` // of its window, unix seconds
	End      int64              `json:"f,omitempty"`
	By       flex.InstructionID `json:"y,omitempty"` // the stop that names it, if any
	Stopped  *flex.Stamp        `json:"a,omitempty"`
	Why      flex.Reason        `json:"w,omitempty"`
}

func (p past) offer(id flex.InstructionID) flex.Offer {
	return flex.Offer{Signature: p.Forged, Instruction: flex.Instruction{ID: id, Content: p.Content, Revision: p.Revision, HasRevision: p.Explicit, Kind: p.Kind, Window: p.window()}}
}

func (p past) window() (w flex.Window) {
	if p.Start != 0 {
		w.Start = time.Unix(p.Start, 0).UTC()
	}
	if p.End != 0 {
		w.End = time.Unix(p.End, 0).UTC()
	}
	return w
}

// record stands for one that cannot be found in the archive.
func (p past) record(id flex.InstructionID) flex.Record {
	return flex.Record{ID: id, Instruction: p.offer(id).Instruction, Revision: p.Revision, State: p.State, Reason: p.Reason, Window: p.window(),
		Text: "its history is not in the archive any more", Steps: []flex.Transition{{State: p.State, Reason: p.Reason, Fact: flex.Stamp{At: time.Unix(p.At, 0).UTC(), Clock: flex.ClockHoldover}}}}
}

func (p past) tombstone(id flex.InstructionID) flex.Tombstone {
	return flex.Tombstone{ID: id, By: p.By, At: *p.Stopped, Reason: p.Why}
}

func (p *past) stop(t flex.Tombstone) { p.By, p.Stopped, p.Why = t.By, &t.At, t.Reason }

func putPast(tx *bbolt.Tx, key string, p past) error {
	raw, err := json.Marshal(p)
	return firstError(err, tx.Bucket(bPast).Put([]byte(key), sealed([]byte(key), raw)))
}

// Keys of bPast.
func pastInstruction(id flex.InstructionID) string   { return "i" + string(id) }
func pastNotification(id flex.NotificationID) string { return "n" + string(id) }

// pastOf is what is remembered under a key.
func (db *DB) pastOf(tx *bbolt.Tx, key string) (p past, ok bool) {
	raw := tx.Bucket(bPast).Get([]byte(key))
	if raw == nil {
		return p, false
	}
	if err := p.read([]byte(key), raw); err != nil {
		db.skip(bPast, []byte(key), err)
		return p, false
	}
	return p, true
}

// remembered is pastOf by itself.
func (db *DB) remembered(key string) (p past, ok bool, err error) {
	err = db.bolt.View(func(tx *bbolt.Tx) error {
		p, ok = db.pastOf(tx, key)
		return nil
	})
	return p, ok, err
}

func (p *past) read(key, raw []byte) error {
	if err := pastIntact(key, raw); err != nil {
		return err
	}
	return json.Unmarshal(raw[:len(raw)-sumSize], p)
}

// pastIntact tells whether a value is what was written. It is not read: there
// are as many as a year has instructions.
func pastIntact(key, raw []byte) error {
	n := len(raw) - sumSize
	if n < 0 || sumOf(key, raw[:n]) != binary.BigEndian.Uint32(raw[n:]) {
		return errors.New("what is remembered of an old id does not match its checksum")
	}
	return nil
}
