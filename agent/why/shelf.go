package why

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// File is where history is kept; it may forget.
type File interface {
	// Append keeps all of them or says why not.
	Append(ctx context.Context, at time.Time, blobs [][]byte) error
	// Read gives the blobs that are not older than an instant, oldest first.
	Read(ctx context.Context, since time.Time) ([][]byte, error)
}

const (
	saveEvery = time.Minute
	mostBlob  = 4 << 20   // bytes of one batch that are read
	fullBlob  = 128 << 10 // bytes at which a batch is full
)

// Load reads what earlier processes have kept. What cannot be read is left out.
func Load(ctx context.Context, f File, now time.Time) ([]Entry, error) {
	blobs, err := f.Read(ctx, now.Add(-Kept-time.Hour))
	var out []Entry
	for _, b := range blobs {
		out = append(out, parse(b)...)
	}
	return out[max(0, len(out)-mostOf):], err
}

// parse reads a batch: one entry a line. It stops where the batch is damaged.
func parse(blob []byte) (out []Entry) {
	dec := json.NewDecoder(bytes.NewReader(blob[:min(len(blob), mostBlob)]))
	for len(out) < mostOf {
		var e Entry
		if dec.Decode(&e) != nil {
			return out
		}
		out = append(out, e)
	}
	return out
}

// Run saves what is new until ctx ends, and then the rest. It tells how each
// attempt ended.
func (h *History) Run(ctx context.Context, f File, tell func(error)) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-ctx.Done():
			last = true
		case <-tick.C:
		}
		list := h.take()
		if len(list) > 0 {
			err := save(context.WithoutCancel(ctx), f, list)
			if err != nil {
				h.putBack(list)
			}
			tell(err)
		}
		if last {
			return nil
		}
	}
}

func save(ctx context.Context, f File, list []Entry) error {
	var blobs [][]byte
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i, e := range list {
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("cannot encode the history: %w", err)
		}
		if b.Len() >= fullBlob || i == len(list)-1 {
			blobs = append(blobs, bytes.Clone(b.Bytes()))
			b.Reset()
		}
	}
	return f.Append(ctx, list[len(list)-1].At, blobs)
}
