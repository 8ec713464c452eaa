package piclo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
)

// maxRevision keeps revisions where every JSON reader has them exact.
const maxRevision = 1<<53 - 1

// instruction decodes one element. Only an element without a usable id is an
// error; everything else that is wrong becomes a problem of the instruction.
func (p *Profile) instruction(raw json.RawMessage) (flex.Instruction, error) {
	return p.readInstruction(raw, nil)
}

// readInstruction is instruction with a record of how it was understood.
func (p *Profile) readInstruction(raw json.RawMessage, t *trace) (flex.Instruction, error) {
	f := &fields{p: p, trace: t}
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
	id, given := f.text("id", p.Instruction.ID, maxID)
	if !given || id == "" {
		return flex.Instruction{}, errors.New("the instruction has no usable id")
	}
	sum := sha256.Sum256(raw)
	in := flex.Instruction{ID: flex.InstructionID(id), Revision: 1, Raw: slices.Clone(raw), RawHash: hex.EncodeToString(sum[:])}
	p.readWho(f, &in)
	p.readPower(f, &in)
	p.readWindow(f, &in)
	p.readKind(f, &in)
	if in.Kind == flex.KindStart {
		p.needsOfStart(f, &in)
	}
	in.Problems = f.problems
	in.Content = contentOf(in)
	return in, nil
}

// readWho reads ids and texts.
func (p *Profile) readWho(f *fields, in *flex.Instruction) {
	m := p.Instruction
	if v, at, ok := f.find("revision", m.Revision); ok {
		rev, err := wholeNumber(v, maxRevision)
		if err != nil {
			f.problem(flex.ReasonBadField, "%s: %v", at, err)
		} else {
			in.Revision, in.HasRevision = rev, true
			f.trace.value(rev)
		}
	}
	ob, _ := f.text("obligation", m.Obligation, maxID)
	comp, _ := f.text("competition", m.Competition, maxID)
	in.Obligation, in.Competition = flex.ObligationID(ob), flex.CompetitionID(comp)
	in.Assets = named[flex.AssetID](f.ids("assets", m.Assets))
	in.Stops = named[flex.InstructionID](f.ids("stops", m.Stops))
	in.Signature, _ = f.text("signature", m.Signature, maxSignature)
	in.Operator, _ = f.text("operator", m.Operator, maxText)
}

// readPower reads capacity and direction. Where the market gives the
// capacity of each asset, ours is the total.
func (p *Profile) readPower(f *fields, in *flex.Instruction) {
	before := len(f.problems)
	w, bySign, given := f.power("capacity", p.Instruction.Capacity, p.Power.Sign)
	if given && len(f.problems) == before && w == 0 && p.Stop.CapacityZero {
		in.Kind = flex.KindStop
	}
	if p.Power.CapacityOf == capacityOfAsset {
		w *= flex.Watts(len(in.Assets))
		if w > flex.MaxPower {
			f.problem(flex.ReasonBadField, "capacity: %v over %d assets is out of range", w, len(in.Assets))
			w = 0
		}
		f.trace.means("%s over %d assets%s", w, len(in.Assets), tail(bySign))
	}
	in.Capacity = w
	in.Direction = p.readDirection(f, "direction", p.Instruction.Direction, bySign)
}

// readDirection is what a document itself says of its direction, by a field
// or by the sign of its power. Both may speak; they must not disagree.
func (p *Profile) readDirection(f *fields, name string, at directionAt, bySign flex.Direction) flex.Direction {
	var byField flex.Direction
	if p.takes(fromInstruction) || p.takes(fromField) {
		byField = f.direction(name, at)
	}
	switch {
	case byField != "" && bySign != "" && byField != bySign:
		f.problem(flex.ReasonDirectionUnresolved, "the direction is %s by its field and %s by the sign of the power", byField, bySign)
		return ""
	case byField != "":
		return byField
	}
	return bySign
}

// takes tells whether the direction may come from a place.
func (p *Profile) takes(place from) bool { return slices.Contains(p.Power.DirectionFrom, place) }

func (p *Profile) readWindow(f *fields, in *flex.Instruction) {
	in.Window.Start, _ = f.instant("start", p.Instruction.Start)
	in.Window.End, _ = f.instant("end", p.Instruction.End)
}

// needsOfStart are the fields without which nothing can be started.
func (p *Profile) needsOfStart(f *fields, in *flex.Instruction) {
	m := p.Instruction
	_, _, hasCapacity := f.find("capacity", m.Capacity.At)
	f.need("capacity", hasCapacity, m.Capacity.At)
	_, _, hasStart := f.find("start", m.Start.At)
	f.need("start", hasStart, m.Start.At)
	if v, at, ok := f.find("assets", m.Assets); ok && len(in.Assets) == 0 {
		if list, isList := v.([]any); isList && len(list) == 0 {
			f.problem(flex.ReasonBadField, "%s: the list is empty: leave it out to mean all assets of the obligation", at)
		}
	}
	w := in.Window
	if !w.Start.IsZero() && !w.End.IsZero() && !w.End.After(w.Start) {
		f.trace.again("end")
		f.problem(flex.ReasonBadField, "end: %s is not after the start, %s", w.End.Format(time.RFC3339), w.Start.Format(time.RFC3339))
	}
}

// contentOf hashes every field that changes what is done, in one fixed form:
// not the revision (it is compared by itself), a status word that is known (it
// moves with the market's own bookkeeping, and counts by the kind), nor the
// signature (it may be made afresh each time), nor any other field.
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
		Unknown     string `json:",omitempty"`
	}{in.Kind, in.Operator, in.Obligation, in.Competition, assets, stops, in.Capacity, in.Direction,
		in.Window.Start.UnixNano(), in.Window.End.UnixNano(), in.Problems, in.Unknown}
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

// decoders read a long list at a time: behind it may wait what begins now, and
// on a small machine control needs its share.
const decoders = 2

// instructions decodes a list. What has no usable id is counted and told.
func (p *Profile) instructions(list []json.RawMessage) (out []flex.Instruction, bad int, first error) {
	read := make([]flex.Instruction, len(list))
	errs := make([]error, len(list))
	part := len(list)/decoders + 1
	var wg sync.WaitGroup
	for from := 0; from < len(list); from += part {
		wg.Go(func() {
			for i := from; i < min(from+part, len(list)); i++ {
				read[i], errs[i] = p.guarded(list[i])
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err == nil {
			out = append(out, read[i])
			continue
		}
		if bad++; first == nil {
			first = err
		}
	}
	return out, bad, first
}

// guarded keeps a fault in one element from the others.
func (p *Profile) guarded(raw json.RawMessage) (in flex.Instruction, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault while an instruction was read: %v", r)
		}
	}()
	return p.instruction(raw)
}
