package dispatch

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"flexd/agent/flex"
)

// The most that one order of a person may hold.
const (
	mostAnswers = 1000
	mostText    = 500 // characters of a reason
)

// Answer is a person's word on instructions that wait for one. It counts for
// all of them or for none, and is refused where nothing waits.
func (e *Engine) Answer(ctx context.Context, ids []flex.InstructionID, word flex.Word, reason, by string) error {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	switch {
	case word != flex.Accept && word != flex.Reject:
		return flex.Refuse(flex.ReasonBadField, "the answer %q is neither accept nor reject", word)
	case len(ids) == 0 || len(ids) > mostAnswers:
		return flex.Refuse(flex.ReasonBadField, "name 1 to %d instructions, not %d", mostAnswers, len(ids))
	case utf8.RuneCountInString(reason) > mostText:
		return flex.Refuse(flex.ReasonBadField, "the reason is longer than %d characters", mostText)
	}
	wait, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	taken, err := e.post(wait, func(ctx context.Context) error {
		return e.answer(ctx, ids, Said{Word: word, Text: reason, By: by})
	})
	if err != nil && taken && wait.Err() != nil {
		return fmt.Errorf("the answer is not stored yet, look again: %w", err)
	}
	if err != nil && !taken {
		return fmt.Errorf("the answer could not be given: %w", err)
	}
	return err
}

// answer judges every id on what the ones before it leave, then commits once.
func (e *Engine) answer(ctx context.Context, ids []flex.InstructionID, said Said) error {
	now := e.cfg.Wall.Stamp()
	stored := e.open
	e.open = make(map[flex.InstructionID]flex.Record, len(stored))
	for id, r := range stored {
		e.open[id] = r
	}
	all, offers, err := e.words(ctx, ids, said, now)
	e.open = stored
	if err != nil {
		return err
	}
	if err := e.carry(ctx, offers, all, now, said.By); err != nil {
		return err
	}
	e.cfg.Log.Info(all.Note, "by", said.By)
	return nil
}

// words gathers the verdicts on all ids; e.open is a copy to work on.
func (e *Engine) words(ctx context.Context, ids []flex.InstructionID, said Said, now flex.Stamp) (all Verdict, done []flex.Offer, err error) {
	var waiting []flex.Offer
	recs := map[flex.InstructionID]flex.Record{}
	for _, id := range ids {
		rec, ok := e.open[id]
		if why := answerable(id, rec, ok, now); why != nil {
			return all, nil, why
		}
		var v Verdict
		if rec.State == flex.Pending {
			a, err := e.answering(ctx, rec.Instruction, flex.Obligation{ID: rec.Obligation})
			if err != nil {
				return all, nil, err
			}
			a.Said = &said
			v, _ = e.word(rec, a, now)
		} else {
			if waiting == nil {
				if waiting, err = e.undecided(ctx); err != nil {
					return all, nil, err
				}
			}
			var o flex.Offer
			if v, o, err = e.wordOnChange(ctx, id, waiting, said, now); err != nil {
				return all, nil, err
			}
			done = append(done, o)
		}
		for _, r := range v.Records {
			recs[r.ID], e.open[r.ID] = r, r
			if r.State.Final() {
				delete(e.open, r.ID)
			}
		}
		all.Acks = append(all.Acks, v.Acks...)
		all.Tombstones = append(all.Tombstones, v.Tombstones...)
		all.Note = together(all.Note, v.Note)
	}
	for _, r := range recs {
		all.Records = append(all.Records, r)
	}
	return all, done, nil
}

// answerable tells why there is nothing to answer.
func answerable(id flex.InstructionID, rec flex.Record, known bool, now flex.Stamp) error {
	switch a := openAnswer(rec); {
	case !known:
		return flex.Refuse(flex.ReasonNotOurs, "no instruction %q waits for an answer: see `flexd instructions`", id)
	case ended(&rec):
		return flex.Refuse(flex.ReasonStopped, "instruction %s was stopped: there is nothing left to answer", id)
	case a == nil || a.Word != "":
		return flex.Refuse(flex.ReasonConflict, "instruction %s does not wait for an answer, it is %s: to end it, stop it", id, rec.State)
	case now.Clock != flex.ClockUntrusted && !now.At.Before(a.Due):
		return flex.Refuse(flex.ReasonTooLate, "%s for instruction %s", lateText(*a), id)
	}
	return nil
}

// wordOnChange judges the change that waits, with the person's word.
func (e *Engine) wordOnChange(ctx context.Context, id flex.InstructionID, waiting []flex.Offer, said Said, now flex.Stamp) (Verdict, flex.Offer, error) {
	var last *flex.Offer
	for i, o := range waiting {
		if o.Instruction.ID == id && !o.Instruction.IsStop() && (last == nil || o.Seq > last.Seq) {
			last = &waiting[i]
		}
	}
	if last == nil {
		return Verdict{}, flex.Offer{}, flex.Refuse(flex.ReasonConflict, "the change of instruction %s is gone", id)
	}
	c, err := e.context(ctx, *last, now)
	if err != nil {
		return Verdict{}, flex.Offer{}, err
	}
	c.Answers.Said = &said
	v := Admit(*last, c)
	if v.Hold {
		return v, *last, flex.Refuse(flex.ReasonClockUntrusted, "the change of instruction %s cannot be judged: the clock is not trusted", id)
	}
	if v.Wait {
		return v, *last, flex.Refuse(flex.ReasonConflict, "the change of instruction %s is not judged yet", id)
	}
	return v, *last, nil
}
