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
	came   time.Time // when it was offered last
	end    time.Time
	lasts  bool // it was listed although it is older than what a list must show
	missed int
	told   bool
}

// watch begins to look for an instruction of ours on the list.
func (i *Intake) watch(o flex.Offer) {
	in := o.Instruction
	if in.Kind != flex.KindStart || len(o.Ours) == 0 {
		return
	}
	end := in.Window.End
	if in.Window.Open() {
		end = in.Window.Start.Add(noticeMaxLife)
	}
	i.listMu.Lock()
	defer i.listMu.Unlock()
	if l, known := i.listed[in.ID]; known {
		l.came, l.end = o.Received.At, end
	} else if len(i.listed) < maxListed {
		i.listed[in.ID] = &listing{came: o.Received.At, end: end}
	}
}

// watchList tells when an instruction of ours that is not over is not on the
// market's list any more. That is no stop: a list with a hole in it ends
// nothing; but a person should ask. The list is whole, and was asked for at an
// instant. Called under pollMu.
func (i *Intake) watchList(ctx context.Context, got []flex.Instruction, asked time.Time) {
	there := make(map[flex.InstructionID]bool, len(got))
	for _, in := range got {
		there[in.ID] = true
		if in.Kind != flex.KindStart || i.watched(in.ID) {
			continue
		}
		if last, found, err := i.cfg.Book.LatestOffer(in.ID); err == nil && found {
			i.watch(last)
		}
	}
	missing, back := i.compare(there, asked)
	for _, id := range back {
		i.cfg.Health.Clear(CodeNotListed, string(id))
	}
	for _, id := range missing {
		// One that was stopped or refused may well leave the list.
		if rec, found, err := i.cfg.Book.Record(ctx, id); err == nil && found && rec.State.Final() {
			i.unwatch(id)
			i.cfg.Health.Clear(CodeNotListed, string(id))
			continue
		}
		i.cfg.Health.Raise(CodeNotListed, string(id),
			fmt.Sprintf("instruction %s is not on the market's list any more; it goes on, since only a stop ends it: ask the operator", id))
	}
}

// compare holds what is watched against a list: what was missing often enough
// to be told, and what need not be told any more.
func (i *Intake) compare(there map[flex.InstructionID]bool, asked time.Time) (missing, back []flex.InstructionID) {
	i.listMu.Lock()
	defer i.listMu.Unlock()
	since := asked.Add(-listBack)
	for id, l := range i.listed {
		over := !asked.Before(l.end)
		switch {
		case over, there[id]:
			l.lasts = l.lasts || there[id] && l.came.Before(since)
			l.missed = 0
			if l.told {
				l.told = false
				back = append(back, id)
			}
			if over {
				delete(i.listed, id)
			}
		case !l.came.Before(asked), l.came.Before(since) && !l.lasts:
			// The list may be older than it, or reach less far back.
		default:
			if l.missed++; l.missed >= missedFor {
				l.told = true
				missing = append(missing, id)
			}
		}
	}
	return missing, back
}

func (i *Intake) watched(id flex.InstructionID) bool {
	i.listMu.Lock()
	defer i.listMu.Unlock()
	_, known := i.listed[id]
	return known
}

func (i *Intake) unwatch(id flex.InstructionID) {
	i.listMu.Lock()
	defer i.listMu.Unlock()
	delete(i.listed, id)
}
