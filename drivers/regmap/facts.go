package regmap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// role is what the device is for: as the site says, else the map's first.
func (d *Device) role() flex.Role {
	if d.cfg.Role != "" {
		return d.cfg.Role
	}
	return flex.Role(d.m.Role[0])
}

// real is the point that a name stands for on this device; "" when none does.
func (d *Device) real(name string) string {
	p := d.m.Points[name]
	if p == nil || len(p.Choose) == 0 {
		return name
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found == nil {
		return ""
	}
	return d.found.chosen[name]
}

// reals are the points that the names stand for, and what tells their sign.
func (d *Device) reals(names []string) []string {
	var out []string
	for _, n := range names {
		n = d.real(strings.TrimPrefix(n, "-"))
		if n == "" {
			continue
		}
		out = append(out, n)
		if dir := d.m.Points[n].Direction; dir != nil {
			out = append(out, dir.Point)
		}
		for _, k := range d.m.Points[n].Valid {
			out = append(out, k.Point)
		}
	}
	return out
}

// look asks the device what decides the meaning of its points: which of the
// optional ones it has, the order of its registers, which of several to use.
func (d *Device) look(ctx context.Context, p modbus.Priority, f *found) error {
	for _, name := range slices.Sorted(maps.Keys(d.m.Points)) {
		if pt := d.m.Points[name]; !pt.Optional || len(pt.Choose) > 0 || !pt.readable() || !d.has(name) {
			continue
		}
		if _, err := d.read(ctx, p, []string{name}); lacking(err) {
			d.mu.Lock()
			f.absent[name] = true
			d.mu.Unlock()
		} else if err != nil {
			return err
		}
	}
	var asked []string
	if by := d.m.WordsBy; by != nil {
		asked = append(asked, by.Point)
	}
	for _, pt := range d.m.Points {
		for _, c := range pt.Choose {
			for _, k := range c.If {
				asked = append(asked, k.Point)
			}
		}
	}
	im, err := d.read(ctx, p, asked)
	if err != nil {
		return err
	}
	if err := d.orderOf(f, im); err != nil {
		return err
	}
	chosen := map[string]string{}
	for name, pt := range d.m.Points {
		for _, c := range pt.Choose {
			if d.has(c.Use) && (len(c.If) == 0 || d.all(im, c.If)) {
				chosen[name] = c.Use
				break
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f.chosen = chosen
	return nil
}

// lacking tells that the device refuses an address, rather than that the line
// or the device had a bad moment.
func lacking(err error) bool {
	var e *modbus.Exception
	return errors.As(err, &e) && slices.Contains([]byte{modbus.IllegalFunction, modbus.IllegalAddress, modbus.IllegalValue, modbus.DeviceFailure}, e.Code)
}

// orderOf reads in which order the device keeps its registers.
func (d *Device) orderOf(f *found, im image) error {
	by := d.m.WordsBy
	if by == nil {
		return nil
	}
	v, ok := d.value(im, by.Point)
	low, high := slices.Contains(by.LowFirst, int64(v)), slices.Contains(by.HighFirst, int64(v))
	if !ok || low == high {
		return fmt.Errorf("device %s: the order of its registers is not known: %s is %s", d.cfg.ID, by.Point, d.shown(im, by.Point))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f.low = low
	return nil
}

// low tells whether the low register of a point comes first.
func (d *Device) low(p *Point) bool {
	if p.Words != "" || d.m.WordsBy == nil {
		return p.low()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found != nil && d.found.low
}

// directed gives a magnitude its sign.
func (d *Device) directed(im image, p *Point, v float64) (float64, bool) {
	if p.Direction == nil || v == 0 {
		return v, true
	}
	at := d.m.Points[p.Direction.Point]
	words := im.words[p.Direction.Point]
	if len(words) != at.size() {
		return 0, false
	}
	raw := bits(words, d.low(at))
	has := func(mask *hexword) bool { return mask != nil && raw&uint64(*mask) != 0 }
	plus, minus := has(p.Direction.Plus), has(p.Direction.Minus)
	switch {
	case plus == minus:
		return 0, false
	case minus:
		return -math.Abs(v), true
	}
	return math.Abs(v), true
}

// total is the sum of numbers and points; what the device lacks and may lack
// adds nothing.
func (d *Device) total(im image, list operands) (sum float64, ok bool) {
	for _, o := range list {
		if o.point != "" && d.m.Points[o.point].Optional && !d.has(o.point) {
			continue
		}
		v, known := d.resolve(im, o)
		if !known {
			return 0, false
		}
		sum, ok = sum+v, true
	}
	return sum, ok
}

// least is the smallest of the numbers and points that are known.
func (d *Device) least(im image, list operands) (least float64, ok bool) {
	for _, o := range list {
		if v, known := d.resolve(im, o); known && v >= 0 && (!ok || v < least) {
			least, ok = v, true
		}
	}
	return least, ok
}

// points are the names in a list of operands.
func (list operands) points() []string {
	var out []string
	for _, o := range list {
		if o.point != "" {
			out = append(out, o.point)
		}
	}
	return out
}

// asksConsent tells whether the device tells sun and grid apart by a
// permission that is its owner's to give.
func (m *Map) asksConsent() bool {
	for _, p := range m.Points {
		if p.Permission == gridCharge {
			return true
		}
	}
	return false
}

// unpermitted tells that the device asks for a consent that it does not have.
func (d *Device) unpermitted() bool {
	return d.m.Control["set"] != nil && d.m.asksConsent() && !d.cfg.GridCharge
}

// permits tells whether a step may be written at all.
func (d *Device) permits(s Step) bool {
	return d.cfg.GridCharge || !slices.ContainsFunc(s.Points, func(n string) bool { return d.m.Points[n].Permission == gridCharge })
}
