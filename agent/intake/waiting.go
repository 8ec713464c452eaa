package intake

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// An instruction that cannot be carried out for a reason that may pass is
// offered all the same, and waits with whoever decides. Here it is matched
// again: at once when the contracts change, and else ever more rarely, since a
// key file or an asset that the market could not tell changes unannounced.

// The pace of matching again.
const (
	rematchFirst = 2 * time.Second
	rematchNear  = 30 * time.Second // at most, within rematchAhead of its start
	rematchFar   = 5 * time.Minute
	rematchAhead = time.Hour
	rematchIdle  = time.Minute // when nothing is known to wait
)

// rematching is when a waiting offer is matched again.
type rematching struct {
	wait time.Duration
	due  time.Time
}

// Rematch has everything that waits matched again now: contracts, assets or
// keys have changed.
func (i *Intake) Rematch() {
	i.mu.Lock()
	i.stale = true
	i.mu.Unlock()
	i.contracts.Store(true)
	i.Wake()
}

// rematchSoon looks soon at what was just offered.
func (i *Intake) rematchSoon() {
	i.mu.Lock()
	i.rematchAt = sooner(i.rematchAt, time.Now().Add(rematchFirst))
	i.mu.Unlock()
	i.Wake()
}

// rematchDue claims the turn to match again, and tells how long there is none.
func (i *Intake) rematchDue(now time.Time) (due, all bool, wait time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.cfg.Waiting == nil:
		return false, false, reloadEvery
	case i.rematches:
		return false, false, rematchIdle
	case !i.stale && now.Before(i.rematchAt):
		return false, false, i.rematchAt.Sub(now)
	}
	all, i.stale, i.rematches = i.stale, false, true
	return true, all, rematchIdle
}

// rematch matches what waits and is due again, and offers anew what is matched
// otherwise.
func (i *Intake) rematch(ctx context.Context, all bool) {
	list := i.cfg.Waiting()
	now := time.Now()
	next := now.Add(rematchIdle)
	known := make(map[uint64]rematching, len(list))
	b := &batch{assets: map[flex.AssetID]flex.MarketAsset{}}
	var cat catalogue
	var ch flex.Changes
	for _, o := range list {
		turn, had := i.turns[o.Seq]
		if due := all || !had || !now.Before(turn.due); due {
			if cat.assets == nil {
				var err error
				if cat, err = loadCatalogue(ctx, i.cfg.Book); err != nil {
					i.log.Error("cannot match again what waits, trying again", "error", err)
					break
				}
			}
			turn.wait = min(max(rematchFirst, 2*turn.wait), i.rematchMost(o))
			turn.due = now.Add(turn.wait)
			if fresh, ok := i.matchAgain(ctx, cat, o, b); ok {
				ch.Decided, ch.Offers = append(ch.Decided, o.Seq), append(ch.Offers, fresh)
			}
		}
		known[o.Seq] = turn
		next = sooner(next, turn.due)
	}
	if err := i.reoffer(ctx, ch, b); err != nil {
		i.log.Error("cannot keep what was matched again, trying again", "error", err)
		known, next = map[uint64]rematching{}, now.Add(rematchFirst)
	}
	i.mu.Lock()
	i.turns, i.rematches, i.rematchAt = known, false, next
	i.mu.Unlock()
	i.Wake()
}

func (i *Intake) rematchMost(o flex.Offer) time.Duration {
	if s := o.Instruction.Window.Start; s.IsZero() || s.Sub(i.cfg.Clock.Stamp().At) < rematchAhead {
		return rematchNear
	}
	return rematchFar
}

// matchAgain gives the offer as it would be made today, if that is another.
func (i *Intake) matchAgain(ctx context.Context, cat catalogue, o flex.Offer, b *batch) (flex.Offer, bool) {
	in := o.Instruction
	stop := in.Kind == flex.KindStop
	ob, known := cat.obligationOf(in)
	if !known && !stop {
		i.syncNow()
	}
	ids := namedBy(in, ob)
	fresh := o
	fresh.Ours = i.oursOf(ids)
	fresh.Instruction = i.resolve(cat, in, ob)
	fresh.Named = i.capacities(ctx, cat, ob, ids, b, stop)
	fresh.Signature = i.signature(cat, fresh.Instruction, ob)
	ob.Raw = nil
	fresh.Obligation = ob
	return fresh, !sameMatch(o, fresh)
}

// sameMatch compares what an offer was matched to.
func sameMatch(a, b flex.Offer) bool {
	part := func(o flex.Offer) any {
		o.Obligation.SyncedAt = time.Time{}
		named := make([]flex.MarketAsset, len(o.Named))
		for n, a := range o.Named {
			a.SyncedAt = time.Time{}
			named[n] = a
		}
		in := o.Instruction
		return []any{o.Obligation, named, o.Ours, o.Signature, in.Operator, in.Obligation, in.Competition, in.Direction}
	}
	x, errX := json.Marshal(part(a))
	y, errY := json.Marshal(part(b))
	return errX == nil && errY == nil && string(x) == string(y)
}

// reoffer puts fresh offers in the place of those that waited. The time at
// which each was received stays.
func (i *Intake) reoffer(ctx context.Context, ch flex.Changes, b *batch) error {
	if len(ch.Offers) == 0 {
		return nil
	}
	i.admitMu <- struct{}{}
	defer func() { <-i.admitMu }()
	// What came meanwhile is newer: it stays the latest.
	var kept flex.Changes
	for n, o := range ch.Offers {
		last, found, err := i.cfg.Book.LatestOffer(o.Instruction.ID)
		if err != nil {
			return fmt.Errorf("cannot look up instruction %s: %w", o.Instruction.ID, err)
		}
		if found && last.Seq != ch.Decided[n] && !forged(last.Signature) {
			continue
		}
		kept.Decided, kept.Offers = append(kept.Decided, ch.Decided[n]), append(kept.Offers, o)
	}
	for _, a := range b.assets {
		kept.Assets = append(kept.Assets, a)
	}
	if kept.Empty() {
		return nil
	}
	within, cancel := detached(ctx)
	defer cancel()
	if err := i.cfg.Book.Commit(within, kept); err != nil {
		return err
	}
	for _, o := range kept.Offers {
		i.log.Info("an instruction that waited is matched otherwise now", "instruction", o.Instruction.ID,
			"obligation", o.Obligation.ID, "assets", len(o.Named), "signature", o.Signature)
	}
	i.taken(kept.Offers)
	return nil
}

// refusedByContract tells that an instruction was refused by the terms of its
// contract, and is not over.
func (i *Intake) refusedByContract(ctx context.Context, in flex.Instruction) bool {
	w := in.Window
	if in.Kind != flex.KindStart || !w.Open() && !w.End.After(i.cfg.Clock.Stamp().At) {
		return false
	}
	rec, found, err := i.cfg.Book.Record(ctx, in.ID)
	if err != nil || !found || rec.State != flex.Refused || rec.Answer != nil {
		return false
	}
	return slices.Contains([]flex.Reason{flex.ReasonOutsideWindow, flex.ReasonAboveCapacity, flex.ReasonUnknownAsset, flex.ReasonDirectionUnresolved}, rec.Reason)
}

// otherContract tells that the contract is not the one by which the
// instruction was judged last.
func (i *Intake) otherContract(cat catalogue, in flex.Instruction) bool {
	last, found, err := i.cfg.Book.LatestOffer(in.ID)
	if err != nil || !found {
		return false
	}
	o, _ := cat.obligationOf(in)
	o.Raw = nil
	fresh := last
	fresh.Obligation = o
	return !sameMatch(last, fresh)
}
