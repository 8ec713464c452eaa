package allocate

import (
	"maps"
	"slices"

	"flexd/agent/flex"
)

// Planner is Decide with a memory for what it works with: between two changes
// it allocates nothing for what is stored in batteries. What it returns is never
// written again. One goroutine at a time may use it.
type Planner struct {
	w    work
	last []seen        // by the order of the devices
	told []flex.Target // as last returned
	next []flex.Target // in the making
	ids  []flex.InstructionID
}

// seen is what was last said of a device.
type seen struct {
	id     flex.DeviceID
	whys   []why
	target flex.Target
}

// Decide says what every device should do at in.Now. Equal inputs give equal
// answers, whatever the order of dispatches and holds.
func Decide(in Input) Plan {
	var p Planner
	return p.Decide(in)
}

// Decide is the same, with memory.
func (p *Planner) Decide(in Input) Plan {
	w := &p.w
	w.reset(in)
	w.loops()
	for i := range in.Assets {
		w.asset(&in.Assets[i])
	}
	w.unknownAssets()
	w.idleLoops()
	w.prepare()
	w.limitSite()
	return Plan{
		Targets:   p.targets(),
		Next:      next(&in),
		Shortfall: w.short,
		Alarms:    w.alarms,
		State:     w.state,
	}
}

// targets renders the slots in the order of the devices; meters have none.
// When all is as it was, it is the same list.
func (p *Planner) targets() []flex.Target {
	p.next = p.next[:0]
	if len(p.last) < len(p.w.slots) {
		p.last = append(p.last, make([]seen, len(p.w.slots)-len(p.last))...)
	}
	for i := range p.w.slots {
		if s := &p.w.slots[i]; s.dev.Role != flex.RoleMeter {
			p.next = append(p.next, p.target(s, &p.last[i]))
		}
	}
	if p.told == nil || !slices.EqualFunc(p.next, p.told, unchanged) {
		p.told = slices.Clone(p.next)
		if p.told == nil {
			p.told = []flex.Target{}
		}
	}
	return p.told
}

// target renders one slot; texts and ids that were told before are used again.
func (p *Planner) target(s *slot, was *seen) flex.Target {
	t := s.target()
	if was.id != s.dev.ID {
		*was = seen{id: s.dev.ID}
	}
	if slices.Equal(s.whys, was.whys) {
		t.Whys = was.target.Whys
	} else {
		was.whys = append(was.whys[:0], s.whys...)
		if len(s.whys) > 0 {
			t.Whys = make([]flex.Why, len(s.whys))
		}
		for i, y := range s.whys {
			t.Whys[i] = y.told()
		}
	}
	if t.Order != flex.OrderNone && s.wanted {
		t.Dispatch = p.dispatches(s, was.target.Dispatch)
	}
	was.target = t
	return t
}

// dispatches are the ids of those that the device serves, in order, each once.
func (p *Planner) dispatches(s *slot, was []flex.InstructionID) []flex.InstructionID {
	p.ids = p.ids[:0]
	for _, c := range s.claims {
		p.ids = append(p.ids, c.id)
	}
	slices.Sort(p.ids)
	p.ids = slices.Compact(p.ids)
	switch {
	case slices.Equal(p.ids, was):
		return was
	case len(p.ids) == 0:
		return nil
	}
	return slices.Clone(p.ids)
}

// unchanged tells whether two targets say the same, texts included.
func unchanged(a, b flex.Target) bool {
	return a.Device == b.Device && a.Order == b.Order && a.Power == b.Power && a.Until.Equal(b.Until) && a.Revert == b.Revert &&
		a.Observe == b.Observe && a.Once == b.Once && slices.Equal(a.Dispatch, b.Dispatch) && maps.Equal(a.Before, b.Before) &&
		slices.Equal(a.Whys, b.Whys)
}
