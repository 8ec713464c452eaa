package sunspec

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// cut is how a run is written: the less at once, the later it is tried.
type cut int

const (
	whole  cut = iota // in one request
	gapped            // without the points that are not implemented
	single            // one register a request
	cuts
)

// parts cuts a run; ok is false where it must not be cut so.
func (b block) parts(c cut, r flex.Register) (parts []flex.Register, ok bool) {
	switch c {
	case gapped:
		parts = b.sparse(r)
		return parts, len(parts) > 0
	case single:
		return b.singly(r)
	case whole, cuts:
	}
	return []flex.Register{r}, true
}

// singly splits a run into writes of one register each, for a device that
// takes no more in one, in an order in which each beginning of the sequence
// leaves the plant at the old power, at the new one, or between. It must not
// be done where a value has several registers: half of it would be in force.
func (b block) singly(r flex.Register) (out []flex.Register, ok bool) {
	rank := map[string]int{}
	for _, p := range layout(b.model) {
		at := int(b.addr) + p.off - int(r.Addr)
		if at < 0 || at+p.size > len(r.Words) {
			continue
		}
		old, implemented := b.raw(p.name)
		if !implemented {
			continue
		}
		if p.size > 1 {
			return nil, false
		}
		now, _ := integer(p.kind, r.Words[at:at+1])
		if now == old && !b.renews(p.name) {
			continue
		}
		one := flex.Register{Addr: r.Addr + uint16(at), Words: slices.Clone(r.Words[at : at+1]), Name: fmt.Sprintf("%d.%s", b.model, p.name)}
		rank[one.Name] = singleRank(p.name, old, now)
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(x, y flex.Register) int { return cmp.Compare(rank[x.Name], rank[y.Name]) })
	return out, len(b.words) > 0
}

// renews tells whether a point is written though it stands: that re-arms the
// timer, and keeps what is in force in force.
func (b block) renews(name string) bool {
	for _, m := range [...]method{rates, limit123} {
		if c, _ := controlOf(m); c.model == b.model && (name == c.timer || name == c.enable || slices.Contains(c.values, name)) {
			return true
		}
	}
	return false
}

// singleRank orders single writes: what goes out of force first, then how long
// and how fast, then how much, then what comes into force. The two rates of
// model 124 are the bounds, -InWRte and OutWRte, between which the battery is
// kept: the one that opens the interval is written before the one that closes
// it.
func singleRank(name string, old, now int64) int {
	switch name {
	case "WMaxLim_Ena", "StorCtl_Mod":
		if now == 0 {
			return 0
		}
		return 5
	case "WMaxLimPct":
		return 3
	case "OutWRte", "InWRte":
		if now > old {
			return 2
		}
		return 4
	}
	return 1
}

// oneByOne tells whether a refusal may mean that several registers in one
// write, or the function for it, is what the device does not take.
func oneByOne(err error) bool {
	var e *modbus.Exception
	return isException(err) && errors.As(err, &e) && (e.Code == modbus.IllegalFunction || e.Code == modbus.IllegalAddress)
}
