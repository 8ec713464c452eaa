package sunspec

import (
	"fmt"
	"time"

	"flexd/agent/flex"
)

// A reversion time in 123 and 124 is a setting that devices keep: armed by the
// first write of a dispatch and put back at its end, it costs two writes each.
// While nothing is in force it counts nothing, so that a device found at rest
// comes to no harm when the time stays. It is put back as long as the day's
// writes are few, since a controller of somebody else's that never writes it
// would have its own orders lapse; beyond that it stays armed, which is told,
// and is put back at the next hand-back that has writes to spare.
const (
	defaultBudget = 100 // writes a day, as control has it
	keptAbove     = 40  // per cent of the budget
)

// thrift counts what this process has written to registers that wear out.
type thrift struct {
	day     string
	changes map[string]int   // today's, by name
	left    map[string]timer // reversion times that stayed armed, by name
}

// timer is a reversion time that stayed armed.
type timer struct{ found, ours int64 }

// keepAfter is how many changes in a day a reversion time is put back for.
func (c Config) keepAfter() int {
	budget := c.WriteBudget
	if budget <= 0 {
		budget = defaultBudget
	}
	return budget * keptAbove / 100
}

// wore counts the persistent registers among those written; mu is held.
func (t *thrift) wore(regs []flex.Register, now time.Time) {
	if day := now.UTC().Format(time.DateOnly); t.day != day {
		t.day, t.changes = day, map[string]int{}
	}
	for _, r := range regs {
		if r.Persistent {
			t.changes[r.Name]++
		}
	}
}

// timerName names a control's reversion time as receipts do.
func (c control) timerName() string { return fmt.Sprintf("%d.%s", c.model, c.timer) }

// keeps tells whether a control's reversion time is to stay armed at its
// hand-back; old is the control as it was found.
func (d *Device) keeps(c control, old block, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	was, _ := old.raw(c.enable)
	return was == 0 && persists(c.model, c.timer) && d.thrift.day == now.UTC().Format(time.DateOnly) &&
		d.thrift.changes[c.timerName()] >= d.cfg.keepAfter()
}

// leave remembers which reversion times a hand-back left armed, and tells.
func (d *Device) leave(e flex.JournalEntry, im image) (notes []flex.Problem) {
	for _, c := range all(im) {
		cur := im.of(c.model)
		old, known, err := cur.overlay(e.Snapshot.Registers)
		if !known || err != nil || !persists(c.model, c.timer) {
			continue
		}
		was, ok := old.raw(c.timer)
		now, ok2 := cur.raw(c.timer)
		name := c.timerName()
		kept := d.keeps(c, old, im.at)
		ena, _ := cur.raw(c.enable)
		d.mu.Lock()
		switch {
		case !ok || !ok2 || now == was:
			delete(d.thrift.left, name)
		case kept && ena == 0:
			if d.thrift.left == nil {
				d.thrift.left = map[string]timer{}
			}
			d.thrift.left[name] = timer{found: was, ours: now}
			notes = append(notes, flex.Problem{Field: name, Want: fmt.Sprintf("%d s as found", was),
				Got: fmt.Sprintf("%d s, stays armed to spare its memory, and does nothing while %s is off", now, c.enable)})
		}
		d.mu.Unlock()
	}
	return notes
}

// asFound is a control's block with the reversion time as it was found before
// we left our own there.
func (d *Device) asFound(c control, b block) block {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := c.timerName()
	left, ok := d.thrift.left[name]
	if !ok {
		return b
	}
	p, _ := b.point(c.timer)
	now, _ := b.raw(c.timer)
	if ena, _ := b.raw(c.enable); ena != 0 || now != left.ours {
		delete(d.thrift.left, name) // somebody has set the control since
		return b
	}
	b.words = append([]uint16(nil), b.words...)
	copy(b.words[p.off:], encode(p, left.found))
	return b
}

// tolls are the persistent registers that a dispatch writes.
func (f *found) tolls(im image, cfg Config) (out []flex.Toll) {
	add := func(b block, name string, t flex.Toll) {
		p, has := b.point(name)
		if _, ok := b.raw(name); has && ok {
			t.Register = flex.Register{Addr: b.addr + uint16(p.off), Name: fmt.Sprintf("%d.%s", b.model, name), Persistent: true}
			t.Dispatch = 2
			out = append(out, t)
		}
	}
	for _, m := range [...]method{f.set, f.cap} {
		if c, ok := controlOf(m); ok && persists(c.model, c.timer) {
			add(im.of(c.model), c.timer, flex.Toll{Day: cfg.keepAfter() + 2})
		}
	}
	if f.set == rates && cfg.GridCharge {
		add(im.of(124), "ChaGriSet", flex.Toll{Charge: true})
	}
	return out
}
