package dispatch

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// MaxOpenRun bounds a dispatch that was given no end.
const MaxOpenRun = 4 * time.Hour

// terms are what an admitted instruction binds this site to, frozen.
type terms struct {
	window flex.Window
	shares []flex.AssetShare
	hash   string
	note   string // what was added to the operator's words
	Contract
}

func (t terms) onto(rec flex.Record) flex.Record {
	rec.Window, rec.Shares, rec.ShareHash = t.window, t.shares, t.hash
	rec.Priority, rec.Emergency = t.Priority, t.Emergency
	return rec
}

// judge refuses what is ambiguous, not ours or outside the contract, and
// else gives the terms.
func judge(o flex.Offer, c Context) (terms, *flex.Refusal) {
	in := o.Instruction
	switch sig := flex.Reason(o.Signature); {
	case sig == flex.ReasonSignatureInvalid:
		return terms{}, flex.Refuse(flex.ReasonSignatureInvalid, "the signature of operator %q does not fit the instruction", in.Operator)
	case sig == flex.ReasonSignatureMissing:
		return terms{}, flex.Refuse(flex.ReasonSignatureMissing, "operator %q must sign its instructions", in.Operator)
	case sig == flex.ReasonNoKey:
		return terms{}, flex.Refuse(flex.ReasonNoKey, "the signature of operator %q cannot be judged now: its key cannot be read", in.Operator)
	}
	if len(in.Problems) > 0 {
		p := in.Problems[0]
		return terms{}, &p
	}
	if in.Kind != flex.KindStart {
		return terms{}, flex.Refuse(flex.ReasonBadField, "kind %q is neither start nor stop", in.Kind)
	}
	if why := parties(o); why != nil {
		return terms{}, why
	}
	if why := contract(o); why != nil {
		return terms{}, why
	}
	t, why := concrete(o, c)
	if why != nil {
		return terms{}, why
	}
	t.shares, t.hash, why = shares(o)
	return t, why
}

// parties checks who is meant.
func parties(o flex.Offer) *flex.Refusal {
	ids := named(o)
	switch {
	case len(ids) == 0 && o.Obligation.ID == "":
		return flex.Refuse(flex.ReasonUnknownObligation, "obligation %q is not known here", o.Instruction.Obligation)
	case len(ids) == 0:
		return flex.Refuse(flex.ReasonUnknownAsset, "the instruction names no asset")
	}
	if len(o.Ours) == 0 {
		return flex.Refuse(flex.ReasonNotOurs, "none of %v is an asset of this site", ids)
	}
	for _, id := range o.Ours {
		if !slices.Contains(ids, id) {
			return flex.Refuse(flex.ReasonUnknownAsset, "asset %s is not named by the instruction", id)
		}
	}
	if o.Obligation.ID == "" {
		return flex.Refuse(flex.ReasonUnknownObligation, "obligation %q is not known here", o.Instruction.Obligation)
	}
	if len(o.Obligation.Assets) > 0 {
		for _, id := range ids {
			if !slices.Contains(o.Obligation.Assets, id) {
				return flex.Refuse(flex.ReasonUnknownAsset, "asset %s is not part of obligation %s", id, o.Obligation.ID)
			}
		}
	}
	return nil
}

// contract checks direction and amount.
func contract(o flex.Offer) *flex.Refusal {
	in, ob := o.Instruction, o.Obligation
	switch {
	case in.Direction.Sign() == 0:
		return flex.Refuse(flex.ReasonDirectionUnresolved, "direction %q is neither export nor import", in.Direction)
	case ob.Direction.Sign() != 0 && ob.Direction != in.Direction:
		return flex.Refuse(flex.ReasonDirectionUnresolved, "the instruction asks for %s, obligation %s is for %s", in.Direction, ob.ID, ob.Direction)
	case in.Capacity <= 0 || in.Capacity > flex.MaxPower:
		return flex.Refuse(flex.ReasonBadField, "capacity %v is not a power to deliver", in.Capacity)
	case in.Capacity > ob.Capacity:
		return flex.Refuse(flex.ReasonAboveCapacity, "%v is above the %v of obligation %s", in.Capacity, ob.Capacity, ob.ID)
	}
	return nil
}

