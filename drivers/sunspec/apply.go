package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

const (
	// imageAge is how old an image may be for a write to rest on it. It spares
	// a read between the decision and the first write.
	imageAge = 3 * time.Second
	// attempts is how often a sequence is written when reading back resolved
	// an uncertain write as missing. Only absolute values are ever written.
	attempts = 2
)

// Apply writes the target and reads it back. Applying the same target again
// rewrites all that re-arms the device's timer.
func (d *Device) Apply(ctx context.Context, t flex.Target) (flex.Receipt, error) {
	rec := flex.Receipt{Device: d.cfg.ID}
	turn := d.stops.Load()
	f, im, err := d.current(ctx, t.Order)
	if err != nil {
		return rec, err
	}
	if why := held(im); why != nil {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, why)
	}
	if t.Order == flex.OrderCap {
		if err := d.mayLimit(f, im); err != nil {
			return rec, err
		}
	}
	for range attempts {
		p, err := d.prepare(f, t, im)
		if err != nil {
			return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
		}
		rec.Effective = p.effective
		werr := d.writeAll(ctx, modbus.Write, turn, &rec, im, p.writes)
		if werr != nil && (!errors.Is(werr, flex.ErrUncertain) || errors.Is(werr, modbus.ErrOvertaken)) {
			return rec, d.refused(f, p, werr)
		}
		d.heartbeat(ctx, turn, &rec, im)
		back, at, err := d.readBack(ctx, modbus.Write, f)
		if err != nil {
			return rec, fmt.Errorf("device %s: cannot tell what stands in the device: %w: %w", d.cfg.ID, flex.ErrUncertain, errors.Join(werr, err))
		}
		judge(&rec, p, back, at)
		same := sameScales(p.method, im, back)
		im = back
		if rec.Echo && same && (werr == nil || len(rec.Problems) == 0) {
			d.proven(p, at)
			return rec, nil
		}
		if werr == nil && same {
			break // acknowledged and yet not there: writing it again proves nothing new
		}
	}
	return rec, d.unforced(ctx, f, t, im)
}

// prepare plans a write and remembers the intention before it is sent.
func (d *Device) prepare(f *found, t flex.Target, im image) (plan, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	mem := d.memory()
	if f.role == flex.RoleHybrid && f.set == rates && t.Order == flex.OrderSet {
		s, err := f.sampleOf(im, float64(t.Power))
		if err != nil {
			return plan{}, err
		}
		var last time.Time
		if d.told != nil && d.told.method == rates {
			last = d.told.at
		}
		b := d.flow.next(s, last, d.before == nil)
		mem.battery = &b
	}
	p, err := f.plan(t, im, mem)
	if err != nil {
		return p, err
	}
	if p.method == rates && p.value.forced() && d.noForced {
		return p, errNoForced
	}
	if d.told == nil || d.told.method != p.method {
		d.told = &told{method: p.method}
	}
	if n := len(d.told.values); n == 0 || d.told.values[n-1] != p.value {
		d.told.at = time.Now()
	}
	d.told.values, d.told.target = append(d.told.values, p.value), t.Power
	if n := len(d.told.values); n > 8 { // unproven ones do not pile up
		d.told.values = d.told.values[n-8:]
	}
	return p, nil
}

var errNoForced = fmt.Errorf("the device does not take negative rates in model 124, so its battery cannot be forced: %w", flex.ErrUnsupported)

// proven remembers the one value that now stands in the device.
func (d *Device) proven(p plan, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var target flex.Watts
	if d.told != nil && d.told.method == p.method {
		at, target = d.told.at, d.told.target
	}
	d.told = &told{at: at, method: p.method, values: []setting{p.value}, aim: p.effective, target: target}
}

