package regmap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// Bus carries one request to the device and brings its answer.
type Bus interface {
	Do(ctx context.Context, r modbus.Request) (modbus.Response, error)
}

// image is what a device said about several points.
type image struct {
	at    time.Time // when the last answer was complete
	words map[string][]uint16
}

func (im image) merge(newer image) image {
	out := image{at: newer.at, words: make(map[string][]uint16, len(im.words)+len(newer.words))}
	for k, v := range im.words {
		out.words[k] = v
	}
	for k, v := range newer.words {
		out.words[k] = v
	}
	return out
}

// place is where a point was found to lie on this device.
type place struct {
	unit byte
	fn   byte
	addr uint16
}

// read asks for points; neighbours share a request. A point whose scale
// factor is a point of its own is read together with it.
func (d *Device) read(ctx context.Context, p modbus.Priority, names []string) (image, error) {
	im := image{words: map[string][]uint16{}}
	for _, run := range d.runs(d.withScales(names)) {
		first, last := run[0], run[len(run)-1]
		at := d.place(first)
		count := int(d.place(last).addr) - int(at.addr) + d.m.Points[last].size()
		r, err := d.cfg.Bus.Do(ctx, modbus.Request{Unit: at.unit, Func: at.fn, Addr: at.addr, Count: uint16(count), Priority: p})
		if lacking(err) && d.asksFor(first) {
			continue // what stands for control is said in words, and the rest is told all the same
		}
		if err != nil {
			return im, fmt.Errorf("device %s: cannot read %s: %w", d.cfg.ID, strings.Join(run, ", "), err)
		}
		if len(r.Words) != count {
			return im, fmt.Errorf("device %s: %d registers from %d: the answer has %d", d.cfg.ID, count, at.addr, len(r.Words))
		}
		im.at = r.Done
		for _, name := range run {
			from := int(d.place(name).addr) - int(at.addr)
			im.words[name] = slices.Clone(r.Words[from : from+d.m.Points[name].size()])
		}
	}
	return im, nil
}

// asksFor tells whether a point is a precondition and nothing else: it is read
// by itself, and a device that refuses it is known to lack it.
func (d *Device) asksFor(name string) bool {
	return !d.m.Points[name].writable() && slices.ContainsFunc(d.m.Need, func(k Check) bool { return k.Point == name })
}

// withScales adds the scale factors and leaves out what cannot be read.
func (d *Device) withScales(names []string) []string {
	want := map[string]bool{}
	for _, n := range names {
		n = d.real(n)
		p := d.m.Points[n]
		if p == nil || !p.readable() || !d.has(n) {
			continue
		}
		want[n] = true
		if p.SF != "" && d.has(p.SF) {
			want[p.SF] = true
		}
	}
	out := make([]string, 0, len(want))
	for n := range want {
		out = append(out, n)
	}
	return out
}

// runs groups points that lie side by side into requests.
func (d *Device) runs(names []string) [][]string {
	slices.SortFunc(names, func(a, b string) int {
		x, y := d.place(a), d.place(b)
		for _, c := range []int{int(x.unit) - int(y.unit), int(x.fn) - int(y.fn), int(x.addr) - int(y.addr)} {
			if c != 0 {
				return c
			}
		}
		return strings.Compare(a, b)
	})
	var out [][]string
	for _, n := range names {
		if k := len(out) - 1; k >= 0 && d.joins(out[k], n) {
			out[k] = append(out[k], n)
			continue
		}
		out = append(out, []string{n})
	}
	return out
}

// joins tells whether a point continues a request: on the same unit, without
// a gap beyond what the map bridges, within what the device answers at once.
func (d *Device) joins(run []string, name string) bool {
	if d.asksFor(run[0]) || d.asksFor(name) {
		return false
	}
	a, z, b := d.place(run[0]), d.place(run[len(run)-1]), d.place(name)
	end := int(z.addr) + d.m.Points[run[len(run)-1]].size()
	size := int(b.addr) + d.m.Points[name].size() - int(a.addr)
	return a.unit == b.unit && a.fn == b.fn && int(b.addr) >= end && int(b.addr)-end <= d.m.Line.Bridge && size <= d.m.Line.MaxRead
}

