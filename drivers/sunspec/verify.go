package sunspec

import (
	"context"
	"fmt"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// Verify compares what stands in the device with a target. It writes nothing.
func (d *Device) Verify(ctx context.Context, t flex.Target) (flex.Receipt, error) {
	rec := flex.Receipt{Device: d.cfg.ID}
	f, err := d.ready(ctx, modbus.Read)
	if err != nil {
		return rec, err
	}
	im, err := d.fetch(ctx, modbus.Read, f)
	if err != nil {
		return rec, err
	}
	d.mu.Lock()
	mem, last := d.memory(), d.told
	if f.role == flex.RoleHybrid && f.set == rates {
		mem.battery = d.flow.standing(float64(t.Power), f.standing(im))
	}
	d.mu.Unlock()
	p, err := f.plan(t, im, mem)
	if err != nil {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	p.expects = verifiable(p, f, im, last)
	rec.Effective = p.effective
	judge(&rec, p, im, im.at)
	if f.role == flex.RoleHybrid && p.method == rates && last != nil && last.method == rates && last.target != t.Power {
		rec.Echo = false // its rates move by themselves: of another target they tell nothing
		rec.Problems = append(rec.Problems, flex.Problem{Field: "the target", Want: t.Power.String(), Got: last.target.String()})
	}
	return rec, nil
}

// lastTold is the value that was last proven, if any.
func (d *Device) lastTold() *told {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told
}

// followed expects the rates that this process told last, or, where it told
// none, any that hold a battery.
func followed(e expect, f *found, im image, last *told) expect {
	now, _ := im.of(124).raw(e.name)
	wrote := last != nil && last.method == rates && len(last.values) > 0
	switch {
	case e.name == "OutWRte" && wrote:
		e.value = last.values[len(last.values)-1].high
	case e.name == "InWRte" && wrote:
		e.value = -last.values[len(last.values)-1].low
	case e.name == "OutWRte", e.name == "InWRte" && f.standing(im) != nil:
		e.value = now
	}
	return e
}

// verifiable leaves out what changes by itself between two writes: what to
// revert to, and a hybrid's battery part, which follows the sun.
func verifiable(p plan, f *found, im image, last *told) []expect {
	var out []expect
	for _, e := range p.expects {
		if !e.vital {
			continue
		}
		if f.role == flex.RoleHybrid && p.method == rates {
			e = followed(e, f, im, last)
		}
		out = append(out, e)
	}
	return out
}
