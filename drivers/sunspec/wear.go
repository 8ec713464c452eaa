package sunspec

import (
	"fmt"
	"slices"

	"flexd/agent/flex"
)

// persists tells which points of the controls are settings that a device was
// seen to keep: the leave to charge from the grid, and the reversion times,
// which a GEN24 still had months after they were written. The rest of 123, 124
// and 704 is a command of the moment; the settings in 121 and 702, WChaMax
// among them in 124, are never written.
func persists(model uint16, name string) bool {
	switch model {
	case 123:
		return name == "WMaxLimPct_RvrtTms"
	case 124:
		return name == "InOutWRte_RvrtTms" || name == "ChaGriSet"
	}
	return false
}

// written takes a run that was written apart at the points that it wore out:
// persistent ones whose value it changed, by what b read before. One that goes
// along with its run unchanged, because the run has to be whole, is not stored
// again.
func (b block) written(r flex.Register) []flex.Register {
	out := []flex.Register{{Addr: r.Addr, Name: r.Name}}
	for _, p := range layout(b.model) {
		at := int(b.addr) + p.off - int(r.Addr)
		if at < 0 || at+p.size > len(r.Words) || p.off+p.size > len(b.words) {
			continue
		}
		words := r.Words[at : at+p.size]
		last := &out[len(out)-1]
		worn := persists(b.model, p.name) && !slices.Equal(words, b.words[p.off:p.off+p.size])
		if len(last.Words) > 0 && (worn || last.Persistent) {
			out = append(out, flex.Register{})
			last = &out[len(out)-1]
		}
		if len(last.Words) == 0 {
			*last = flex.Register{Addr: r.Addr + uint16(at), Name: fmt.Sprintf("%d.%s", b.model, p.name), Persistent: worn}
		}
		last.Words = append(last.Words, words...)
	}
	if len(out[0].Words) == 0 { // written on no image of it
		return []flex.Register{r}
	}
	return out
}
