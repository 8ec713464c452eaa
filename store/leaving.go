package store

import (
	"bytes"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// steps are the buckets of a pass, in their order.
func (s *sweep) steps() []step {
	out := []step{
		{bucket: bByTime, look: s.record, take: sliceTake},
		{bucket: bOffers, look: s.offer, take: sliceTake},
		{bucket: bTombstones, look: s.tombstone, take: sliceTake},
		{bucket: bInbox, look: s.notice, take: sliceTake},
		{bucket: bReplies, look: s.reply, take: sliceTake},
		{bucket: bAudit, look: s.audit, take: sliceTake},
		{bucket: bObligations, look: s.obligation, take: sliceTake},
		{bucket: bUnavailable, look: s.unavailable, take: sliceTake},
		{bucket: bIntervals, look: s.interval, take: sliceDrop, why: "minutes are kept for 14 days, others for 400"},
		{bucket: bPast, look: s.past, take: sliceDrop, why: "old ids are remembered for 400 days, those of notifications for 90"},
	}
	if s.keep.Unsent {
		for _, stream := range []flex.Stream{flex.StreamAck, flex.StreamEvent, flex.StreamResp} {
			out = append(out, step{bucket: bOutbox, sub: []byte(stream), look: s.message(stream), take: sliceTake})
		}
	}
	return out
}

// over tells whether an instant is long enough past.
func (s *sweep) over(at time.Time) bool { return at.Before(s.now.Add(-s.after)) }

// copied is a value as it lies in the file.
func copied(bucket, k, v []byte) entry {
	return entry{Bucket: string(bucket), Key: bytes.Clone(k), Value: bytes.Clone(v)}
}

// record takes a dispatch that is over, told and announced, with its newest
// offer, its stop, and the doors it came by.
func (s *sweep) record(tx *bbolt.Tx, k, _ []byte) (found, error) {
	id := k[8:]
	switch {
	case !s.over(timeOf(k)):
		return found{stop: true}, nil
	case tx.Bucket(bOpen).Get(id) != nil, tx.Bucket(bOwed).Get(id) != nil:
		return found{}, nil
	}
	raw := tx.Bucket(bRecords).Get(id)
	var r flex.Record
	if raw == nil || decode(id, raw, &r) != nil || !r.State.Final() || len(r.Steps) == 0 {
		return found{}, nil
	}
	if last := r.Steps[len(r.Steps)-1].Fact.At; !s.over(last) || !last.Before(s.sent) {
		return found{}, nil
	}
	l := &leaving{history: []entry{copied(bRecords, id, raw)}, gone: seen(tx, [2][]byte{bByTime, k}, [2][]byte{bRecords, id})}
	p := past{At: s.now.Unix(), State: r.State, Reason: r.Reason, Revision: r.Revision, Content: r.Instruction.Content, Kind: r.Instruction.Kind,
		Explicit: r.Instruction.HasRevision, Start: seconds(r.Window.Start), End: seconds(r.Window.End)}
	ok, err := s.newest(tx, id, l, &p)
	return s.gone(tx, id, l, p, ok), err
}

// newest adds an instruction's newest offer to what leaves; false when it is
// not decided.
func (s *sweep) newest(tx *bbolt.Tx, id []byte, l *leaving, p *past) (bool, error) {
	at := tx.Bucket(bLatest).Get(id)
	seq := unsealed(at)
	raw := tx.Bucket(bOffers).Get(seq)
	if at == nil || raw == nil {
		return true, nil
	}
	var o flex.Offer
	if tx.Bucket(bUndecided).Get(seq) != nil || decode(seq, raw, &o) != nil {
		return false, nil
	}
	p.Content, p.Revision, p.Explicit, p.Kind, p.Forged = o.Instruction.Content, o.Instruction.Revision, o.Instruction.HasRevision, o.Instruction.Kind, o.Signature
	return true, s.strip(tx, seq, o, l)
}

// strip adds an offer to what leaves, and the instruction's text apart from it.
func (s *sweep) strip(tx *bbolt.Tx, seq []byte, o flex.Offer, l *leaving) error {
	if len(o.Instruction.Raw) > 0 {
		l.raw = append(l.raw, entry{Bucket: string(bOffers), Key: bytes.Clone(seq), Bytes: o.Instruction.Raw})
		o.Instruction.Raw = nil
	}
	raw, err := encode(seq, o)
	l.history = append(l.history, entry{Bucket: string(bOffers), Key: bytes.Clone(seq), Value: raw})
	l.gone = append(l.gone, seen(tx, [2][]byte{bOffers, seq})...)
	return err
}

// gone completes what leaves of an instruction, when all of it may.
func (s *sweep) gone(tx *bbolt.Tx, id []byte, l *leaving, p past, ok bool) found {
	if !ok {
		return found{}
	}
	if raw := tx.Bucket(bTombstones).Get(id); raw != nil {
		var t flex.Tombstone
		if decode(id, raw, &t) != nil {
			return found{}
		}
		p.stop(t)
		l.history = append(l.history, copied(bTombstones, id, raw))
	}
	if raw := tx.Bucket(bSightings).Get(id); raw != nil {
		l.history = append(l.history, copied(bSightings, id, raw))
	}
	l.gone = append(l.gone, seen(tx, [2][]byte{bLatest, id}, [2][]byte{bTombstones, id}, [2][]byte{bSightings, id})...)
	l.past = map[string]past{pastInstruction(flex.InstructionID(id)): p}
	return found{take: l}
}

// offer takes those that a later one replaced, and those of instructions that
// never had a record.
func (s *sweep) offer(tx *bbolt.Tx, k, v []byte) (found, error) {
	var o flex.Offer
	if decode(k, v, &o) != nil || tx.Bucket(bUndecided).Get(k) != nil {
		return found{}, nil
	}
	if !s.over(o.Received.At) {
		return found{stop: true}, nil
	}
	id := []byte(o.Instruction.ID)
	l := &leaving{}
	if at := tx.Bucket(bLatest).Get(id); at != nil && !bytes.Equal(unsealed(at), k) {
		err := s.strip(tx, k, o, l)
		return found{take: l}, err
	}
	if tx.Bucket(bRecords).Get(id) != nil || !o.Received.At.Before(s.sent) {
		return found{}, nil
	}
	p := past{At: s.now.Unix()}
	ok, err := s.newest(tx, id, l, &p)
	return s.gone(tx, id, l, p, ok), err
}

// tombstone takes those whose target never came.
func (s *sweep) tombstone(tx *bbolt.Tx, k, v []byte) (found, error) {
	var t flex.Tombstone
	if decode(k, v, &t) != nil || !s.over(t.At.At) || tx.Bucket(bLatest).Get(k) != nil || tx.Bucket(bRecords).Get(k) != nil {
		return found{}, nil
	}
	p, _ := s.db.pastOf(tx, pastInstruction(t.ID)) // a later stop of what left before
	p.At = s.now.Unix()
	return s.gone(tx, k, &leaving{}, p, true), nil
}

// notice takes what was fetched, with its body.
func (s *sweep) notice(tx *bbolt.Tx, k, v []byte) (found, error) {
	var n flex.Notice
	if decode(k, v, &n) != nil || n.State == flex.NoticeVerified || !s.over(n.Received) || !n.Received.Before(s.sent) {
		return found{}, nil
	}
	l := &leaving{history: []entry{copied(bInbox, k, v)}, gone: seen(tx, [2][]byte{bInbox, k}, [2][]byte{bRaw, k}),
		past: map[string]past{pastNotification(n.ID): {At: s.now.Unix()}}}
	if body := tx.Bucket(bRaw).Get(k); len(body) > 8 {
		l.raw = []entry{{Bucket: string(bRaw), Key: bytes.Clone(k), Bytes: bytes.Clone(body[8:])}}
	}
	return found{take: l}, nil
}

func (s *sweep) reply(tx *bbolt.Tx, k, v []byte) (found, error) {
	if len(k) > 8 && !s.over(timeOf(k)) {
		return found{stop: true}, nil
	}
	var r flex.Reply
	if decode(k, v, &r) != nil {
		return found{}, nil
	}
	l := &leaving{gone: seen(tx, [2][]byte{bReplies, k})}
	if len(r.Raw) > 0 {
		l.raw = []entry{{Bucket: string(bReplies), Key: bytes.Clone(k), Bytes: r.Raw}}
		r.Raw = nil
	}
	raw, err := encode(k, r)
	l.history = []entry{{Bucket: string(bReplies), Key: bytes.Clone(k), Value: raw}}
	return found{take: l}, err
}

func (s *sweep) audit(tx *bbolt.Tx, k, v []byte) (found, error) {
	var a flex.Audit
	if decode(k, v, &a) != nil {
		return found{}, nil
	}
	if !s.over(a.At.At) {
		return found{stop: true}, nil
	}
	return s.plain(tx, bAudit, k, v), nil
}

// plain takes a value that nothing else belongs to.
func (s *sweep) plain(tx *bbolt.Tx, bucket, k, v []byte) found {
	return found{take: &leaving{history: []entry{copied(bucket, k, v)}, gone: seen(tx, [2][]byte{bucket, k})}}
}

func (s *sweep) obligation(tx *bbolt.Tx, k, v []byte) (found, error) {
	var o flex.Obligation
	if decode(k, v, &o) != nil || o.GoneAt.IsZero() || !o.GoneAt.Before(s.now.Add(-keepGone)) {
		return found{}, nil
	}
	return s.plain(tx, bObligations, k, v), nil
}

func (s *sweep) unavailable(tx *bbolt.Tx, k, v []byte) (found, error) {
	var u flex.Unavailability
	if decode(k, v, &u) != nil || !u.Window.End.Before(s.now.Add(-keepQuarters)) {
		return found{}, nil
	}
	return s.plain(tx, bUnavailable, k, v), nil
}

// interval takes runs by their keys, which are ordered by step and time.
func (s *sweep) interval(tx *bbolt.Tx, k, _ []byte) (found, error) {
	if len(k) < 10 {
		return found{take: &leaving{gone: seen(tx, [2][]byte{bIntervals, k})}}, nil
	}
	length, start := intervalTime(k)
	keep := keepQuarters
	if length < keepFrom {
		keep = keepMinutes
	}
	if start.Before(s.now.Add(-keep)) {
		return found{take: &leaving{gone: seen(tx, [2][]byte{bIntervals, k})}}, nil
	}
	return found{seek: binary.BigEndian.AppendUint16(nil, uint16(length/time.Minute)+1)}, nil
}

func (s *sweep) past(tx *bbolt.Tx, k, v []byte) (found, error) {
	var p past
	if p.read(k, v) != nil {
		return found{}, nil
	}
	keep := keepPast
	if k[0] == 'n' {
		keep = keepPastIDs
	}
	if !time.Unix(p.At, 0).Before(s.now.Add(-keep)) {
		return found{}, nil
	}
	return found{take: &leaving{gone: seen(tx, [2][]byte{bPast, k})}}, nil
}

// message takes what nobody fetches.
func (s *sweep) message(stream flex.Stream) func(*bbolt.Tx, []byte, []byte) (found, error) {
	return func(_ *bbolt.Tx, k, v []byte) (found, error) {
		var m flex.Message
		if decode(k, v, &m) != nil {
			return found{}, nil
		}
		if !s.over(m.At) {
			return found{stop: true}, nil
		}
		return found{take: &leaving{history: []entry{{Bucket: string(bOutbox) + "/" + string(stream), Key: bytes.Clone(k), Value: bytes.Clone(v)}},
			gone: []place{{bucket: bOutbox, sub: []byte(stream), key: bytes.Clone(k), value: bytes.Clone(v)}}}}, nil
	}
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
