package regmap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// Release hands the device back: the map's release sequence, and what was
// found where the map says so. What others changed since our last proven write
// is left alone. It is done when reading back proves it; doing it again writes
// nothing.
func (d *Device) Release(ctx context.Context, e flex.JournalEntry) (flex.Receipt, error) {
	rec := flex.Receipt{Device: d.cfg.ID}
	turn := d.stops.Add(1)
	f, err := d.ready(ctx, modbus.Stop)
	if err != nil {
		return rec, err
	}
	if err := d.owns(f, e.Snapshot); err != nil {
		return rec, err
	}
	var unsure error
	var todo []request
	for range attempts {
		im, err := d.fetch(ctx, modbus.Stop, d.handles())
		if err != nil {
			return rec, d.unread(&rec, errors.Join(unsure, err))
		}
		rec.At = im.at
		var foreign []flex.Problem
		if todo, foreign, err = d.handback(e, im); err != nil {
			return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
		}
		if len(foreign) > 0 {
			return d.released(rec, im, foreign), nil
		}
		if d.done(todo, im) {
			return d.released(rec, im, nil), nil
		}
		unsure = d.writeAll(ctx, modbus.Stop, turn, &rec, im, todo, false)
		if unsure != nil && !errors.Is(unsure, flex.ErrUncertain) {
			return rec, fmt.Errorf("device %s: %w", d.cfg.ID, unsure)
		}
		back, err := d.fetch(ctx, modbus.Stop, d.handles())
		if err != nil {
			return rec, d.unread(&rec, errors.Join(unsure, err))
		}
		d.judge(&rec, todo, back)
		if rec.Echo && (unsure == nil || len(rec.Problems) == 0 && !blind(todo)) {
			return d.released(rec, back, nil), nil
		}
		if unsure == nil {
			break
		}
	}
	return rec, d.unheard(&rec, todo, unsure)
}

// done tells whether the end of a way back stands already.
func (d *Device) done(todo []request, im image) bool {
	last := lastOf(todo)
	for k, r := range todo {
		if r.optional || !r.echo && d.isFreed() {
			continue
		}
		for i, n := range r.names {
			if p := d.m.Points[n]; last[n] == k && !p.Moves && (!r.echo || !slices.Equal(im.words[n], r.words[i])) {
				return false
			}
		}
	}
	return true
}

// isFreed tells whether the last thing we wrote was a release: one that cannot
// be read back is not sent twice.
func (d *Device) isFreed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.freed
}

// unread says that the outcome is not known, when something was sent, and just
// what failed when nothing was.
func (d *Device) unread(rec *flex.Receipt, err error) error {
	if rec.Sent.IsZero() {
		return err
	}
	return fmt.Errorf("device %s: cannot tell what stands in the device: %w: %w", d.cfg.ID, flex.ErrUncertain, err)
}

// handBack is how long a release takes at the pace that the map asks for: what
// is on the line already, all that is read before and after, and every step.
func (d *Device) handBack() time.Duration {
	longest := time.Duration(0)
	for _, me := range d.m.Control {
		requests := 1 + 2*len(d.runs(d.withScales(d.handles()))) + len(me.Release)
		took := time.Duration(requests) * time.Duration(d.m.Line.Gap)
		for _, s := range me.Release {
			took += time.Duration(s.Wait)
		}
		longest = max(longest, took)
	}
	return longest
}

// owns insists that the journal speaks of this device.
func (d *Device) owns(f *found, s flex.Snapshot) error {
	if s.Serial != f.serial || s.Serial == "" && (s.Endpoint != d.cfg.Endpoint || s.Unit != d.cfg.Unit) {
		return fmt.Errorf("device %s: the journal is of %q at %s unit %d, here answers %q at %s unit %d: nothing was written; connect the right device or close the entry",
			d.cfg.ID, s.Serial, s.Endpoint, s.Unit, f.serial, d.cfg.Endpoint, d.cfg.Unit)
	}
	return nil
}

// released closes the driver's memory of its own writes.
func (d *Device) released(rec flex.Receipt, im image, foreign []flex.Problem) flex.Receipt {
	d.mu.Lock()
	d.told, d.freed = nil, true
	d.mu.Unlock()
	rec.Echo, rec.Foreign = len(foreign) == 0, len(foreign) > 0
	if rec.Foreign {
		rec.Problems = foreign
	}
	rec.Holds, rec.Effective = d.registers(im, d.writable()), 0
	return rec
}

// handback plans the way back for every method that may be in force.
func (d *Device) handback(e flex.JournalEntry, im image) (todo []request, foreign []flex.Problem, err error) {
	old, ours := byName(e.Snapshot.Registers), byName(e.Intent)
	for _, name := range slices.Sorted(maps.Keys(d.m.Control)) {
		me := d.m.Control[name]
		active := d.inForce(me, im)
		rs, err := d.wayBack(me.Release, old, ours, im)
		if err != nil {
			return nil, nil, err
		}
		if changed := d.changed(me, ours, rs, im); active && changed != "" {
			foreign = append(foreign, flex.Problem{Field: changed, Want: "our last proven write", Got: "changed by others (" + d.shown(im, changed) + "), left alone"})
			continue
		}
		if len(ours) > 0 && !active && !d.used(me, ours) {
			continue // this method was never ours
		}
		todo = append(todo, rs...)
	}
	return todo, foreign, nil
}

