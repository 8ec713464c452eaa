package sunspec

import (
	"context"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// Snapshot records what is there before our first write: every register that
// a release may have to put back, and whose device it is. A sample of a moment
// ago serves as well as a new one: an instruction to begin at once need not
// wait for three more requests.
func (d *Device) Snapshot(ctx context.Context) (flex.Snapshot, error) {
	f, err := d.ready(ctx, modbus.Write)
	if err != nil {
		return flex.Snapshot{}, err
	}
	im, ok := d.recent(time.Now())
	if !ok {
		if im, err = d.fetch(ctx, modbus.Write, f); err != nil {
			return flex.Snapshot{}, err
		}
		if err := d.same(ctx, modbus.Write, f, im.at); err != nil {
			return flex.Snapshot{}, err
		}
	}
	s := flex.Snapshot{Device: d.cfg.ID, At: im.at, Endpoint: d.cfg.Endpoint, Unit: d.cfg.Unit,
		Serial: f.serial, Map: string(f.method()), Where: f.where()}
	s.Foreign = held(im)
	for _, c := range all(im) {
		s.Registers = append(s.Registers, c.registers(d.asFound(c, im.of(c.model)))...)
		if c.setpoint {
			s.Controlled = s.Controlled || inForce(im, c)
			continue
		}
		if _, on := limited(c, im.of(c.model)); on {
			s.Controlled = true
			if f.set == none && c.method == f.cap && !d.cfg.AdoptLimit {
				s.Foreign = refuseLimit(c, im)
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before, d.told = &im, nil
	return s, nil
}

// sampleAge is how old a sample may be to count as what is found: a little
// more than the second between two.
const sampleAge = 1500 * time.Millisecond

// recent gives the last sample when it is young, whole, and nothing was
// written since it was taken.
func (d *Device) recent(now time.Time) (image, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	age := now.Sub(d.sampled.at)
	return d.sampled, d.found != nil && age >= 0 && age <= sampleAge && d.sampled.at.After(d.wrote)
}
