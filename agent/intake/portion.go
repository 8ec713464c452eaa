package intake

import (
	"context"
	"slices"
	"time"

	"flexd/agent/flex"
)

// portion is how many offers one commit takes.
const portion = 250

// portions commits what is too much for one transaction, all but the last
// part, so that a reply of thousands needs no memory for all of them at once.
// Stops that came with starts go first and alone: there is room for them when
// there is none for anything new. What starts within a minute comes next, so
// that it is decided before the rest is even stored. It gives the rest. It is
// called under admitMu.
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
	stops, urgent := urgentFirst(ch.Offers, i.cfg.Clock.Stamp().At)
	if stops == len(ch.Offers) {
		stops = 0 // nothing is before them
	}
	if len(ch.Offers)-stops-urgent < portion {
		urgent = 0 // all of it is one commit
	}
	for n, left := 0, stops; left > 0; left -= n {
		n = min(left, portion)
		if err := first(n, nil); err != nil {
			return ch, err
		}
	}
	for n, left := 0, urgent; left > 0; left -= n {
		n = min(left, portion)
		if err := first(n, ch.Assets); err != nil {
			return ch, err
		}
		ch.Assets = nil
	}
	for len(ch.Offers) > portion {
		if err := first(portion, ch.Assets); err != nil {
			return ch, err
		}
		ch.Assets = nil
	}
	return ch, nil
}

// soon is how near a start is urgent.
const soon = time.Minute

// urgentFirst orders stops before what starts within a minute, and that before
// the rest, and counts the first two. All offers of one instruction go
// together, in the order in which they came.
func urgentFirst(offers []flex.Offer, now time.Time) (stops, urgent int) {
	const stop, near, rest = 0, 1, 2
	class := func(o flex.Offer) int {
		switch {
		case o.Instruction.IsStop():
			return stop
		case o.Instruction.Window.Start.Before(now.Add(soon)):
			return near
		}
		return rest
	}
	of := map[flex.InstructionID]int{}
	for _, o := range offers {
		id := o.Instruction.ID
		if had, known := of[id]; !known || class(o) < had && class(o) != stop {
			of[id] = max(class(o), near)
		}
	}
	rank := func(o flex.Offer) int {
		if class(o) == stop {
			return stop
		}
		return of[o.Instruction.ID]
	}
	slices.SortStableFunc(offers, func(a, b flex.Offer) int { return rank(a) - rank(b) })
	for _, o := range offers {
		switch rank(o) {
		case stop:
			stops++
		case near:
			urgent++
		}
	}
	return stops, urgent
}