// current gives what was found and an image recent enough to write upon. Once
// a cap of ours stands, every further one looks first whether it still does:
// others may have set a lower one.
func (d *Device) current(ctx context.Context, o flex.Order) (*found, image, error) {
	f, err := d.ready(ctx, modbus.Write)
	if err != nil {
		return nil, image{}, err
	}
	d.mu.Lock()
	im, look := d.last, o == flex.OrderCap && d.told != nil
	d.mu.Unlock()
	if look {
		im, err = d.fetch(ctx, modbus.Write, f)
		return f, im, err
	}
	if age := time.Since(im.at); age >= 0 && age <= imageAge {
		return f, im, nil
	}
	im, err = d.fetch(ctx, modbus.Write, f)
	return f, im, err
}

// memory gathers what a plan needs beyond the image; mu is held.
func (d *Device) memory() memory {
	return memory{before: d.before, gridCharge: d.cfg.GridCharge, adopt: d.cfg.AdoptLimit}
}

// mayLimit refuses to write a cap where others have set one, unless the
// configuration lets us work beneath it.
func (d *Device) mayLimit(f *found, im image) error {
	c, ok := controlOf(f.cap)
	if !ok {
		return nil
	}
	raw, on := limited(c, im.of(c.model))
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !on || d.cfg.AdoptLimit:
		return nil
	case d.told != nil && d.told.method == c.method && slices.Contains(d.told.values, setting{raw, raw}):
		return nil
	case d.before == nil && d.told == nil:
		return nil // a new process: it is for the journal to say whose this is
	}
	return fmt.Errorf("device %s: %w", d.cfg.ID, refuseLimit(c, im))
}

// refuseLimit says whose limit stands in the way.
func refuseLimit(c control, im image) *flex.Refusal {
	pct, _ := im.of(c.model).num("WMaxLimPct")
	return flex.Refuse(flex.ReasonLimitSetByOthers,
		"%d.%s is enabled at %g %% by others; control beneath it needs the device setting that adopts the limit", c.model, c.enable, pct)
}

// writeAll writes the registers in order, and stops at the first that was not
// acknowledged or when a release has begun since turn.
func (d *Device) writeAll(ctx context.Context, p modbus.Priority, turn int64, rec *flex.Receipt, im image, regs []flex.Register) error {
	for _, r := range regs {
		if err := d.writeRun(ctx, p, turn, rec, blockAt(im, r), r); err != nil {
			return err
		}
	}
	return nil
}

// writeRun writes a run as the device takes it: where it is refused, again and
// less at once, and from then on so.
func (d *Device) writeRun(ctx context.Context, p modbus.Priority, turn int64, rec *flex.Receipt, b block, r flex.Register) error {
	var refused error
	var before []flex.Register
	d.mu.Lock()
	known := d.cut
	d.mu.Unlock()
	for c := known; c < cuts; c++ {
		parts, ok := b.parts(c, r)
		if !ok || refused != nil && (sameRegisters(parts, before) || c == single && !oneByOne(refused)) {
			continue
		}
		err := d.writeParts(ctx, p, turn, rec, b, parts)
		if err == nil {
			d.mu.Lock()
			d.cut = max(d.cut, c)
			d.mu.Unlock()
			return nil
		}
		if !isException(err) {
			return err
		}
		if refused == nil {
			refused = err
		}
		before = parts
	}
	if refused == nil { // it must not be cut as others were
		return d.writeParts(ctx, p, turn, rec, b, []flex.Register{r})
	}
	return refused
}

func sameRegisters(a, b []flex.Register) bool {
	return slices.EqualFunc(a, b, func(x, y flex.Register) bool { return x.Addr == y.Addr && len(x.Words) == len(y.Words) })
}

// blockAt is the block that a register lies in.
func blockAt(im image, r flex.Register) block {
	for _, b := range im.blocks {
		if r.Addr >= b.addr && int(r.Addr-b.addr) < len(b.words) {
			return b
		}
	}
	return block{}
}

