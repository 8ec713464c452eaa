package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"flexd/agent/flex"
)

// Bounds of what one instruction, and one reply, can make us do.
const (
	maxDropped   = 20 // lines in the diary about what is not ours, of one reply
	assetTimeout = 5 * time.Second
	assetsAsked  = 32 // assets fetched one by one for one instruction
)

// source is where instructions came from.
type source struct {
	id    flex.NotificationID
	door  flex.Door
	doors []flex.Sighting // by which they came, the first one first
	raw   []byte          // the market's reply as it came
	at    time.Time       // of the reply
	// contracts tells that contracts have changed: what was refused by an older
	// one is judged again.
	contracts bool
	// begun tells that the first of its instructions are kept, and raw is not.
	begun bool
}

// batch is what a set of instructions amounts to, before the last look at
// what was offered already.
type batch struct {
	offers    []flex.Offer
	strangers []flex.Instruction
	assets    map[flex.AssetID]flex.MarketAsset // fetched on the way, to be stored
	sights    []flex.Sight                      // by which doors our instructions came
	reply     *flex.Reply
	begun     bool            // of its source
	again     map[string]bool // offered before, and to be judged by a new contract
}

// named gives an id to instructions that have none, so that a stop without
// one still acts and a start without one is refused once.
func named(ins []flex.Instruction) []flex.Instruction {
	out := make([]flex.Instruction, len(ins))
	for n, in := range ins {
		if in.RawHash == "" && in.Raw != nil {
			sum := sha256.Sum256(in.Raw)
			in.RawHash = hex.EncodeToString(sum[:])
		}
		if in.Content == "" {
			sum := sha256.Sum256(in.Raw)
			in.Content = hex.EncodeToString(sum[:])
		}
		if in.ID == "" {
			in.ID = flex.InstructionID("unnamed-" + in.Content[:min(len(in.Content), 16)])
			in.Problems = append(in.Problems[:len(in.Problems):len(in.Problems)],
				flex.Refusal{Reason: flex.ReasonBadField, Text: "the instruction has no id"})
		}
		out[n] = in
	}
	return out
}

// keyOf names one content of one instruction, as it was signed.
func keyOf(in flex.Instruction) string {
	return string(in.ID) + "\x00" + strconv.FormatInt(in.Revision, 10) + "\x00" + in.Content + "\x00" + in.Signature
}

// offered tells whether this content needs no offer: it is the latest one, or
// an explicit revision that is behind or was offered before. A copy that was
// not proven to be the operator's stands in the way of none that is signed
// otherwise, and a stop in the way of no start: that is to be seen refused.
func (i *Intake) offered(in flex.Instruction) (bool, error) {
	if i.seen.has(keyOf(in)) {
		return true, nil
	}
	last, found, err := i.cfg.Book.LatestOffer(in.ID)
	if err != nil || !found {
		return false, err
	}
	was := last.Instruction
	false1 := forged(last.Signature)
	if was.Content == in.Content && was.Revision == in.Revision {
		return !false1 || was.Signature == in.Signature, nil
	}
	behind := in.HasRevision && was.HasRevision && in.Revision < was.Revision
	return behind && !false1 && (was.Kind == in.Kind || in.Kind == flex.KindStop), nil
}

// match finds contract and assets for everything that is new. Only here the
// market may be asked again, outside every lock.
func (i *Intake) match(ctx context.Context, src source, ins []flex.Instruction) (*batch, error) {
	b := &batch{assets: map[flex.AssetID]flex.MarketAsset{}, again: map[string]bool{}}
	var cat catalogue
	for _, in := range ins {
		old, err := i.offered(in)
		if err != nil {
			return nil, fmt.Errorf("cannot look up instruction %s: %w", in.ID, err)
		}
		anew := old && src.contracts && i.refusedByContract(ctx, in)
		if old && !anew {
			b.sights = append(b.sights, i.sightsOf(in, src)...)
			continue
		}
		if cat.assets == nil {
			if cat, err = loadCatalogue(ctx, i.cfg.Book); err != nil {
				return nil, fmt.Errorf("cannot read the contracts: %w", err)
			}
		}
		if anew && !i.otherContract(cat, in) {
			continue
		}
		b.again[keyOf(in)] = anew
		i.matchOne(ctx, src, cat, in, b)
	}
	if b.begun = src.begun; len(b.offers) > 0 || b.begun {
		b.reply = replyOf(src.id, src.raw, src.at)
	}
	return b, nil
}

// matchOne sorts one instruction into the batch.
func (i *Intake) matchOne(ctx context.Context, src source, cat catalogue, in flex.Instruction, b *batch) {
	o, known := cat.obligationOf(in)
	stop := in.Kind == flex.KindStop
	ids := namedBy(in, o)
	ours := i.oursOf(ids)
	unclear := !stop && !known && len(ids) == 0 // its contract may be ours
	if !stop && !known && (len(ours) > 0 || unclear) {
		i.syncNow() // a contract that the last synchronisation did not know
	}
	if len(ours) == 0 && !unclear && (!stop || i.foreignStop(cat, in, ids)) {
		b.strangers = append(b.strangers, in)
		return
	}
	in = i.resolve(cat, in, o)
	assets := i.capacities(ctx, cat, o, ids, b, stop)
	state := i.signature(cat, in, o)
	o.Raw = nil // the contract keeps it
	b.offers = append(b.offers, flex.Offer{
		Notification: src.id, Door: src.door, Received: i.cfg.Clock.Stamp(),
		Instruction: in, Obligation: o, Named: assets, Ours: ours, Signature: state,
	})
	b.sights = append(b.sights, i.sightsOf(in, src)...)
}

