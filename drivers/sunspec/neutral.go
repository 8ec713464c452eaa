package sunspec

import (
	"context"
	"errors"
	"fmt"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// Neutral takes every setpoint out of force on a device whose journal is lost.
// Caps may be others' and are left and reported.
func (d *Device) Neutral(ctx context.Context) (flex.Receipt, error) {
	rec := flex.Receipt{Device: d.cfg.ID}
	turn := d.stops.Add(1)
	f, err := d.ready(ctx, modbus.Stop)
	if err != nil {
		return rec, err
	}
	im, at, err := d.readBack(ctx, modbus.Stop, f)
	if err != nil {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	if err := d.same(ctx, modbus.Stop, f, at); err != nil {
		return rec, err
	}
	p, caps, err := neutral(im)
	if err != nil {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	unsure := d.writeAll(ctx, modbus.Stop, turn, &rec, im, p.writes)
	if unsure != nil && !errors.Is(unsure, flex.ErrUncertain) {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, unsure)
	}
	if len(p.writes) > 0 {
		if im, at, err = d.readBack(ctx, modbus.Stop, f); err != nil {
			return rec, d.unread(&rec, errors.Join(unsure, err))
		}
	}
	judge(&rec, p, im, at)
	rec.Problems = append(rec.Problems, caps...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told, d.before = nil, nil
	return rec, nil
}

// neutral plans the way out of every setpoint control in force.
func neutral(im image) (p plan, caps []flex.Problem, err error) {
	for _, c := range all(im) {
		b := im.of(c.model)
		if pct, on := limited(c, b); !c.setpoint && on {
			caps = append(caps, flex.Problem{Field: fmt.Sprintf("%d.%s", c.model, c.enable), Want: "left alone: it may be others'", Got: fmt.Sprintf("enabled, WMaxLimPct %d", pct)})
		}
		if !c.setpoint {
			continue
		}
		p.expects = append(p.expects, expect{c.model, c.enable, 0, true})
		if !inForce(im, c) {
			continue
		}
		off, err := b.write(c.enable, c.enable, assign{c.enable, 0})
		if err != nil {
			return p, caps, err
		}
		p.writes = append(p.writes, off)
		if run, err := freeRates(c, b); err == nil {
			p.writes = append(p.writes, run)
		}
	}
	return p, caps, nil
}

var errNotForced = errors.New("the rates force nothing")

// freeRates puts forced rates of model 124 back to 100 %, so that whoever
// switches the mode on again does not find them.
func freeRates(c control, b block) (flex.Register, error) {
	out, _ := b.raw("OutWRte")
	in, _ := b.raw("InWRte")
	lsb, ok := b.lsb("OutWRte")
	if c.method != rates || !ok || out >= 0 && in >= 0 {
		return flex.Register{}, errNotForced
	}
	all := steps(full, lsb)
	return b.write("OutWRte", "InWRte", assign{"OutWRte", all}, assign{"InWRte", all})
}
