package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// A word for a type or a status that nobody here understands may mean that the
// operator wants something to end. What runs goes on, and a person is told.

// puzzle is such a word and the open dispatches that it concerns.
type puzzle struct {
	text string
	ids  []flex.InstructionID
}

// puzzled notes the word of an instruction that was judged. An instruction that
// comes again in words that are understood ends the alarm.
func (e *Engine) puzzled(o flex.Offer, now flex.Stamp) {
	in := o.Instruction
	if in.Unknown == "" || forged(o) {
		delete(e.puzzles, in.ID)
		return
	}
	if in.IsStop() {
		return // it ends what it means
	}
	_, own := e.open[in.ID]
	var ids []flex.InstructionID
	for id, r := range e.open {
		named := id == in.ID || slices.Contains(in.Stops, id)
		if !named && (own || len(in.Stops) > 0 || !concerns(in, r) || !meets(in, asked(r), now.At)) {
			continue
		}
		if r.State != flex.Waiting && !over(r, now.At) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if len(ids) == 0 {
		return
	}
	e.puzzles[in.ID] = puzzle{ids: ids, text: fmt.Sprintf("the market says %s of instruction %s, which flexd does not take for a stop: %s as it was; ask the operator, `flexd stop ID` ends it",
		in.Unknown, in.ID, goesOn(ids))}
}

// goesOn says which dispatches are left as they are.
func goesOn(ids []flex.InstructionID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	if len(names) == 1 {
		return names[0] + " goes on"
	}
	return strings.Join(names, ", ") + " go on"
}

// tellPuzzles raises and clears the alarms about words and about stops that
// left something standing.
func (e *Engine) tellPuzzles(now time.Time) {
	for _, group := range []struct {
		code string
		list map[flex.InstructionID]puzzle
	}{{CodeUnknownWord, e.puzzles}, {CodeStopLeft, e.left}} {
		for id, p := range group.list {
			stands := slices.ContainsFunc(p.ids, func(x flex.InstructionID) bool { r, ok := e.open[x]; return ok && !over(r, now) })
			if !stands {
				delete(group.list, id)
				continue
			}
			e.flag(group.code, string(id), p.text)
		}
		for key := range e.warned {
			if _, on := group.list[flex.InstructionID(key.subject)]; key.code == group.code && !on {
				e.flag(key.code, key.subject, "")
			}
		}
	}
}

// meets tells whether a stop, which names no dispatch, means one that asks for
// power in the window: it runs now, or the times that the stop states meet it.
func meets(in flex.Instruction, w flex.Window, now time.Time) bool {
	if w.Contains(now) {
		return true
	}
	at := in.Window
	switch {
	case at.Start.IsZero() && at.End.IsZero():
		return false
	case at.Start.IsZero():
		at.Start = now
	case at.Open():
		return w.Contains(at.Start)
	}
	return w.Overlaps(at)
}

// leaves notes what a stop left standing that named no dispatch, or none that
// is known here.
func (e *Engine) leaves(o flex.Offer, v Verdict, now time.Time) {
	in := o.Instruction
	own := slices.ContainsFunc(v.Tombstones, func(t flex.Tombstone) bool { return t.By == in.ID })
	if _, open := e.open[in.ID]; !in.IsStop() || v.Wait || !own || open {
		return
	}
	said := "names no dispatch: it ended what runs or meets its times"
	if !unaimed(in) {
		if len(v.Records) > 0 || slices.Contains(in.Stops, in.ID) {
			return
		}
		said = fmt.Sprintf("names %v, and nothing of that is open here", in.Stops)
	}
	anything := in.Obligation == "" && len(in.Assets) == 0
	var ids []flex.InstructionID
	for id, r := range e.open {
		later := !unaimed(in) && !asked(r).Contains(now)
		if (anything || concerns(in, r)) && !later && r.StopAt.IsZero() && !over(r, now) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if len(ids) == 0 {
		return
	}
	e.left[in.ID] = puzzle{ids: ids, text: fmt.Sprintf("stop %s %s; %s; ask the operator whether it is meant too, `flexd stop ID` ends it", in.ID, said, goesOn(ids))}
}