func (d *Device) writeParts(ctx context.Context, p modbus.Priority, turn int64, rec *flex.Receipt, b block, parts []flex.Register) error {
	for _, r := range parts {
		if d.stops.Load() != turn {
			return fmt.Errorf("%s: %w: a release came first", r.Name, flex.ErrNotSent)
		}
		begun := time.Now()
		d.mu.Lock()
		d.wrote = begun
		d.mu.Unlock()
		sent, err := d.wire.write(ctx, p, r)
		if err != nil && !errors.Is(err, flex.ErrUncertain) {
			return err
		}
		if sent.IsZero() {
			sent = begun
		}
		if rec.Sent.IsZero() {
			rec.Sent = sent
		}
		wrote := b.written(r)
		rec.Wrote = append(rec.Wrote, wrote...)
		d.mu.Lock()
		d.thrift.wore(wrote, begun)
		d.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// refused sorts a write that the device answered with an exception.
func (d *Device) refused(f *found, p plan, err error) error {
	var e *modbus.Exception
	if p.method == rates && p.value.forced() && errors.As(err, &e) && e.Code == modbus.IllegalValue {
		d.mu.Lock()
		d.noForced = true
		d.mu.Unlock()
		return fmt.Errorf("device %s: %w: %w", d.cfg.ID, errNoForced, err)
	}
	return fmt.Errorf("device %s: %w", d.cfg.ID, err)
}

// readBack reads the control models alone and keeps the latest image current.
func (d *Device) readBack(ctx context.Context, p modbus.Priority, f *found) (image, time.Time, error) {
	got, err := d.wire.fetch(ctx, p, f.chain.first(controls...))
	if err != nil {
		return image{}, time.Time{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	merged := image{at: d.last.at, blocks: make(map[uint16]block, len(d.last.blocks))}
	for id, b := range d.last.blocks {
		merged.blocks[id] = b
	}
	for id, b := range got.blocks {
		merged.blocks[id] = b
	}
	d.last, d.epoch = merged, d.epoch+1
	return merged, got.at, nil
}

// judge compares what stands in the device with what was wanted.
func judge(rec *flex.Receipt, p plan, im image, at time.Time) {
	rec.At, rec.Echo, rec.Problems, rec.Holds = at, true, nil, nil
	for _, e := range p.expects {
		got, ok := im.of(e.model).raw(e.name)
		if ok && got == e.value {
			continue
		}
		text := "not implemented"
		if ok {
			text = fmt.Sprint(got)
		}
		rec.Problems = append(rec.Problems, flex.Problem{Field: fmt.Sprintf("%d.%s", e.model, e.name), Want: fmt.Sprint(e.value), Got: text})
		rec.Echo = rec.Echo && !e.vital
	}
	if c, ok := controlOf(p.method); ok {
		rec.Holds = c.registers(im.of(c.model))
	}
}

// sameScales tells whether raw values mean the same in both images.
func sameScales(m method, a, b image) bool {
	c, ok := controlOf(m)
	if !ok {
		return true
	}
	for _, name := range c.values {
		x, ok := a.of(c.model).lsb(name)
		y, ok2 := b.of(c.model).lsb(name)
		if ok != ok2 || x != y {
			return false
		}
	}
	return m != rates || a.of(124).equal(b.of(124), "WChaMax", "WChaMax_SF")
}

// unforced tells a device that turns negative rates into something else, and
// takes our mode out of force there: a positive rate alone would be no order.
func (d *Device) unforced(ctx context.Context, f *found, t flex.Target, im image) error {
	b := im.of(124)
	out, _ := b.raw("OutWRte")
	in, _ := b.raw("InWRte")
	d.mu.Lock()
	var wanted setting
	if d.told != nil && d.told.method == rates && len(d.told.values) > 0 {
		wanted = d.told.values[len(d.told.values)-1]
	}
	clipped := t.Order == flex.OrderSet && f.set == rates && (wanted.low > 0 && in >= 0 || wanted.high < 0 && out >= 0)
	d.noForced = d.noForced || clipped
	d.mu.Unlock()
	if !clipped {
		return nil
	}
	off, err := b.write("StorCtl_Mod", "StorCtl_Mod", assign{"StorCtl_Mod", 0})
	if err == nil {
		_, err = d.wire.write(ctx, modbus.Stop, off)
	}
	if err != nil {
		return fmt.Errorf("device %s: %w, and taking it out of force failed: %w", d.cfg.ID, errNoForced, err)
	}
	return fmt.Errorf("device %s: %w", d.cfg.ID, errNoForced)
}