// concrete freezes the window: within a service window, with an end.
func concrete(o flex.Offer, c Context) (terms, *flex.Refusal) {
	in, ob := o.Instruction, o.Obligation
	w := flex.Window{Start: in.Window.Start.UTC(), End: in.Window.End}
	switch {
	case w.Start.IsZero():
		return terms{}, flex.Refuse(flex.ReasonBadField, "the instruction has no start")
	case !w.Open() && !w.End.After(w.Start):
		return terms{}, flex.Refuse(flex.ReasonBadField, "the end %s is not after the start", w.End.UTC().Format(time.RFC3339))
	case !w.Open() && !w.End.After(c.Now.At):
		return terms{}, flex.Refuse(flex.ReasonTooLate, "it was over at %s", w.End.UTC().Format(time.RFC3339))
	}
	reach := w.End
	if w.Open() {
		reach = w.Start.Add(MaxOpenRun)
	}
	service, err := Windows(ob, w.Start, reach)
	if err != nil {
		return terms{}, flex.Refuse(flex.ReasonOutsideWindow, "the service windows are not known: %v", err)
	}
	i := slices.IndexFunc(service, func(s flex.Window) bool {
		return s.Contains(w.Start) && (w.Open() || s.Covers(w))
	})
	if i < 0 {
		return terms{}, flex.Refuse(flex.ReasonOutsideWindow, "%v does not lie within a service window of obligation %s", w, ob.ID)
	}
	t := terms{window: w}
	if c.Contract != nil {
		competition := in.Competition
		if ob.Competition != "" {
			competition = ob.Competition
		}
		t.Contract = c.Contract(ob.ID, competition)
	}
	if w.Open() {
		t.bound(service[i].End, "no end was given: the service window ends it")
		t.bound(w.Start.Add(MaxOpenRun), fmt.Sprintf("no end was given: at most %v", MaxOpenRun))
	}
	if ob.MaxRuntime > 0 {
		t.bound(w.Start.Add(ob.MaxRuntime), fmt.Sprintf("bounded by the contract's run time of %v", ob.MaxRuntime))
	}
	t.window.End = t.window.End.UTC()
	switch {
	case !t.window.End.After(t.window.Start):
		return terms{}, flex.Refuse(flex.ReasonNoEnd, "no end can be found for it")
	case !t.window.End.After(c.Now.At):
		return terms{}, flex.Refuse(flex.ReasonTooLate, "it was over at %s", t.window.End.Format(time.RFC3339))
	}
	return t, nil
}

// bound moves the end to at most end.
func (t *terms) bound(end time.Time, note string) {
	if t.window.Open() || end.Before(t.window.End) {
		t.window.End, t.note = end, note
	}
}

// named are the assets the instruction is for, each once.
func named(o flex.Offer) []flex.AssetID {
	ids := slices.Clone(o.Instruction.Assets)
	if len(ids) == 0 {
		for _, a := range o.Named {
			ids = append(ids, a.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// shares splits the power over all named assets and keeps our part. An asset
// named alone takes it all; else every capacity must be known.
func shares(o flex.Offer) ([]flex.AssetShare, string, *flex.Refusal) {
	in := o.Instruction
	var weights []allocate.Weight
	for _, id := range named(o) {
		i := slices.IndexFunc(o.Named, func(a flex.MarketAsset) bool { return a.ID == id })
		w := allocate.Weight{Asset: id}
		if i >= 0 {
			w.Capacity = o.Named[i].Capacity(in.Direction)
		}
		weights = append(weights, w)
	}
	hash := allocate.Hash(weights)
	if len(weights) == 1 && weights[0].Capacity <= 0 {
		weights[0].Capacity = in.Capacity
	}
	for _, w := range weights {
		if w.Capacity <= 0 {
			return nil, "", flex.Refuse(flex.ReasonShareUnresolved, "the %s capacity of asset %s is not known", in.Direction, w.Asset)
		}
	}
	all, err := allocate.Split(in.Capacity*in.Direction.Sign(), weights)
	if err != nil {
		return nil, "", flex.Refuse(flex.ReasonShareUnresolved, "%v", err)
	}
	ours := slices.DeleteFunc(all, func(s flex.AssetShare) bool { return !slices.Contains(o.Ours, s.Asset) })
	return ours, hash, nil
}
