package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// handback is what a release does about one control.
type handback struct {
	writes  []flex.Register
	expects []expect
	foreign bool
}

// Release hands the device back as it was found, orders of others included.
// What others changed since our last proven write is left alone. It is done
// when reading back proves it; doing it again writes nothing.
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
	for range attempts {
		im, at, err := d.readBack(ctx, modbus.Stop, f)
		if err != nil {
			return rec, d.unread(&rec, errors.Join(unsure, err))
		}
		if err := d.same(ctx, modbus.Stop, f, at); err != nil {
			return rec, err
		}
		todo, foreign, err := d.handbacks(e, im)
		if err != nil {
			return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
		}
		rec.At = at
		if len(todo.writes) == 0 {
			return d.released(&rec, e, im, foreign), nil
		}
		unsure = d.writeAll(ctx, modbus.Stop, turn, &rec, im, todo.writes)
		if unsure != nil && !errors.Is(unsure, flex.ErrUncertain) {
			return rec, fmt.Errorf("device %s: %w", d.cfg.ID, unsure)
		}
		back, at, err := d.readBack(ctx, modbus.Stop, f)
		if err != nil {
			return rec, d.unread(&rec, errors.Join(unsure, err))
		}
		judge(&rec, plan{expects: todo.expects}, back, at)
		if rec.Echo && (unsure == nil || len(rec.Problems) == 0) {
			problems := rec.Problems
			rec = d.released(&rec, e, back, foreign)
			rec.Problems = append(rec.Problems, problems...)
			return rec, nil
		}
		if unsure == nil {
			break
		}
	}
	return rec, nil
}

