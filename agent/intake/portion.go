package intake

import (
	"context"
	"slices"

	"flexd/agent/flex"
)

// portion is how many offers one commit takes.
const portion = 250

// portions commits what is too much for one transaction, all but the last
// part, so that a reply of thousands needs no memory for all of them at once.
// Stops that came with starts go first and alone: there is room for them when
// there is none for anything new. It gives the rest. It is called under
// admitMu.
func (i *Intake) portions(ctx context.Context, ch flex.Changes) (flex.Changes, error) {
	first := func(n int, assets []flex.MarketAsset) error {
		part := flex.Changes{Offers: ch.Offers[:n], Assets: assets}
		within, cancel := detached(ctx)
		defer cancel()
		if err := i.cfg.Book.Commit(within, part); err != nil {
			return err
		}
		i.taken(part.Offers)
		ch.Offers = ch.Offers[n:]
		return nil
	}
	slices.SortStableFunc(ch.Offers, func(a, b flex.Offer) int { return startsOf(a) - startsOf(b) })
	stops := slices.IndexFunc(ch.Offers, func(o flex.Offer) bool { return !o.Instruction.IsStop() })
	for stops > 0 {
		n := min(stops, portion)
		if err := first(n, nil); err != nil {
			return ch, err
		}
		stops -= n
	}
	for len(ch.Offers) > portion {
		if err := first(portion, ch.Assets); err != nil {
			return ch, err
		}
		ch.Assets = nil
	}
	return ch, nil
}

// startsOf orders stops before the rest.
func startsOf(o flex.Offer) int {
	if o.Instruction.IsStop() {
		return 0
	}
	return 1
}