// value is a point's value in its unit; ok is false for what is not there or
// not implemented.
func (d *Device) value(im image, name string) (v float64, ok bool) {
	p, words := d.m.Points[name], im.words[name]
	if p == nil || p.Type == Str || len(words) != p.size() || len(words) == 0 {
		return 0, false
	}
	raw := bits(words, d.low(p))
	if p.Type.absent(raw) || slices.Contains(p.NaN, hexword(raw)) {
		if p.Missing != nil {
			return float64(*p.Missing), true
		}
		return 0, false
	}
	if len(p.Valid) > 0 && !d.all(im, p.Valid) {
		return 0, false
	}
	lsb, ok := d.lsb(im, p)
	if !ok {
		return 0, false
	}
	v, ok = d.directed(im, p, (p.Type.number(raw)*lsb+float64(p.Offset))*float64(p.Sign))
	return v, ok && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// lsb is what one count of the register is worth.
func (d *Device) lsb(im image, p *Point) (float64, bool) {
	if p.SF == "" {
		return float64(p.Scale), true
	}
	f, words := d.m.Points[p.SF], im.words[p.SF]
	if len(words) != 1 || f == nil {
		return 0, false
	}
	sf := int16(words[0])
	if sf < -10 || sf > 10 { // 0x8000 is "not implemented"
		return 0, false
	}
	return float64(p.Scale) * math.Pow10(int(sf)), true
}

// sum adds up points; every one must be there, but for what a device may lack.
func (d *Device) sum(im image, list terms) (total float64, ok bool) {
	for _, t := range list {
		name, minus := strings.CutPrefix(t, "-")
		if d.m.Points[name].Optional && !d.has(name) {
			continue
		}
		v, known := d.value(im, d.real(name))
		if !known {
			return 0, false
		}
		if minus {
			v = -v
		}
		total, ok = total+v, true
	}
	return total, ok
}

// encode gives the registers of a value, rounded towards zero so that no
// power is ever more than was asked for, and the value that they stand for.
func (d *Device) encode(im image, name string, v float64) (words []uint16, stands float64, err error) {
	p := d.m.Points[name]
	lsb, ok := d.lsb(im, p)
	if !ok || lsb == 0 {
		return nil, 0, fmt.Errorf("the scale of %s is not implemented: %w", name, flex.ErrUnsupported)
	}
	counts := (v*float64(p.Sign) - float64(p.Offset)) / lsb
	if p.Type != F32 {
		counts = math.Trunc(counts + math.Copysign(1e-9, counts))
	}
	if f := float32(counts); p.Type == F32 && math.Abs(float64(f)) > math.Abs(counts) {
		counts = float64(math.Nextafter32(f, 0))
	}
	raw, err := p.Type.raw(counts)
	if err != nil {
		return nil, 0, fmt.Errorf("%s cannot hold %v: %w", name, v, err)
	}
	if p.Type == F32 {
		counts = p.Type.number(raw)
	}
	return split(raw, p.size(), d.low(p)), (counts*lsb + float64(p.Offset)) * float64(p.Sign), nil
}

// holds tells whether a check is met; unread tells that it cannot be told.
func (d *Device) holds(im image, k Check) (ok, unread bool) {
	p := d.m.Points[k.Point]
	if k.There != nil {
		return d.has(k.Point) == *k.There, false
	}
	if p == nil || im.words[k.Point] == nil {
		return false, true
	}
	if p.Type == Str {
		got := strings.ToLower(text(im.words[k.Point]))
		return slices.ContainsFunc(k.Has, func(s string) bool { return strings.Contains(got, strings.ToLower(s)) }), false
	}
	v, ok := d.value(im, k.Point)
	if !ok {
		return false, true
	}
	switch {
	case len(k.In) > 0 && !slices.Contains(k.In, number(v)), slices.Contains(k.Not, number(v)), k.Min != nil && v < float64(*k.Min), k.Max != nil && v > float64(*k.Max):
		return false, false
	}
	return true, false
}

// all tells whether every check holds.
func (d *Device) all(im image, checks []Check) bool {
	for _, k := range checks {
		if ok, _ := d.holds(im, k); !ok {
			return false
		}
	}
	return len(checks) > 0
}

var errWrong = errors.New("another kind of device answers")

// identity compares what the map asks of the device.
func (d *Device) identity(im image) error {
	for _, k := range d.m.Identity {
		if ok, _ := d.holds(im, k); !ok {
			return fmt.Errorf("device %s: %w than map %s is for: %s is %s", d.cfg.ID, errWrong, d.m.Name, k.Point, d.shown(im, k.Point))
		}
	}
	f := d.m.Firmware
	if f == nil {
		return nil
	}
	v, ok := d.value(im, f.Point)
	if !ok || f.From != nil && v < float64(*f.From) || f.To != nil && v > float64(*f.To) {
		return fmt.Errorf("device %s: firmware %s is not what map %s is for: %s", d.cfg.ID, d.shown(im, f.Point), d.m.Name, f.Hint)
	}
	return nil
}

// shown is a point for people.
func (d *Device) shown(im image, name string) string {
	words := im.words[name]
	if len(words) == 0 {
		return "not there"
	}
	if d.m.Points[name].Type == Str {
		return fmt.Sprintf("%q", text(words))
	}
	if v, ok := d.value(im, name); ok {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprintf("not implemented (%#04x)", words)
}
