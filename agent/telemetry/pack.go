package telemetry

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"flexd/agent/flex"
)

// How a batch lies in the file: the first byte tells. What releases before the
// packed form kept is JSON as it was sent, and begins with a brace.
const (
	formPlain   = 1 // clock, time, tracks
	formDeflate = 2 // the same, compressed
	formJSON    = '{'
)

// grain is how finely the instants of samples are kept.
const grain = 10 * time.Millisecond

// mostUnpacked bounds what a compressed batch may grow to.
const mostUnpacked = 4 << 20

var clocks = []flex.ClockTrust{"", flex.ClockSynced, flex.ClockHoldover, flex.ClockUntrusted}

// pack writes a batch by columns: instants as differences of differences,
// values as differences, all in as few bytes as they need.
func pack(b Batch, clock flex.ClockTrust) []byte {
	out := []byte{formPlain, 0}
	for i, c := range clocks {
		if c == clock {
			out[1] = byte(i)
		}
	}
	out = binary.AppendVarint(out, b.From.UnixNano())
	out = binary.AppendUvarint(out, uint64(len(b.Tracks)))
	for _, t := range b.Tracks {
		out = binary.AppendUvarint(out, uint64(len(t.Device)))
		out = append(out, t.Device...)
		out = binary.AppendUvarint(out, uint64(len(t.Offset)))
		last, step := int64(0), int64(0)
		for _, o := range t.Offset {
			at := int64(math.Round(o * float64(time.Second/grain)))
			out = binary.AppendVarint(out, at-last-step)
			last, step = at, at-last
		}
		out = column(out, len(t.Offset), t.Power)
		out = column(out, len(t.Offset), t.SoC)
	}
	return out
}

// column writes n values, 0 for one that is not known, else one more than the
// zigzag difference to the last that was. A column without values is a zero.
func column[T ~int64 | ~int32](out []byte, n int, values []*T) []byte {
	if len(values) == 0 {
		return append(out, 0)
	}
	out = append(out, 1)
	last := int64(0)
	for i := range n {
		if i >= len(values) || values[i] == nil {
			out = append(out, 0)
			continue
		}
		d := int64(*values[i]) - last
		last = int64(*values[i])
		out = binary.AppendUvarint(out, uint64(d<<1^d>>63)+1)
	}
	return out
}

// deflater compresses packed batches. It has large tables: one is made for a
// commit and not kept.
type deflater struct{ w *flate.Writer }

func (d *deflater) deflate(plain []byte) []byte {
	if len(plain) == 0 || plain[0] != formPlain {
		return plain
	}
	var out bytes.Buffer
	out.WriteByte(formDeflate)
	if d.w == nil {
		d.w, _ = flate.NewWriter(&out, flate.DefaultCompression) // the level is a valid one
	} else {
		d.w.Reset(&out)
	}
	_, werr := d.w.Write(plain[1:])
	if cerr := d.w.Close(); werr != nil || cerr != nil || out.Len() >= len(plain) { // memory takes it all; it may not shrink
		return plain
	}
	return out.Bytes()
}

// inflater reads batches; its tables serve for all of them.
type inflater struct{ r io.ReadCloser }

// inflate reads what deflate wrote.
func (in *inflater) inflate(raw []byte) ([]byte, error) {
	src := bytes.NewReader(raw)
	if in.r == nil {
		in.r = flate.NewReader(src)
	} else if err := in.r.(flate.Resetter).Reset(src, nil); err != nil { // every reader of the package is one
		return nil, err
	}
	return io.ReadAll(io.LimitReader(in.r, mostUnpacked))
}

// unpack reads a batch in any of its forms.
func unpack(blob []byte) (Batch, flex.ClockTrust, error) { return new(inflater).unpack(blob) }

func (in *inflater) unpack(blob []byte) (Batch, flex.ClockTrust, error) {
	if len(blob) == 0 {
		return Batch{}, "", errors.New("an empty batch")
	}
	switch blob[0] {
	case formJSON:
		return unpackJSON(blob)
	case formDeflate:
		plain, err := in.inflate(blob[1:])
		if err != nil {
			return Batch{}, "", fmt.Errorf("a packed batch is damaged: %w", err)
		}
		return unpackPlain(plain)
	case formPlain:
		return unpackPlain(blob[1:])
	}
	return Batch{}, "", fmt.Errorf("a batch has the form %d, which this flexd does not know", blob[0])
}

// unpackJSON reads a batch as it was sent: percentages are in per cent there.
func unpackJSON(blob []byte) (Batch, flex.ClockTrust, error) {
	var sent struct {
		From   time.Time `json:"from"`
		Tracks []struct {
			Track
			SoC        []*float64 `json:"soc"`
			SoCPercent []*float64 `json:"soc_percent"`
		} `json:"tracks"`
	}
	if err := json.Unmarshal(blob, &sent); err != nil {
		return Batch{}, "", fmt.Errorf("a batch is damaged: %w", err)
	}
	b := Batch{From: sent.From}
	for _, t := range sent.Tracks {
		tr := t.Track
		for _, f := range append(t.SoC, t.SoCPercent...) {
			if f == nil {
				tr.SoC = append(tr.SoC, nil)
				continue
			}
			p := flex.Percent(math.Round(*f * 100))
			tr.SoC = append(tr.SoC, &p)
		}
		b.Tracks = append(b.Tracks, &tr)
	}
	return b, "", nil
}

var errPacked = errors.New("a packed batch is damaged")

// reader reads numbers until one is missing.
type reader struct {
	raw []byte
	bad bool
}

func (r *reader) take(n int) {
	if n <= 0 || n > len(r.raw) {
		r.bad, r.raw = true, nil
		return
	}
	r.raw = r.raw[n:]
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.raw)
	r.take(n)
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.raw)
	r.take(n)
	return v
}

// length is a number of things of a byte at least each.
func (r *reader) length() int {
	n := r.uint()
	if n > uint64(len(r.raw)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func unpackPlain(raw []byte) (Batch, flex.ClockTrust, error) {
	if len(raw) == 0 || int(raw[0]) >= len(clocks) {
		return Batch{}, "", errPacked
	}
	clock, r := clocks[raw[0]], &reader{raw: raw[1:]}
	b := Batch{From: time.Unix(0, r.int()).UTC()}
	for range r.length() {
		name := r.length()
		if r.bad {
			break
		}
		t := &Track{Device: flex.DeviceID(r.raw[:name])}
		r.raw = r.raw[name:]
		last, step := int64(0), int64(0)
		n := r.length()
		t.Offset = make([]float64, 0, n)
		for range n {
			step += r.int()
			last += step
			t.Offset = append(t.Offset, (time.Duration(last) * grain).Seconds())
		}
		t.Power, t.SoC = values[flex.Watts](r, n), values[flex.Percent](r, n)
		b.Tracks = append(b.Tracks, t)
	}
	if r.bad || len(r.raw) > 0 {
		return Batch{}, "", errPacked
	}
	return b, clock, nil
}

func values[T ~int64 | ~int32](r *reader, n int) []*T {
	if r.uint() == 0 {
		return nil
	}
	out, block, last := make([]*T, 0, n), make([]T, n), int64(0)
	for i := range n {
		u := r.uint()
		if r.bad {
			return nil
		}
		if u == 0 {
			out = append(out, nil)
			continue
		}
		u--
		last += int64(u>>1) ^ -int64(u&1)
		block[i] = T(last)
		out = append(out, &block[i])
	}
	return out
}
