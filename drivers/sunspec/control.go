package sunspec

import (
	"fmt"
	"strings"

	"flexd/agent/flex"
)

// control is one group of registers that act together.
type control struct {
	method   method
	model    uint16
	enable   string // 0: not in force
	values   []string
	first    string // the run of the rest, all of it writable
	last     string
	timer    string
	setpoint bool // goes to neutral; a cap goes back to what was found
}

// controlOf describes the control behind a method.
func controlOf(m method) (control, bool) {
	switch m {
	case wset, wsetPct:
		return control{method: m, model: 704, enable: "WSetEna", values: []string{"WSetMod", "WSet", "WSetPct"},
			first: "WSetMod", last: "WSetRvrtTms", timer: "WSetRvrtTms", setpoint: true}, true
	case rates:
		return control{method: m, model: 124, enable: "StorCtl_Mod", values: []string{"OutWRte", "InWRte"},
			first: "OutWRte", last: "ChaGriSet", timer: "InOutWRte_RvrtTms", setpoint: true}, true
	case limit704:
		return control{method: m, model: 704, enable: "WMaxLimPctEna", values: []string{"WMaxLimPct"},
			first: "WMaxLimPct", last: "WMaxLimPctRvrtTms", timer: "WMaxLimPctRvrtTms"}, true
	case limit123:
		return control{method: m, model: 123, enable: "WMaxLim_Ena", values: []string{"WMaxLimPct"},
			first: "WMaxLimPct", last: "WMaxLimPct_RmpTms", timer: "WMaxLimPct_RvrtTms"}, true
	case none:
	}
	return control{}, false
}

// setterOf names the point that carries the setpoint.
func setterOf(m method) string {
	switch m {
	case wset:
		return "WSet"
	case wsetPct:
		return "WSetPct"
	case rates:
		return "OutWRte"
	case limit704, limit123:
		return "WMaxLimPct"
	case none:
	}
	return ""
}

// setting reads the setpoint or cap that stands.
func (b block) setting(m method) (setting, bool) {
	v, ok := b.raw(setterOf(m))
	if m != rates {
		return setting{v, v}, ok
	}
	in, ok2 := b.raw("InWRte")
	return setting{-in, v}, ok && ok2
}

// all lists the controls that the device has, setpoints first, whichever of
// them is in use: a predecessor may have used another.
func all(im image) []control {
	var out []control
	for _, m := range [...]method{wset, rates, limit704, limit123} {
		c, _ := controlOf(m)
		if _, ok := im.of(c.model).raw(c.enable); ok {
			out = append(out, c)
		}
	}
	return out
}

// span gives the words from the first to the last point, as far as the device
// has them. Points at either end that are not implemented are left off.
func (b block) span(first, last string) (flex.Register, error) {
	from, to := -1, -1
	inside := false
	for _, p := range layout(b.model) {
		inside = inside || p.name == first
		if !inside {
			continue
		}
		if p.off+p.size > len(b.words) {
			break
		}
		if !p.writable || to >= 0 && p.off != to || from < 0 && p.name != first {
			return flex.Register{}, fmt.Errorf("model %d: %s is not part of a writable run", b.model, p.name)
		}
		if from < 0 {
			from = p.off
		}
		to = p.off + p.size
		if p.name == last {
			break
		}
	}
	if from < 0 {
		return flex.Register{}, fmt.Errorf("model %d has no %s: %w", b.model, first, flex.ErrUnsupported)
	}
	words := append([]uint16(nil), b.words[from:to]...)
	return flex.Register{Addr: b.addr + uint16(from), Words: words, Name: fmt.Sprintf("%d.%s", b.model, first)}, nil
}

// assign is a raw value for a point.
type assign struct {
	name  string
	value int64
}

// write builds the registers of a run with the values put in. A value for a
// point that is not implemented is left out.
func (b block) write(first, last string, set ...assign) (flex.Register, error) {
	r, err := b.span(first, last)
	if err != nil {
		return r, err
	}
	for _, s := range set {
		p, ok := b.point(s.name)
		if !ok {
			continue
		}
		if _, ok := b.raw(s.name); !ok {
			continue
		}
		at := int(b.addr) + p.off - int(r.Addr)
		if at < 0 || at+p.size > len(r.Words) {
			continue
		}
		copy(r.Words[at:], encode(p, s.value))
	}
	return r, nil
}

// sparse splits a run where it crosses points that are not implemented: some
// devices refuse to have those written.
func (b block) sparse(r flex.Register) []flex.Register {
	var out []flex.Register
	open := false
	for _, p := range layout(b.model) {
		at := int(b.addr) + p.off - int(r.Addr)
		if at < 0 || at+p.size > len(r.Words) {
			continue
		}
		if _, ok := b.raw(p.name); !ok {
			open = false
			continue
		}
		w := r.Words[at : at+p.size]
		if open {
			out[len(out)-1].Words = append(out[len(out)-1].Words, w...)
			continue
		}
		out = append(out, flex.Register{Addr: b.addr + uint16(p.off), Words: append([]uint16(nil), w...), Name: fmt.Sprintf("%d.%s", b.model, p.name)})
		open = true
	}
	return out
}

// registers are the enabling register and the run of a control as they stand.
func (c control) registers(b block) []flex.Register {
	var out []flex.Register
	for _, ends := range [...][2]string{{c.enable, c.enable}, {c.first, c.last}} {
		if r, err := b.span(ends[0], ends[1]); err == nil {
			out = append(out, r)
		}
	}
	return out
}

// overlay puts registers taken earlier into a copy of the block, so that they
// can be read by name. ok is false when none of them belongs to the block.
func (b block) overlay(regs []flex.Register) (old block, ok bool, err error) {
	old = block{model: b.model, addr: b.addr, words: append([]uint16(nil), b.words...)}
	prefix := fmt.Sprintf("%d.", b.model)
	for _, r := range regs {
		name, mine := strings.CutPrefix(r.Name, prefix)
		if !mine {
			continue
		}
		p, has := b.point(name)
		if !has || b.addr+uint16(p.off) != r.Addr || p.off+len(r.Words) > len(b.words) {
			return old, false, fmt.Errorf("%w: %s stood at register %d when it was recorded", ErrMoved, r.Name, r.Addr)
		}
		copy(old.words[p.off:], r.Words)
		ok = true
	}
	return old, ok, nil
}

// equal tells whether the points hold the same in both, as far as they are implemented.
func (b block) equal(o block, names ...string) bool {
	for _, n := range names {
		v, ok := b.raw(n)
		w, ok2 := o.raw(n)
		if ok != ok2 || ok && v != w {
			return false
		}
	}
	return true
}

// run lists the names of the points of a control's run.
func (c control) run() []string {
	var out []string
	inside := false
	for _, p := range layout(c.model) {
		if inside = inside || p.name == c.first; !inside {
			continue
		}
		out = append(out, p.name)
		if p.name == c.last {
			break
		}
	}
	return out
}
