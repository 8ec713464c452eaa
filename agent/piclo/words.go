package piclo

import (
	"fmt"

	"flexd/agent/flex"
)

// classOf is what a word asks for: by the profile's own lists first, then by
// the usual meanings.
func (p *Profile) classOf(s string, stops, begins words) flex.WordClass {
	switch {
	case stops.has(s):
		return flex.WordStop
	case begins.has(s):
		return flex.WordBegin
	case p.Instruction.DraftWords.has(s):
		return flex.WordNoOrder
	}
	return flex.ClassOfWord(s)
}

// readKind tells a start from a stop by the words for type and status. A stop
// needs nothing but its id.
func (p *Profile) readKind(f *fields, in *flex.Instruction) {
	before := len(f.problems)
	kind, _ := f.text("type", p.Instruction.Type, maxText)
	in.Status, _ = f.text("status", p.Instruction.Status, maxText)
	if len(f.problems) > before {
		in.Unknown = "a type or status that cannot be read"
	}
	byType := p.classOf(kind, p.Stop.TypeWords, p.Instruction.StartWords)
	byStatus := p.classOf(in.Status, p.Stop.StatusWords, p.Instruction.StatusWords)
	switch {
	case in.Kind == flex.KindStop:
		f.trace.verdict("its capacity is zero (stop.capacity_zero)")
		if byType != flex.WordStop {
			callBack(in)
		}
	case byType == flex.WordStop:
		in.Kind = flex.KindStop
		f.trace.verdict("its type %q is %s", clip(kind), listed(p.Stop.TypeWords, kind, "stop.type_words"))
	case byStatus == flex.WordStop:
		in.Kind = flex.KindStop
		f.trace.verdict("its status %q is %s", clip(in.Status), listed(p.Stop.StatusWords, in.Status, "stop.status_words"))
		callBack(in)
	default:
		in.Kind = flex.KindStart
		f.trace.verdict("no rule under stop makes it a stop")
		p.readOrder(f, in, kind, byType, byStatus)
	}
}

// listed says where a word's meaning is from.
func listed(w words, s, setting string) string {
	if w.has(s) {
		return "one of " + setting
	}
	return "a usual word for a stop"
}

// callBack lets a stop that is made so by its power or status name the
// instruction itself, and no other.
func callBack(in *flex.Instruction) {
	if len(in.Stops) == 0 {
		in.Stops = []flex.InstructionID{in.ID}
	}
}

// readOrder finds out what speaks against a start: a draft or a test is none,
// and what nobody understands is told.
func (p *Profile) readOrder(f *fields, in *flex.Instruction, kind string, byType, byStatus flex.WordClass) {
	for _, w := range []struct {
		name, text string
		class      flex.WordClass
	}{{"type", kind, byType}, {"status", in.Status, byStatus}} {
		said := fmt.Sprintf("%s %q", w.name, clip(w.text))
		switch w.class {
		case flex.WordNoOrder:
			in.Unknown = said
			f.problem(flex.ReasonNotForExecution, "%s: such an instruction is not carried out", said)
		case flex.WordUnknown:
			in.Unknown = said
			if w.name == "type" {
				f.problem(flex.ReasonBadField, "%s is neither a start nor a stop: check the profile's words", said)
			}
		case flex.WordBegin, flex.WordStop:
		}
	}
	if !p.unknownStops || byType != flex.WordUnknown && byStatus != flex.WordUnknown {
		return
	}
	in.Kind = flex.KindStop
	f.trace.verdict("%s is not known, and market.unknown_word is stop", in.Unknown)
	if byType == flex.WordBegin {
		callBack(in)
	}
}
