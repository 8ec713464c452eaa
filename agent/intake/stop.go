package intake

import (
	"context"
	"errors"
	"slices"
	"time"

	"flexd/agent/flex"
)

// stopFirst makes every new stop act in memory before anything is written: a
// disk that hangs delays no release. Whatever cannot be found out speaks for
// the stop.
func (i *Intake) stopFirst(ctx context.Context, src source, ins []flex.Instruction) {
	var cat catalogue
	for _, in := range ins {
		if !in.IsStop() {
			continue
		}
		if old, err := i.offered(in); err == nil && old {
			continue
		}
		if cat.assets == nil {
			var err error
			if cat, err = loadCatalogue(ctx, i.cfg.Book); err != nil {
				i.log.Error("a stop acts although the contracts cannot be read", "instruction", in.ID, "error", err)
			}
		}
		o, _ := cat.obligationOf(in)
		ids := namedBy(in, o)
		if len(i.oursOf(ids)) == 0 && i.foreignStop(cat, in, ids) {
			continue
		}
		resolved := i.resolve(cat, in, o)
		if forged(i.signature(cat, resolved, o)) {
			continue // a stop is refused for trust alone
		}
		if i.stops.note(keyOf(in)) > 0 {
			continue
		}
		i.cfg.Stopper.StopNow(resolved, time.Now())
		i.log.Info("stop received, acting at once", "instruction", in.ID, "stops", in.Stops, "obligation", in.Obligation, "door", src.door)
	}
}

// foreignStop tells that a stop surely concerns others: it names assets or a
// known contract, none of them ours, and no instruction that came to us.
func (i *Intake) foreignStop(cat catalogue, in flex.Instruction, ids []flex.AssetID) bool {
	if len(ids) == 0 || len(i.oursOf(ids)) > 0 {
		return false
	}
	if o, known := cat.obligations[in.Obligation]; known && len(i.oursOf(o.Assets)) > 0 {
		return false
	}
	for _, id := range append([]flex.InstructionID{in.ID}, in.Stops...) {
		if _, found, err := i.cfg.Book.LatestOffer(id); err != nil || found {
			return false
		}
	}
	return true
}

// unkept lets a notification that could not be stored be looked at once all
// the same: it may announce a stop, and whether the market sends it again is
// not ours to rely on.
func (i *Intake) unkept(id flex.NotificationID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	j, known := i.jobs[id]
	if !known || j.stored {
		return
	}
	j.unkept = true
	if j.held {
		j.due = time.Now()
	}
	i.Wake()
}

// isUnkept tells whether a job's notification is not on disk and will not be.
func (i *Intake) isUnkept(j *job) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return j.unkept && !j.stored
}

// keepStops stores the stops of a notification that is not stored itself,
// however often that takes, and forgets the rest: the market was told to send
// it again.
func (i *Intake) keepStops(ctx context.Context, j *job, src source, got []flex.Instruction) {
	stops := slices.DeleteFunc(slices.Clone(got), func(in flex.Instruction) bool { return !in.IsStop() })
	var err error
	if len(stops) > 0 && i.enter() {
		var b *batch
		if b, err = i.match(ctx, src, stops); err == nil {
			b.reply, b.sights, b.strangers = nil, nil, nil
			err = i.commitBatch(ctx, b)
		}
		i.leave()
	} else if len(stops) > 0 {
		err = errors.New("too much waits for the disk")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case j.stored: // it came again meanwhile
		j.busy, j.due = false, time.Now()
		j.drop()
	case err == nil || ctx.Err() != nil || time.Now().After(j.until):
		delete(i.jobs, j.notice.ID)
	default:
		i.log.Error("a stop acts and cannot be stored, trying again", "notification", short(j.notice.ID), "error", err)
		j.wait = min(max(backoffMin, 2*j.wait), backoffMax)
		j.parked, j.raw, j.held, j.busy, j.due = stops, nil, true, false, time.Now().Add(j.wait)
	}
	i.Wake()
}
