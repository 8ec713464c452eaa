package telemetry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"

	"github.com/oklog/ulid/v2"

	"flexd/agent/flex"
	"flexd/store/series"
)

// Newest is the number that was given last: what is newer is live, what is
// older is behind.
func (l *Log) Newest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ring == nil {
		return 0
	}
	_, seq := l.ring.Last()
	return seq
}

// After gives the next batches above a number that the fleet has not taken,
// oldest first.
func (l *Log) After(ctx context.Context, seq uint64, n int) ([]flex.Message, error) {
	ring, mem, open := l.state()
	var out []series.Row
	for _, s := range open {
		for at := max(s.low, seq+1); ring != nil && at <= s.high && len(out) < n; {
			rows, err := ring.From(ctx, at, n-len(out))
			if err != nil {
				return nil, err
			}
			before := len(out)
			for _, r := range rows {
				if r.Seq <= s.high && (len(mem) == 0 || r.Seq < mem[0].Seq) {
					out = append(out, r)
				}
			}
			if len(out) == before {
				break
			}
			at = out[len(out)-1].Seq + 1
		}
	}
	for _, r := range mem {
		if r.Seq > seq && len(out) < n && open.has(r.Seq) {
			out = append(out, r)
		}
	}
	return l.messages(out), nil
}

// Before gives the next batches below a number that the fleet has not taken,
// newest first.
func (l *Log) Before(ctx context.Context, seq uint64, n int) ([]flex.Message, error) {
	ring, mem, open := l.state()
	var out []series.Row
	for _, r := range slices.Backward(mem) {
		if r.Seq < seq && len(out) < n && open.has(r.Seq) {
			out = append(out, r)
		}
	}
	for _, s := range slices.Backward(open) {
		high := s.high
		if seq > 0 {
			high = min(high, seq-1)
		}
		if len(mem) > 0 {
			high = min(high, mem[0].Seq-1)
		}
		if ring == nil || s.low > high || len(out) >= n {
			continue
		}
		rows, err := ring.Down(ctx, high, s.low, n-len(out))
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return l.messages(out), nil
}

// Done takes note of batches that the fleet has taken.
func (l *Log) Done(seqs ...uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range seqs {
		l.open = l.open.remove(n, n)
	}
}

// Waiting counts the batches that the fleet has not taken.
func (l *Log) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.open.count())
}

func (l *Log) state() (*series.DB, []series.Row, spans) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ring, slices.Clone(l.mem), slices.Clone(l.open)
}

func (l *Log) messages(rows []series.Row) []flex.Message {
	out := make([]flex.Message, len(rows))
	var in inflater
	for i, r := range rows {
		b, clock, err := in.unpack(r.Blob)
		var text json.RawMessage
		if err == nil {
			text, err = body(b)
		}
		if err != nil {
			l.cfg.Log.Warn("a batch of telemetry cannot be read: it is sent as a problem", "seq", r.Seq, "error", err)
			text = json.RawMessage(`{"problem":"the batch is damaged"}`)
		}
		out[i] = flex.Message{ID: id(r), Epoch: r.Epoch, Stream: flex.StreamTele, Seq: r.Seq, At: r.At, Clock: clock, Schema: "tele/1", Body: text}
	}
	return out
}

// id is the ULID of a batch. It follows from what names the batch, so that it
// is the same however often it is sent.
func id(r series.Row) string {
	var u ulid.ULID
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(r.Epoch+"/tele/"), r.Seq))
	// Neither fails: the time is one of this age, and the bytes are ten.
	_ = u.SetTime(uint64(max(0, r.At.UnixMilli())))
	_ = u.SetEntropy(sum[:10])
	return u.String()
}
