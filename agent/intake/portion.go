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
	rest := func(o flex.Offer) bool { return !o.Instruction.IsStop() }
	slices.SortStableFunc(ch.Offers, func(a, b flex.Offer) int {
		switch {
		case rest(a) == rest(b):
			return 0
		case rest(b):
			return -1
		}
		return 1
	})
	stops := slices.IndexFunc(ch.Offers, rest)
	for n, left := 0, stops; left > 0; left -= n {
		n = min(left, portion)
		if err := first(n, nil); err != nil {
			return ch, err
		}
	}
	for len(ch.Offers) > portion {
		if err := first(portion, ch.Assets); err != nil {
			return ch, err
		}
		ch.Assets = nil
	}
	return ch, nil
}

// matchInTurn is match for a whole reply. What of a long one cannot wait until
// the rest is matched is admitted before; the rest is left.
func (i *Intake) matchInTurn(ctx context.Context, src source, got []flex.Instruction) (*batch, error) {
	if len(got) <= portion {
		return i.match(ctx, src, got)
	}
	urgent, rest := urgentFirst(got, i.cfg.Clock.Stamp().At)
	if len(urgent) == 0 || len(rest) == 0 {
		return i.match(ctx, src, got)
	}
	first := src
	first.raw = nil // it is kept with the rest
	b, err := i.match(ctx, first, urgent)
	if err != nil {
		return nil, err
	}
	if err := i.commitBatch(ctx, b); err != nil {
		return nil, err
	}
	src.begun = len(b.offers) > 0
	return i.match(ctx, src, rest)
}

// soon is how near a start is urgent.
const soon = time.Minute

// urgentFirst takes out stops, what runs or starts within a minute, and what
// has to keep its order with one of those: other copies of the same
// instruction, and instructions of the same obligation whose windows meet.
func urgentFirst(all []flex.Instruction, now time.Time) (urgent, rest []flex.Instruction) {
	order := make([]int, len(all))
	open := false // one that leaves its obligation open may be of any
	for n, in := range all {
		order[n] = n
		open = open || in.Obligation == ""
	}
	slices.SortStableFunc(order, func(a, b int) int { return all[a].Window.Start.Compare(all[b].Window.Start) })
	taken := make([]bool, len(all))
	ids := map[flex.InstructionID]bool{}
	reach := map[flex.ObligationID]time.Time{} // until when something urgent lasts
	for again := true; again; {
		again = false
		for _, n := range order {
			in := all[n]
			of := in.Obligation
			if open {
				of = ""
			}
			near := in.Window.Start.Before(now.Add(soon)) && (in.Window.Open() || in.Window.End.After(now))
			meets := in.Window.Start.Before(reach[of]) && now.Before(reach[of])
			if taken[n] || !in.IsStop() && !ids[in.ID] && !near && !meets {
				continue
			}
			taken[n], ids[in.ID], again = true, true, true
			if !in.IsStop() {
				reach[of] = later(reach[of], lastEnd(all[n:n+1]))
			}
		}
	}
	for n, in := range all {
		if taken[n] {
			urgent = append(urgent, in)
		} else {
			rest = append(rest, in)
		}
	}
	return urgent, rest
}
