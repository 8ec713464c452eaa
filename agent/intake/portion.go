package intake

import (
	"context"

	"flexd/agent/flex"
)

// portion is how many offers one commit takes.
const portion = 250

// portions commits what is too much for one transaction, all but the last
// part, so that a reply of thousands needs no memory for all of them at once.
// It gives the rest. It is called under admitMu.
func (i *Intake) portions(ctx context.Context, ch flex.Changes) (flex.Changes, error) {
	for len(ch.Offers) > portion {
		part := flex.Changes{Offers: ch.Offers[:portion], Assets: ch.Assets}
		within, cancel := detached(ctx)
		err := i.cfg.Book.Commit(within, part)
		cancel()
		if err != nil {
			return ch, err
		}
		i.taken(part.Offers)
		ch.Offers, ch.Assets = ch.Offers[portion:], nil
	}
	return ch, nil
}
