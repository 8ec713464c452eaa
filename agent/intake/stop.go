package intake

import (
	"context"
	"time"

	"flexd/agent/flex"
)

// stopFirst makes every new stop act in memory before anything is written: a
// disk that hangs delays no release. Whatever cannot be found out speaks for
// the stop.
func (i *Intake) stopFirst(ctx context.Context, src source, ins []flex.Instruction) {
	var cat catalogue
	for _, in := range ins {
		if in.Kind != flex.KindStop {
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
		if state, ok := i.signature(cat, resolved, o); !ok || forged(state) {
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
