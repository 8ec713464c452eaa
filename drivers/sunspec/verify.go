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
	mem, err := d.memory(f, im)
	if err != nil {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	p, err := f.plan(t, im, mem)
	if err != nil {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	p.expects = verifiable(p, f.role, im, d.lastTold())
	rec.Effective = p.effective
	judge(&rec, p, im, im.at)
	return rec, nil
}

// lastTold is the value that was last proven, if any.
func (d *Device) lastTold() *told {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told
}

// verifiable leaves out what changes by itself between two writes: what to
// revert to, and a hybrid's battery part, which follows the sun.
func verifiable(p plan, role flex.Role, im image, last *told) []expect {
	var out []expect
	for _, e := range p.expects {
		if !e.vital {
			continue
		}
		if role == flex.RoleHybrid && p.method == rates && e.name != "StorCtl_Mod" {
			sign := int64(1)
			if e.name == "InWRte" {
				sign = -1
			}
			out, _ := im.of(124).raw("OutWRte")
			e.value = sign * out
			if last != nil && len(last.values) == 1 {
				e.value = sign * last.values[0]
			}
		}
		out = append(out, e)
	}
	return out
}