// capacities gives what is known of the assets. What the store does not know
// is asked of the market.
func (i *Intake) capacities(ctx context.Context, cat catalogue, o flex.Obligation, ids []flex.AssetID, b *batch, stop bool) (out []flex.MarketAsset) {
	var missing []flex.AssetID
	for _, id := range ids {
		if _, known := cat.assets[id]; !known {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 && !stop {
		i.askAssets(ctx, cat, o, missing, b)
	}
	for _, id := range ids {
		if a, known := cat.assets[id]; known {
			a.Raw = nil
			out = append(out, a)
		}
	}
	return out
}

// askAssets fetches unknown assets into the catalogue: those of the contract
// at once, then one by one.
func (i *Intake) askAssets(ctx context.Context, cat catalogue, o flex.Obligation, ids []flex.AssetID, b *batch) {
	ctx, cancel := context.WithTimeout(ctx, assetTimeout)
	defer cancel()
	learn := func(a flex.MarketAsset) {
		if _, known := cat.assets[a.ID]; a.ID != "" && !known {
			cat.assets[a.ID], b.assets[a.ID] = a, a
		}
	}
	if o.ID != "" && len(ids) > 1 {
		got, err := i.cfg.Assets.ObligationAssets(ctx, o.ID)
		if err != nil {
			i.log.Warn("cannot fetch the assets of an obligation", "obligation", o.ID, "error", err)
		}
		for _, a := range got {
			learn(a)
		}
	}
	asked := 0
	for _, id := range ids {
		if _, known := cat.assets[id]; known {
			continue
		}
		if asked++; asked > assetsAsked {
			return
		}
		a, err := i.cfg.Assets.Asset(ctx, id)
		if err != nil {
			i.log.Warn("cannot fetch an asset, its capacity is not known", "asset", id, "error", err)
			continue
		}
		if a.ID == id {
			learn(a)
		}
	}
}

// changes looks a last time at what was offered, under admitMu, and gives
// what is to be committed.
func (i *Intake) changes(b *batch) (flex.Changes, error) {
	var ch flex.Changes
	twice := map[string]bool{}
	for _, o := range b.offers {
		old, err := i.offered(o.Instruction)
		if err != nil {
			return ch, fmt.Errorf("cannot look up instruction %s: %w", o.Instruction.ID, err)
		}
		if key := keyOf(o.Instruction); (!old || b.again[key]) && !twice[key] {
			twice[key] = true
			ch.Offers = append(ch.Offers, o)
		}
	}
	st := i.cfg.Clock.Stamp()
	dropped := 0
	for _, in := range b.strangers {
		if key := keyOf(in); !i.recorded.has(key) && !twice[key] {
			twice[key] = true
			if dropped++; dropped <= maxDropped {
				ch.Audit = append(ch.Audit, flex.Audit{At: st, What: "instruction.dropped", Subject: string(in.ID), By: "market",
					Text: string(flex.ReasonNotOurs) + ": it names no asset and no obligation of this site"})
			}
		}
	}
	if dropped > maxDropped {
		ch.Audit = append(ch.Audit, flex.Audit{At: st, What: "instruction.dropped", By: "market",
			Text: fmt.Sprintf("%s: %d more in the same reply name nothing of this site", flex.ReasonNotOurs, dropped-maxDropped)})
	}
	ch.Sightings = i.unsighted(b.sights)
	if (len(ch.Offers) > 0 || b.begun) && b.reply != nil {
		ch.Replies = []flex.Reply{*b.reply}
	}
	if len(ch.Offers) > 0 {
		for _, a := range b.assets {
			ch.Assets = append(ch.Assets, a)
		}
	}
	return ch, nil
}

// commit writes the changes, remembers what was done, and wakes the engine.
// It is called under admitMu.
func (i *Intake) commit(ctx context.Context, b *batch, ch flex.Changes) error {
	if ch.Empty() {
		return nil
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	if err := i.cfg.Book.Commit(ctx, ch); err != nil {
		return err
	}
	for _, in := range b.strangers {
		if i.recorded.note(keyOf(in)) == 0 {
			i.log.Info("instruction is not for this site, dropped", "instruction", in.ID)
		}
	}
	for _, s := range ch.Sightings {
		i.sighted.note(sightKey(s))
	}
	i.taken(ch.Offers)
	return nil
}

// taken remembers and tells what was offered, and wakes the engine.
func (i *Intake) taken(offers []flex.Offer) {
	for _, o := range offers {
		in := o.Instruction
		if in.HasRevision {
			i.seen.note(keyOf(in))
		}
		i.log.Info("instruction received", "instruction", in.ID, "revision", in.Revision, "kind", in.Kind,
			"obligation", in.Obligation, "capacity", in.Capacity, "direction", in.Direction, "window", in.Window, "door", o.Door)
		i.alarmFor(o)
		i.watch(o)
	}
	if len(offers) > 0 {
		i.cfg.Wake()
		i.rematchSoon()
	}
}