// unread says that the outcome is not known, when something was sent, and
// just what failed when nothing was.
func (d *Device) unread(rec *flex.Receipt, err error) error {
	if rec.Sent.IsZero() {
		return fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	return fmt.Errorf("device %s: cannot tell what stands in the device: %w: %w", d.cfg.ID, flex.ErrUncertain, err)
}

// owns insists that the journal speaks of this device.
func (d *Device) owns(f *found, s flex.Snapshot) error {
	if s.Serial != f.serial {
		return fmt.Errorf("device %s: the journal is of serial number %q, at %s unit %d answers %q: nothing was written; connect the right device or close the entry",
			d.cfg.ID, s.Serial, d.cfg.Endpoint, d.cfg.Unit, f.serial)
	}
	if s.Serial == "" && (s.Endpoint != d.cfg.Endpoint || s.Unit != d.cfg.Unit) {
		return fmt.Errorf("device %s: the journal is of %s unit %d, this is %s unit %d, and neither has a serial number: nothing was written",
			d.cfg.ID, s.Endpoint, s.Unit, d.cfg.Endpoint, d.cfg.Unit)
	}
	return nil
}

// released closes the driver's memory of its own writes.
func (d *Device) released(rec *flex.Receipt, e flex.JournalEntry, im image, foreign []flex.Problem) flex.Receipt {
	d.mu.Lock()
	d.told, d.before = nil, nil
	d.mu.Unlock()
	rec.Echo, rec.Foreign, rec.Problems = len(foreign) == 0, len(foreign) > 0, append(foreign, d.leave(e, im)...)
	rec.Holds, rec.Effective = nil, 0
	for _, c := range all(im) {
		if _, ok, err := im.of(c.model).overlay(e.Snapshot.Registers); ok && err == nil {
			rec.Holds = append(rec.Holds, c.registers(im.of(c.model))...)
		}
	}
	return *rec
}

// handbacks decides over every control that the snapshot holds.
func (d *Device) handbacks(e flex.JournalEntry, im image) (todo handback, foreign []flex.Problem, err error) {
	for _, c := range all(im) {
		cur := im.of(c.model)
		old, known, err := cur.overlay(e.Snapshot.Registers)
		if err != nil {
			return todo, nil, err
		}
		if !known {
			continue
		}
		ours, has, err := cur.overlay(e.Intent)
		if err != nil {
			return todo, nil, err
		}
		h, err := c.handback(claim{cur: cur, old: old, ours: ours, has: has && touches(c, cur, e.Intent), told: d.lastTold(), keep: d.keeps(c, old, im.at)})
		if err != nil {
			return todo, nil, err
		}
		todo.writes = append(todo.writes, h.writes...)
		todo.expects = append(todo.expects, h.expects...)
		if h.foreign {
			got, _ := cur.raw(c.values[len(c.values)-1])
			foreign = append(foreign, flex.Problem{Field: fmt.Sprintf("%d.%s", c.model, c.values[0]), Want: "our last proven write", Got: fmt.Sprintf("changed by others (%d), left alone", got)})
		}
	}
	return todo, foreign, nil
}

// touches tells whether any of the registers belongs to the control.
func touches(c control, b block, regs []flex.Register) bool {
	for _, r := range c.registers(b) {
		for _, x := range regs {
			if x.Name == r.Name {
				return true
			}
		}
	}
	return false
}

// claim is all that tells whose a control is.
type claim struct {
	cur, old, ours block
	has            bool  // ours is the last proven write; else nothing was proven
	told           *told // what this process wrote
	keep           bool  // the reversion time stays as it is
}

// handback decides over one control.
func (c control) handback(k claim) (handback, error) {
	ena, _ := k.cur.raw(c.enable)
	was, _ := k.old.raw(c.enable)
	untouched := k.cur.equal(k.old, append(c.run(), c.enable)...)
	mine := c.mine(k, ena != 0)
	switch {
	case untouched:
		return handback{}, nil // as it was found
	case c.foundAgain(k) && !mine:
		return handback{}, nil
	case ena != 0 && !mine:
		return handback{foreign: true}, nil
	case ena == 0 && was != 0 && !mine:
		return handback{foreign: true}, nil // others took their own order away
	case ena == 0 && !mine:
		return c.withdrawConsent(k) // not in force, and nothing else of ours is left
	}
	return c.restore(k, ena, was)
}

// withdrawConsent takes back the leave to charge from the grid where a device
// that fell back by itself kept it.
func (c control) withdrawConsent(k claim) (handback, error) {
	const grid = "ChaGriSet"
	was, ok := k.old.raw(grid)
	if c.method != rates || !ok || !k.has || k.cur.equal(k.old, grid) || !k.cur.equal(k.ours, grid) {
		return handback{}, nil
	}
	r, err := k.cur.write(grid, grid, assign{grid, was})
	if err != nil {
		return handback{}, err
	}
	return handback{writes: []flex.Register{r}, expects: []expect{{c.model, grid, was, true}}}, nil
}

// foundAgain tells whether what is in force, or nothing, is what was found: it
// came back by itself, or others wrote it again.
func (c control) foundAgain(k claim) bool {
	return k.cur.equal(k.old, append([]string{c.enable}, c.values...)...)
}

// mine tells whether the control holds our last proven write, or one that can
// be told by its shape from anybody else's.
func (c control) mine(k claim, on bool) bool {
	if k.told != nil && setterOf(k.told.method) != "" {
		if t, ok := controlOf(k.told.method); ok && t.model == c.model && t.enable == c.enable {
			if v, ok := k.cur.setting(k.told.method); ok && slices.Contains(k.told.values, v) {
				return true
			}
		}
	}
	if k.has && k.cur.equal(k.ours, c.values...) {
		return true
	}
	timer, timed := k.cur.raw(c.timer)
	if set, ok := k.ours.raw(c.timer); k.has && ok && timer != set {
		return false
	}
	if timed && timer == 0 {
		return false
	}
	if k.has && c.foundAgain(k) {
		return timed // lapsed to what was found, with our timer left behind
	}
	was, _ := k.old.raw(c.enable)
	switch c.method {
	case rates:
		return c.heldShape(k, on)
	case wset, wsetPct:
		return timed && revertsTo(k, "WSetEnaRvrt", "WSetEna") &&
			(revertsTo(k, "WSetRvrt", "WSet") || revertsTo(k, "WSetPctRvrt", "WSetPct") || was != 0 && !k.cur.equal(k.old, c.timer))
	case limit704, limit123:
		// Only where nothing was proven yet, and no cap was found: one with a
		// timer that has come since is the write whose proof was lost; one not in
		// force, with a time armed since, is a write that was cut short.
		return !k.has && k.told == nil && timed && was == 0 && (on || !k.cur.equal(k.old, c.timer))
	case none:
	}
	return false
}

// revertsTo tells whether a reversion field holds what the field it belongs to
// held when the device was found.
func revertsTo(k claim, field, of string) bool {
	v, ok := k.cur.raw(field)
	found, ok2 := k.old.raw(of)
	return ok && ok2 && v == found
}

// heldShape is our way to hold a battery: opposite and equal rates, or, between
// bounds, rates that leave room and of which one at most has moved since a
// proven write; in force with both bits of the mode, or with the bits that were
// found where a sequence was cut. What looks less like ours counts as ours only
// with a reversion time armed since the device was found, and no window.
func (c control) heldShape(k claim, on bool) bool {
	mod, _ := k.cur.raw(c.enable)
	was, _ := k.old.raw(c.enable)
	win, _ := k.cur.raw("InOutWRte_WinTms")
	out, ok := k.cur.raw("OutWRte")
	in, ok2 := k.cur.raw("InWRte")
	if !ok || !ok2 || out < -in || on && mod != both && mod != was {
		return false
	}
	if out == -in && (!on && out != 0 || mod == both) {
		return true
	}
	return win == 0 && !k.cur.equal(k.old, c.timer) &&
		(!k.has || out == -in || k.cur.equal(k.ours, "OutWRte") || k.cur.equal(k.ours, "InWRte"))
}

// restore gives a control back as it was found. What is to be out of force, or
// in force in another way, is so before its values go back, and what is to be
// in force again is so after: whatever part of it comes through, the power stays
// between what we told and what was found.
func (c control) restore(k claim, ena, was int64) (handback, error) {
	var h handback
	enable, err := k.cur.write(c.enable, c.enable, assign{c.enable, was})
	if err != nil {
		return h, err
	}
	if ena != was && ena != 0 {
		h.writes = append(h.writes, enable)
	}
	h.expects = []expect{{c.model, c.enable, was, true}}
	last := c.last
	if k.cur.equal(k.old, "ChaGriSet") && c.method == rates {
		last = "InOutWRte_RmpTms" // not ours to touch
	}
	var set []assign
	for _, name := range c.run() {
		before, implemented := k.old.raw(name)
		now, ok := k.cur.raw(name)
		if !ok || !implemented {
			continue
		}
		if k.keep && name == c.timer {
			before = now
		}
		set = append(set, assign{name, before})
		if now != before {
			vital := name == "ChaGriSet" || was != 0 && slices.Contains(c.values, name)
			h.expects = append(h.expects, expect{c.model, name, before, vital})
		}
	}
	if len(h.expects) > 1 {
		run, err := k.cur.write(c.first, last, set...)
		if err != nil {
			return h, err
		}
		h.writes = append(h.writes, run)
	}
	if ena != was && ena == 0 {
		h.writes = append(h.writes, enable)
	}
	return h, nil
}
