package intake

import (
	"context"
	"fmt"
	"time"

	"flexd/agent/flex"
)

// Bounds of the watch on the list.
const (
	maxListed = 2048 // instructions that are watched
	missedFor = 2    // lists without it before somebody is told
)

// listing is an instruction of ours and whether the market lists it.
type listing struct {
	end    time.Time
	missed int
	told   bool
}

// watch begins to look for an instruction on the list.
func (i *Intake) watch(in flex.Instruction) {
	end := in.Window.End
	if in.Window.Open() {
		end = in.Window.Start.Add(noticeMaxLife)
	}
	if l, known := i.listed[in.ID]; known {
		l.end = end
	} else if in.Kind == flex.KindStart && len(i.listed) < maxListed {
		i.listed[in.ID] = &listing{end: end}
	}
}

// watchList tells when an instruction of ours that is not over is not on the
// market's list any more. That is no stop: a list with a hole in it ends
// nothing; but a person should ask. Called under pollMu, with a whole list.
func (i *Intake) watchList(got []flex.Instruction, now time.Time) {
	there := make(map[flex.InstructionID]bool, len(got))
	for _, in := range got {
		there[in.ID] = true
		if last, found, err := i.cfg.Book.LatestOffer(in.ID); err == nil && found && in.Kind == flex.KindStart {
			i.watch(last.Instruction)
		}
	}
	for id, l := range i.listed {
		switch {
		case !now.Before(l.end), there[id]:
			if l.missed = 0; l.told {
				l.told = false
				i.cfg.Health.Clear(CodeNotListed, string(id))
			}
			if !now.Before(l.end) {
				delete(i.listed, id)
			}
		default:
			if l.missed++; l.missed >= missedFor && !l.told {
				l.told = true
				i.cfg.Health.Raise(CodeNotListed, string(id),
					fmt.Sprintf("instruction %s is not on the market's list any more; it goes on, since only a stop ends it: ask the operator", id))
			}
		}
	}
}

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