// used tells whether a method's setpoint is among what we wrote.
func (d *Device) used(me *Method, ours map[string][]uint16) bool {
	for _, s := range slices.Concat(me.Write, me.Engage) {
		for _, n := range s.Points {
			if ours[n] != nil {
				return true
			}
		}
	}
	return false
}

// changed names a point of the method's setpoint that others have written
// since ours was proven; "" when none. A value of the way back is ours: an
// earlier release may have come half way.
func (d *Device) changed(me *Method, ours map[string][]uint16, back []request, im image) string {
	given := map[string][][]uint16{}
	for _, r := range back {
		for i, n := range r.names {
			given[n] = append(given[n], r.words[i])
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range me.Write {
		for i, n := range s.Points {
			was, now := ours[n], im.words[n]
			if was == nil || now == nil || s.Echo == echoNone || d.m.Points[n].Moves || slices.Equal(was, now) || s.Values[i].moves() && me.Of == ofGrid {
				continue
			}
			stands := func(w []uint16) bool { return slices.Equal(w, now) }
			if slices.ContainsFunc(given[n], stands) || d.told != nil && slices.ContainsFunc(d.told.words[n], stands) {
				continue
			}
			return n
		}
	}
	return ""
}

// moves tells whether the value is a power.
func (o operand) moves() bool {
	return slices.Contains([]string{wordPower, wordInverse, wordCharge, wordDischarge, wordMagnitude, wordPercent, wordMinus}, o.word)
}

// wayBack encodes the release sequence. A value that was found is put back only
// where ours still stands, or where it is back already: an earlier release may
// have come half way. A persistent register is not written for nothing.
func (d *Device) wayBack(steps []Step, old, ours map[string][]uint16, im image) ([]request, error) {
	var out []request
	for _, s := range steps {
		if len(s.If) > 0 && !d.all(im, s.If) {
			continue
		}
		r := request{names: s.Points, echo: s.Echo == echoEqual, wait: time.Duration(s.Wait), lasting: s.Echo == echoEqual, optional: s.Optional}
		skip := false
		for i, n := range s.Points {
			if s.Values[i].word == wordFound {
				was := old[n]
				mine := ours[n] == nil || slices.Equal(ours[n], im.words[n])
				skip = skip || was == nil || !mine && !slices.Equal(was, im.words[n])
				r.words = append(r.words, was)
				continue
			}
			v, err := d.operand(s.Values[i], wish{}, im)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", n, err)
			}
			words, _, err := d.encode(im, n, v)
			if err != nil {
				return nil, err
			}
			r.words = append(r.words, words)
		}
		if !skip {
			out = append(out, r)
		}
	}
	return out, nil
}

func byName(regs []flex.Register) map[string][]uint16 {
	out := make(map[string][]uint16, len(regs))
	for _, r := range regs {
		out[r.Name] = r.Words
	}
	return out
}

// Neutral takes control out of force on a device whose journal is lost. What
// was found before us is not known: such values are left.
func (d *Device) Neutral(ctx context.Context) (flex.Receipt, error) {
	rec := flex.Receipt{Device: d.cfg.ID}
	turn := d.stops.Add(1)
	if _, err := d.ready(ctx, modbus.Stop); err != nil {
		return rec, err
	}
	im, err := d.fetch(ctx, modbus.Stop, d.handles())
	if err != nil {
		return rec, err
	}
	var todo []request
	if me := d.m.Control["set"]; me != nil && d.inForce(me, im) {
		steps := me.Boot
		if len(steps) == 0 {
			steps = me.Release
		}
		if todo, err = d.wayBack(steps, nil, nil, im); err != nil {
			return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
		}
	}
	unsure := d.writeAll(ctx, modbus.Stop, turn, &rec, im, todo, false)
	if unsure != nil && !errors.Is(unsure, flex.ErrUncertain) {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, unsure)
	}
	if len(todo) > 0 {
		if im, err = d.fetch(ctx, modbus.Stop, d.handles()); err != nil {
			return rec, d.unread(&rec, errors.Join(unsure, err))
		}
	}
	d.judge(&rec, todo, im)
	if err := d.unheard(&rec, todo, unsure); err != nil {
		return rec, err
	}
	if limit := d.m.Control["cap"]; limit != nil && d.all(im, limit.Active) {
		rec.Problems = append(rec.Problems, flex.Problem{Field: "cap", Want: "left alone: it may be others'", Got: "in force"})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told, d.freed = nil, true
	return rec, nil
}

// inForce tells whether a method's control is in effect, as far as the device
// says so. Where nothing can be read it may be, until it was released.
func (d *Device) inForce(me *Method, im image) bool {
	if len(me.Active) == 0 {
		return !d.isFreed()
	}
	return d.all(im, me.Active)
}
