package regmap

import (
	"slices"

	"flexd/agent/flex"
)

// spares tells whether a step is left out while its values stand: where every
// point is persistent, or may be, for nobody knows. What may be is written
// again all the same where the device falls back without it.
func (d *Device) spares(me *Method, s Step) bool {
	return !slices.ContainsFunc(s.Points, func(n string) bool {
		switch d.m.Points[n].Memory {
		case persistent:
			return false
		case unknown:
			return me.Fallback.After.timed()
		case volatile:
		}
		return true
	})
}

// tolls are the registers that a dispatch wears out at most: what arms and
// engages a method, and what puts that back. A setpoint lies in none of them.
func (d *Device) tolls() []flex.Toll {
	var out []flex.Toll
	for _, name := range d.writable() {
		p, t := d.m.Points[name], flex.Toll{}
		if p.Memory == volatile || p.Permission != "" && !d.cfg.GridCharge {
			continue
		}
		always := false
		for _, me := range d.m.Control {
			for _, s := range slices.Concat(me.Arm, me.Engage, me.Release) {
				if slices.Contains(s.Points, name) {
					t.Dispatch++
				}
			}
			for _, s := range slices.Concat(me.Arm, me.Engage) {
				always = always || slices.Contains(s.Points, name) && s.When != whenGrid && s.When != whenCharge
			}
		}
		if t.Dispatch > 0 {
			t.Charge = !always
			t.Register = flex.Register{Addr: d.place(name).addr, Name: name, Persistent: true, Budget: p.Budget}
			out = append(out, t)
		}
	}
	return out
}

// trimmed leaves out, at both ends of a request that wears all of its points
// out, those that hold their value already.
func (d *Device) trimmed(im image, r request) request {
	if !r.lasting || d.volatile(r) {
		return r
	}
	stands := func(i int) bool {
		return d.m.Points[r.names[i]].readable() && !d.m.Points[r.names[i]].Moves && slices.Equal(im.words[r.names[i]], r.words[i])
	}
	from, to := 0, len(r.names)
	for from < to && stands(from) {
		from++
	}
	for to > from && stands(to-1) {
		to--
	}
	r.names, r.words = r.names[from:to], r.words[from:to]
	return r
}

// volatile tells whether any point of a request is.
func (d *Device) volatile(r request) bool {
	return slices.ContainsFunc(r.names, func(n string) bool { return d.m.Points[n].Memory == volatile })
}

// written spells a request point by point, and tells which of them wear out.
// In a request with volatile neighbours, which has to go out whole, a
// persistent point that keeps its value counts for nothing: a device stores
// what changes. One that may be persistent counts with every write.
func (d *Device) written(im image, r request) []flex.Register {
	mixed := d.volatile(r)
	out := make([]flex.Register, len(r.names))
	for i, n := range r.names {
		p := d.m.Points[n]
		out[i] = flex.Register{Addr: d.place(n).addr, Words: slices.Clone(r.words[i]), Name: n}
		kept := mixed && p.Memory == persistent && p.readable() && slices.Equal(im.words[n], r.words[i])
		if p.Memory != volatile && !kept {
			out[i].Persistent, out[i].Budget = true, p.Budget
		}
	}
	return out
}
