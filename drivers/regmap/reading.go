package regmap

import (
	"context"
	"maps"
	"math"
	"slices"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// Read samples the device. A quantity that is not implemented stays nil.
func (d *Device) Read(ctx context.Context) (flex.Reading, error) {
	if _, err := d.ready(ctx, modbus.Read); err != nil {
		return flex.Reading{}, err
	}
	im, err := d.read(ctx, modbus.Read, d.measured())
	if err != nil {
		return flex.Reading{}, err
	}
	d.mu.Lock()
	d.last = d.last.merge(im)
	d.mu.Unlock()
	d.noteHarvest(im)
	d.noteSample(im)
	return d.reading(im), nil
}

// measured are the points of a reading: measurements, and what tells whether
// control is in force.
func (d *Device) measured() []string {
	ms := d.m.Measure
	var out []string
	for _, list := range []terms{ms.Power, ms.Battery, ms.PV, ms.Grid, ms.SoC, ms.Limit, ms.MaxPower, ms.Frequency, ms.Exported, ms.Imported} {
		out = append(out, d.reals(list)...)
	}
	out = append(out, ms.Status)
	for _, me := range d.m.Control {
		checks := slices.Concat(me.Active, me.Acting)
		if me.Harvest != nil {
			checks = append(checks, me.Harvest.Free...)
		}
		for _, k := range checks {
			out = append(out, k.Point)
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// reading turns an image into a reading.
func (d *Device) reading(im image) flex.Reading {
	ms := d.m.Measure
	r := flex.Reading{Device: d.cfg.ID, At: im.at, Power: watts(d.sum(im, ms.Power)), Battery: watts(d.sum(im, ms.Battery)), PV: watts(d.sum(im, ms.PV)),
		Limit: watts(d.sum(im, ms.Limit)), MaxPower: watts(d.sum(im, ms.MaxPower)), ExportedWh: energy(d.sum(im, ms.Exported)), ImportedWh: energy(d.sum(im, ms.Imported))}
	switch d.cfg.Sign {
	case sunspec.ImportPositive:
		if r.Power != nil {
			*r.Power = -*r.Power
		}
	case sunspec.ExportPositive: // what the map calls imported runs the other way
		r.ExportedWh, r.ImportedWh = r.ImportedWh, r.ExportedWh
	}
	if me := d.m.Control["set"]; d.role() == flex.RoleStorage && me != nil && (me.Of == ofBattery || me.Of == ofInverter) && len(ms.Battery) > 0 {
		r.Power = r.Battery // the battery alone: what the PV beside it gives is not its power
	}
	if v, ok := d.sum(im, ms.SoC); ok {
		if p, ok := flex.PercentOf(v / 100); ok {
			r.SoC = &p
		}
	}
	if v, ok := d.sum(im, ms.Frequency); ok && v > 0 && v < 1000 {
		r.Frequency = &v
	}
	if v, ok := d.value(im, ms.Status); ok {
		for word, values := range ms.StatusWord {
			if slices.Contains(values, int64(v)) {
				r.Status = word
			}
		}
	}
	r.Events = d.invalid(im)
	for _, me := range d.m.Control {
		if me.Harvest != nil && d.toldAny() { // told 0 W, it is left to itself
			yes := d.all(im, me.Active)
			r.Acting = &yes
		}
		if len(me.Acting) > 0 && d.all(im, me.Active) {
			yes := d.all(im, me.Acting)
			r.Acting = &yes
		}
	}
	return r
}

// invalid tells, in the map's words, why a value means nothing at the moment.
func (d *Device) invalid(im image) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(d.m.Points)) {
		for _, k := range d.m.Points[name].Valid {
			if ok, _ := d.holds(im, k); !ok && k.Hint != "" {
				out = append(out, k.Hint)
			}
		}
	}
	return out
}

func watts(v float64, ok bool) *flex.Watts {
	if !ok || math.IsNaN(v) || math.Abs(v) > float64(flex.MaxPower) {
		return nil
	}
	w := flex.Watts(math.Round(v))
	return &w
}

func energy(v float64, ok bool) *flex.WattHours {
	if !ok || v < 0 || v > 1e15 {
		return nil
	}
	wh := flex.WattHours(math.Round(v))
	return &wh
}
