package piclo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// maxRevision keeps revisions where every JSON reader has them exact.
const maxRevision = 1<<53 - 1

// instruction decodes one element. Only an element without a usable id is an
// error; everything else that is wrong becomes a problem of the instruction.
func (p *Profile) instruction(raw json.RawMessage) (flex.Instruction, error) {
	f := &fields{}
	doc, err := decodeObject(raw)
	if err != nil {
		// A repeated key still leaves an id to answer to.
		v, bad := decodeJSON(raw)
		if _, isObject := v.(map[string]any); bad != nil || !isObject {
			return flex.Instruction{}, fmt.Errorf("the instruction is %w", err)
		}
		f.doc = v
		f.problem(flex.ReasonMalformed, "the instruction: %v", err)
	} else {
		f.doc = doc
	}
	id, given := f.text(p.Instruction.ID, maxID)
	if !given || id == "" {
		return flex.Instruction{}, errors.New("the instruction has no usable id")
	}
	in := flex.Instruction{ID: flex.InstructionID(id), Revision: 1, Raw: slices.Clone(raw)}
	p.readWho(f, &in)
	p.readPower(f, &in)
	p.readWindow(f, &in)
	p.readKind(f, &in)
	in.Problems = f.problems
	in.Content = contentOf(in)
	return in, nil
}

// readWho reads ids and texts.
func (p *Profile) readWho(f *fields, in *flex.Instruction) {
	m := p.Instruction
	if v, name, ok := m.Revision.find(f.doc); ok {
		rev, err := wholeNumber(v, maxRevision)
		if err != nil {
			f.problem(flex.ReasonBadField, "%s: %v", name, err)
		} else {
			in.Revision, in.HasRevision = rev, true
		}
	}
	ob, _ := f.text(m.Obligation, maxID)
	comp, _ := f.text(m.Competition, maxID)
	in.Obligation, in.Competition = flex.ObligationID(ob), flex.CompetitionID(comp)
	in.Assets = named[flex.AssetID](f.ids(m.Assets))
	in.Stops = named[flex.InstructionID](f.ids(m.Stops))
	in.Status, _ = f.text(m.Status, maxText)
	in.Signature, _ = f.text(m.Signature, maxSignature)
	in.Operator, _ = f.text(m.Operator, maxText)
}

// readPower reads capacity and direction. Where the market gives the
// capacity of each asset, ours is the total.
func (p *Profile) readPower(f *fields, in *flex.Instruction) {
	if slices.Contains(p.Power.DirectionFrom, fromInstruction) {
		in.Direction = f.direction(p.Instruction.Direction, p.Power)
	}
	before := len(f.problems)
	w, given := f.power(p.Instruction.Capacity, p.Power.Unit)
	if given && len(f.problems) == before && w == 0 && p.Stop.CapacityZero {
		in.Kind = flex.KindStop
	}
	if p.Power.CapacityOf == capacityOfAsset {
		w *= flex.Watts(len(in.Assets))
		if w > flex.MaxPower {
			f.problem(flex.ReasonBadField, "capacity: %v over %d assets is out of range", w, len(in.Assets))
			w = 0
		}
	}
	in.Capacity = w
}

func (p *Profile) readWindow(f *fields, in *flex.Instruction) {
	in.Window.Start, _ = f.instant(p.Instruction.Start, p.Zone)
	in.Window.End, _ = f.instant(p.Instruction.End, p.Zone)
}

// readKind tells a start from a stop by the profile's rules, and then what a
// start must have. A stop needs nothing but its id.
func (p *Profile) readKind(f *fields, in *flex.Instruction) {
	kind, given := f.text(p.Instruction.Type, maxText)
	switch {
	case in.Kind == flex.KindStop:
		// Zero capacity calls back this instruction, and no other.
		if !p.Stop.TypeWords.has(kind) && len(in.Stops) == 0 {
			in.Stops = []flex.InstructionID{in.ID}
		}
	case p.Stop.TypeWords.has(kind) || in.Status != "" && p.Stop.StatusWords.has(in.Status):
		in.Kind = flex.KindStop
	default:
		in.Kind = flex.KindStart
		if given && kind != "" && !p.Instruction.StartWords.has(kind) {
			f.problem(flex.ReasonBadField, "type: %q is neither a start nor a stop: check the profile's words", clip(kind))
		}
	}
	if in.Kind == flex.KindStop {
		return
	}
	_, _, hasCapacity := p.Instruction.Capacity.find(f.doc)
	f.need(hasCapacity, p.Instruction.Capacity)
	_, _, hasStart := p.Instruction.Start.find(f.doc)
	f.need(hasStart, p.Instruction.Start)
	if v, name, ok := p.Instruction.Assets.find(f.doc); ok && len(in.Assets) == 0 {
		if list, isList := v.([]any); isList && len(list) == 0 {
			f.problem(flex.ReasonBadField, "%s: the list is empty: leave it out to mean all assets of the obligation", name)
		}
	}
	w := in.Window
	if !w.Start.IsZero() && !w.End.IsZero() && !w.End.After(w.Start) {
		f.problem(flex.ReasonBadField, "end: %s is not after the start, %s", w.End.Format(time.RFC3339), w.Start.Format(time.RFC3339))
	}
}

// contentOf hashes every field that changes what is done, in one fixed form:
// not the revision (it is compared by itself), the market's status word (it
// moves with the market's own bookkeeping, and counts by the kind), nor the
// signature (it may be made afresh each time), nor anything unknown.
func contentOf(in flex.Instruction) string {
	assets, stops := slices.Sorted(slices.Values(in.Assets)), slices.Sorted(slices.Values(in.Stops))
	canonical := struct {
		Kind        flex.Kind
		Operator    string
		Obligation  flex.ObligationID
		Competition flex.CompetitionID
		Assets      []flex.AssetID
		Stops       []flex.InstructionID
		Capacity    flex.Watts
		Direction   flex.Direction
		Start, End  int64
		Problems    []flex.Refusal
	}{in.Kind, in.Operator, in.Obligation, in.Competition, assets, stops, in.Capacity, in.Direction,
		in.Window.Start.UnixNano(), in.Window.End.UnixNano(), in.Problems}
	if in.Window.Start.IsZero() {
		canonical.Start = 0
	}
	if in.Window.End.IsZero() {
		canonical.End = 0
	}
	raw, err := json.Marshal(canonical)
	if err != nil {
		return "" // plain values only: cannot happen
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// instructions decodes a list. What has no usable id is counted and told.
func (p *Profile) instructions(list []json.RawMessage) (out []flex.Instruction, bad int, first error) {
	for _, raw := range list {
		in, err := p.instruction(raw)
		if err != nil {
			if bad++; first == nil {
				first = err
			}
			continue
		}
		out = append(out, in)
	}
	return out, bad, first
}
