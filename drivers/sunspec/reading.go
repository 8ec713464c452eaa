package sunspec

import (
	"context"
	"fmt"
	"math"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// Read samples the device. A quantity that is not implemented, or whose scale
// factor is not, stays nil.
func (d *Device) Read(ctx context.Context) (flex.Reading, error) {
	f, err := d.ready(ctx, modbus.Read)
	if err != nil {
		return flex.Reading{}, err
	}
	im, err := d.fetch(ctx, modbus.Read, f)
	if err != nil {
		return flex.Reading{}, err
	}
	if err := d.same(ctx, modbus.Read, f, im.at); err != nil {
		return flex.Reading{}, err
	}
	d.mu.Lock()
	d.sampled = im
	last := d.told
	d.mu.Unlock()
	r := f.reading(im, d.cfg.Sign, last)
	r.Device = d.cfg.ID
	return r, nil
}

// reading turns an image into a reading.
func (f *found) reading(im image, sign string, last *told) flex.Reading {
	r := flex.Reading{At: im.at}
	if f.role == flex.RoleMeter {
		meterReading(&r, im, sign)
		return r
	}
	r.Power = wattsOf(acPower(im))
	if f.role != flex.RolePV {
		r.Battery = wattsOf(f.batteryPower(im))
	}
	r.SoC = percentOf(soc(im))
	r.Limit = wattsOf(limit(im))
	r.MaxPower = wattsOf(maxPower(im))
	inv, der := im.of(inverters[:6]...), im.of(701)
	r.Frequency = hertz(inv, der)
	r.ExportedWh, r.ImportedWh = energy(der, "TotWhInj"), energy(der, "TotWhAbs")
	if r.ExportedWh == nil {
		r.ExportedWh = energy(inv, "WH")
	}
	r.Status = status(inv, der)
	r.Acting = f.acting(im, last)
	r.Held = held(im)
	r.Events = append(events(inv, "Evt1"), events(der, "Alrm")...)
	return r
}

// meterReading reads a meter; its power counts as the configuration says, its
// energy registers are named for their direction.
func meterReading(r *flex.Reading, im image, sign string) {
	b := im.of(meters[:]...)
	if w, ok := b.num("W"); ok {
		if sign == ImportPositive {
			w = -w
		}
		r.Power = wattsOf(w, true)
	}
	r.Frequency = hertz(b)
	r.ExportedWh, r.ImportedWh = energy(b, "TotWhExp"), energy(b, "TotWhImp")
	if v, ok := b.raw("Evt"); ok {
		for bit := range 32 {
			if v>>bit&1 == 1 {
				r.Events = append(r.Events, fmt.Sprintf("meter_event_%d", bit))
			}
		}
	}
}

// acPower is the AC power, + towards the grid (model 701's and 103's own sign).
func acPower(im image) (float64, bool) {
	if w, ok := im.of(701).num("W"); ok {
		return w, true
	}
	return im.of(inverters[:6]...).num("W")
}

// soc is the state of charge in per cent.
func soc(im image) (float64, bool) {
	if v, ok := im.of(124).num("ChaState"); ok {
		return v, true
	}
	if v, ok := im.of(713).num("SoC"); ok {
		return v, true
	}
	return im.of(802).num("SoC")
}

// limit is the cap on AC power in force, W: the lowest of those enabled.
func limit(im image) (float64, bool) {
	base, ok := maxPower(im)
	low, any := math.Inf(1), false
	for _, m := range [...]method{limit704, limit123} {
		c, _ := controlOf(m)
		b := im.of(c.model)
		pct, has := b.num("WMaxLimPct")
		if ena, _ := b.raw(c.enable); ok && has && ena == 1 {
			low, any = min(low, base*pct/100), true
		}
	}
	return low, any
}

// inForce tells whether a control is enabled.
func inForce(im image, c control) bool {
	v, ok := im.of(c.model).raw(c.enable)
	return ok && v != 0
}

func status(inv, der block) string {
	// 101-113.St counts from 1, 701.InvSt from 0, with one list of states.
	states := [...]string{"off", "sleeping", "starting", "running", "throttled", "stopping", "fault", "standby"}
	if st, ok := der.raw("InvSt"); ok && st >= 0 && st < int64(len(states)) {
		return states[st]
	}
	if st, ok := inv.raw("St"); ok && st >= 1 && st <= int64(len(states)) {
		return states[st-1]
	}
	return ""
}

// events spells the bits that Evt1 (101-113) and Alrm (701) have in common.
func events(b block, name string) []string {
	names := [...]string{"ground_fault", "dc_over_volt", "ac_disconnect", "dc_disconnect", "grid_disconnect",
		"cabinet_open", "manual_shutdown", "over_temp", "over_frequency", "under_frequency", "ac_over_volt",
		"ac_under_volt", "blown_string_fuse", "under_temp", "memory_loss", "hw_test_failure"}
	v, ok := b.raw(name)
	if !ok {
		return nil
	}
	var out []string
	for bit := range 32 {
		switch {
		case v>>bit&1 == 0:
		case bit < len(names):
			out = append(out, names[bit])
		default:
			out = append(out, fmt.Sprintf("event_%d", bit))
		}
	}
	return out
}

func hertz(blocks ...block) *float64 {
	for _, b := range blocks {
		if v, ok := b.num("Hz"); ok && v > 0 && v < 1000 {
			return &v
		}
	}
	return nil
}

func energy(b block, name string) *flex.WattHours {
	v, ok := b.num(name)
	if !ok || v < 0 || v > 1e17 {
		return nil
	}
	wh := flex.WattHours(math.Round(v))
	return &wh
}

func wattsOf(v float64, ok bool) *flex.Watts {
	if !ok || math.IsNaN(v) || math.Abs(v) > float64(flex.MaxPower) {
		return nil
	}
	w := flex.Watts(math.Round(v))
	return &w
}

func percentOf(v float64, ok bool) *flex.Percent {
	if !ok {
		return nil
	}
	p, ok := flex.PercentOf(v / 100)
	if !ok {
		return nil
	}
	return &p
}
