package dispatch

import (
	"cmp"
	"slices"
	"time"

	"flexd/agent/flex"
)

// byUrgency orders offers by the beginning of what they are about. Offers that
// concern one another keep the order of their arrival: those of one
// instruction, those of one obligation whose windows meet, and all of an
// obligation for which a stop without a target waits. Stops come first.
func byUrgency(offers []flex.Offer) []flex.Offer {
	groups := make([]int, len(offers)) // by union: the index of the group's first
	for i := range groups {
		groups[i] = i
	}
	find := func(i int) int {
		for groups[i] != i {
			groups[i] = groups[groups[i]]
			i = groups[i]
		}
		return i
	}
	join := func(i, j int) { groups[find(max(i, j))] = find(min(i, j)) }
	joinRelated(offers, join)
	first := make(map[int]time.Time, len(offers))
	for i, o := range offers {
		g := find(i)
		at := o.Instruction.Window.Start
		if o.Instruction.IsStop() {
			at = time.Time{}
		}
		if have, known := first[g]; !known || at.Before(have) {
			first[g] = at
		}
	}
	order := make([]int, len(offers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		ga, gb := find(a), find(b)
		return cmp.Or(first[ga].Compare(first[gb]), cmp.Compare(ga, gb), cmp.Compare(offers[a].Seq, offers[b].Seq))
	})
	out := make([]flex.Offer, len(offers))
	for i, at := range order {
		out[i] = offers[at]
	}
	return out
}

// joinRelated calls join for offers that concern one another.
func joinRelated(offers []flex.Offer, join func(i, j int)) {
	same := map[flex.InstructionID]int{}
	whole := map[flex.ObligationID]int{} // an obligation with a stop for all of it
	for i, o := range offers {
		for _, id := range append([]flex.InstructionID{o.Instruction.ID}, o.Instruction.Stops...) {
			if j, known := same[id]; known {
				join(i, j)
			} else {
				same[id] = i
			}
		}
		if o.Instruction.IsStop() && unaimed(o.Instruction) {
			whole[o.Instruction.Obligation] = i
		}
	}
	byStart := make([]int, len(offers))
	for i := range byStart {
		byStart[i] = i
	}
	slices.SortStableFunc(byStart, func(a, b int) int {
		return offers[a].Instruction.Window.Start.Compare(offers[b].Instruction.Window.Start)
	})
	type reach struct {
		last int
		end  time.Time
	}
	open := map[flex.ObligationID]reach{}
	for _, i := range byStart {
		in := offers[i].Instruction
		if j, all := whole[in.Obligation]; all {
			join(i, j)
		}
		if j, all := whole[""]; all {
			join(i, j)
		}
		end := in.Window.End
		if in.Window.Open() {
			end = in.Window.Start.Add(MaxOpenRun)
		}
		r, known := open[in.Obligation]
		if known && in.Window.Start.Before(r.end) {
			join(i, r.last)
			end = farther(end, r.end)
		}
		open[in.Obligation] = reach{i, end}
	}
}

// farther of two instants.
func farther(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
