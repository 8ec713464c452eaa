package piclo

import (
	"fmt"
	"strings"
	"time"

	"flexd/agent/flex"
)

// judge says what would become of an instruction, as far as the message
// alone can tell: whether it is ours and fits its contract is decided with
// the contract at hand.
func (p *Profile) judge(u *Understood, in flex.Instruction, t *trace, now time.Time) {
	u.Why = t.why
	over := !in.Window.End.IsZero() && !now.IsZero() && !in.Window.End.After(now)
	switch {
	case in.Kind == flex.KindStop:
		u.Verdict = "a stop " + stopped(in)
		if len(in.Problems) > 0 {
			u.Verdict += "; it acts in spite of its problems"
		}
		return // a stop needs no direction
	case len(in.Problems) > 0:
		u.Verdict = fmt.Sprintf("a start that is refused: %s", in.Problems[0].Error())
	case over && p.EndInPastStops():
		u.Verdict = "a start whose end is past: a stop when it amends a known one, else too late"
	case over:
		u.Verdict = "a start whose end is past: too late"
	default:
		u.Verdict = fmt.Sprintf("a start of %s, %s", in.Capacity, in.Window)
	}
	u.Direction = p.directionText(u, in, t)
}

// stopped says what a stop ends.
func stopped(in flex.Instruction) string {
	if len(in.Stops) == 0 {
		return fmt.Sprintf("of %s, or of all that runs for its obligation and assets when that is unknown", in.ID)
	}
	names := make([]string, len(in.Stops))
	for i, id := range in.Stops {
		names[i] = string(id)
	}
	return "of " + cut(strings.Join(names, ", "))
}

// directionText says which direction an instruction has and from where.
func (p *Profile) directionText(u *Understood, in flex.Instruction, t *trace) string {
	if in.Direction != "" {
		for _, f := range t.fields {
			if f.Name == "direction" && f.Means == string(in.Direction) {
				return fmt.Sprintf("%s, from %s of the instruction", in.Direction, f.From)
			}
		}
		return fmt.Sprintf("%s, from the sign of the capacity", in.Direction)
	}
	var places []string
	for _, place := range p.Power.DirectionFrom {
		if place == fromObligation || place == fromCompetition {
			places = append(places, "its "+string(place))
		}
	}
	if len(places) == 0 {
		return "unresolved: refused, since power.direction_from names no other place"
	}
	return "not in the instruction: that of " + strings.Join(places, ", else of ") + "; unresolved it is refused"
}

// Relate resolves the directions of instructions with the contracts and
// tenders that other samples hold, by the rule that real ones go by.
func (p *Profile) Relate(all []Explanation) {
	obligations := map[flex.ObligationID]flex.Obligation{}
	competitions := map[flex.CompetitionID]flex.Competition{}
	for _, e := range all {
		for _, u := range e.Documents {
			if u.obligation != nil {
				obligations[u.obligation.ID] = *u.obligation
			}
			if u.competition != nil {
				competitions[u.competition.ID] = *u.competition
			}
		}
	}
	for _, e := range all {
		for i := range e.Documents {
			u := &e.Documents[i]
			if u.instruction == nil || u.instruction.Kind != flex.KindStart || u.instruction.Direction != "" {
				continue
			}
			p.relate(u, obligations[u.instruction.Obligation], competitions)
		}
	}
}

func (p *Profile) relate(u *Understood, ob flex.Obligation, competitions map[flex.CompetitionID]flex.Competition) {
	in := *u.instruction
	id := in.Competition
	if id == "" {
		id = ob.Competition
	}
	comp := competitions[id]
	switch d, place := p.resolveDirection(in, ob, comp); place {
	case fromObligation:
		u.Direction = fmt.Sprintf("%s, from its obligation %s", d, ob.ID)
	case fromCompetition:
		u.Direction = fmt.Sprintf("%s, from its competition %s", d, comp.ID)
	}
}
