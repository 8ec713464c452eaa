package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// decideFor is how long one look decides before it follows what runs and reads
// the offers again: behind a long list waits what begins next.
const decideFor = 250 * time.Millisecond

// decide gives waiting offers their verdicts. Stops act at once: they may be
// about any of the others. What begins first is decided first, and offers that
// concern one another in the order of their arrival.
func (e *Engine) decide(ctx context.Context) error {
	offers, err := e.undecided(ctx)
	if err != nil {
		return err
	}
	copies := make(map[flex.InstructionID][]*flex.Offer, len(offers))
	for i, o := range offers {
		copies[o.Instruction.ID] = append(copies[o.Instruction.ID], &offers[i])
		if o.Instruction.IsStop() && !forged(o) {
			now := e.cfg.Wall.Stamp()
			e.cfg.Board.StopNow(o.Instruction, earliest(sinceReceived(o, now).At, now.At))
		}
	}
	held, began := false, time.Now()
	before := e.waiting
	e.waiting = map[flex.InstructionID]bool{}
	for i, o := range byUrgency(offers) {
		over := overtaken(o, copies[o.Instruction.ID])
		if now, _ := e.cfg.Wall.Now(); !over && e.rests(o, now) {
			continue
		}
		if i > 0 && time.Since(began) > decideFor { // the rest at the next look, which is now
			held, e.waiting[o.Instruction.ID] = held || e.held, before[o.Instruction.ID]
			e.Wake()
			continue
		}
		waits, err := e.decideOne(ctx, o, over)
		if err != nil {
			return err
		}
		held = held || waits
	}
	switch {
	case held:
		e.cfg.Health.Raise(CodeClockUntrusted, "", "instructions are kept undecided until the clock is good")
	case e.held:
		e.cfg.Health.Clear(CodeClockUntrusted, "")
	}
	e.held = held
	now, _ := e.cfg.Wall.Now()
	e.tellWaits(offers, now)
	e.tellPuzzles(now)
	e.endFlags(now)
	return nil
}

// decideOne makes one decision: judged, committed, then on the Board. A
// change that is overtaken by a later one does not wait for an answer.
func (e *Engine) decideOne(ctx context.Context, o flex.Offer, overtaken bool) (held bool, err error) {
	now := e.cfg.Wall.Stamp()
	c, err := e.context(ctx, o, now)
	if err != nil {
		return false, err
	}
	v := Admit(o, c)
	switch {
	case v.Hold:
		if !e.held {
			e.cfg.Log.Warn(v.Note)
		}
		return true, nil
	case v.Wait && overtaken:
		v = Verdict{Note: fmt.Sprintf("instruction %s: a change that waited for an answer is overtaken by a later one", o.Instruction.ID)}
	case v.Wait:
		e.waiting[o.Instruction.ID] = e.waiting[o.Instruction.ID] || v.Passing == nil
	}
	e.note(o, v, now.At)
	if v.Wait && len(v.Records) == 0 {
		return false, nil
	}
	if err := e.carry(ctx, []flex.Offer{o}, v, now, ""); err != nil {
		return false, err
	}
	if o.Instruction.IsStop() && !v.Wait {
		e.cfg.Board.settle(o.Instruction.ID)
	}
	e.puzzled(o, now)
	e.leaves(o, v, now.At)
	if v.Note != "" {
		e.cfg.Log.Info(v.Note, "instruction", o.Instruction.ID, "door", o.Door)
	}
	return false, nil
}

// overtaken tells whether a later one of an instruction's offers changes it
// again. A false copy overtakes nothing but another.
func overtaken(o flex.Offer, copies []*flex.Offer) bool {
	return slices.ContainsFunc(copies, func(p *flex.Offer) bool {
		l := *p
		return l.Seq > o.Seq && (!forged(l) || forged(o)) && (forged(o) || !o.Instruction.HasRevision || l.Instruction.Revision >= o.Instruction.Revision)
	})
}

// carry commits a verdict and shows what it changes to control.
func (e *Engine) carry(ctx context.Context, offers []flex.Offer, v Verdict, now flex.Stamp, by string) error {
	v.Records = hush(v.Records)
	for i, r := range v.Records {
		v.Records[i] = r.Chronicle(now.At, e.latch.lastSeen(r.ID, now.At, time.Now()))
	}
	ch := flex.Changes{Records: v.Records, Tombstones: v.Tombstones}
	for _, a := range v.Acks {
		if err := announce(&ch, now, a); err != nil {
			return err
		}
	}
	for _, o := range offers {
		if !v.Wait {
			ch.Decided = append(ch.Decided, o.Seq)
		}
		if o.Instruction.IsStop() && v.Note != "" {
			ch.Audit = append(ch.Audit, flex.Audit{At: now, What: "dispatch.stop", Subject: string(o.Instruction.ID), By: o.Instruction.Operator, Text: v.Note})
		}
	}
	if by != "" {
		for _, r := range v.Records {
			if r.Answer != nil && r.Answer.By == by && r.Answer.At == now {
				ch.Audit = append(ch.Audit, flex.Audit{At: now, What: "dispatch.answer", Subject: string(r.ID), By: by, Text: wordText(*r.Answer)})
			}
		}
	}
	if err := e.commit(ctx, ch); err != nil {
		return err
	}
	e.adopt(now, v.Records...)
	return nil
}

// hush lets nothing more be said of what was stopped, or is over.
func hush(recs []flex.Record) []flex.Record {
	out := slices.Clone(recs)
	for i, r := range out {
		quiet := ended(&r) || r.State.Final() && r.State != flex.Refused
		if !quiet {
			continue
		}
		out[i].Amend = nil
		if a := r.Answer; a != nil && !a.Lapsed && a.Confirmed.IsZero() {
			closed := *a
			closed.Lapsed = true
			out[i].Answer = &closed
		}
	}
	return out
}

// context gathers what the offer is judged against.
func (e *Engine) context(ctx context.Context, o flex.Offer, now flex.Stamp) (Context, error) {
	c := Context{Now: now, KeepEnds: e.cfg.KeepEnds, Contract: e.cfg.Contract}
	if ask := e.cfg.Baseline; ask != nil {
		c.Baseline = func(id flex.AssetID, w flex.Window, notice time.Time) (flex.Baseline, bool, error) {
			return ask(ctx, id, w, notice)
		}
	}
	id := o.Instruction.ID
	rec, ok := e.open[id]
	if !ok {
		err := e.patient(ctx, "read instruction "+string(id), func() (err error) {
			rec, ok, err = e.cfg.Ledger.Record(ctx, id)
			return err
		})
		if err != nil {
			return c, err
		}
	}
	if ok {
		c.Existing = &rec
	}
	err := e.patient(ctx, "read the stops of "+string(id), func() error {
		t, stopped, err := e.cfg.Ledger.Tombstone(ctx, id)
		if stopped {
			c.Tombstone = &t
		}
		return err
	})
	c.Open = e.related(o, rec, ok)
	if err != nil || o.Instruction.IsStop() {
		return c, err
	}
	c.Away, c.Pace, c.Ended = e.standing(), e.cfg.Pace, e.rested.list()
	c.Afford = e.cfg.Afford
	c.Answers, err = e.answering(ctx, o.Instruction, o.Obligation)
	return c, err
}

// related are the open records that a verdict may touch, by id: all for a stop,
// else those whose windows meet, and those that one of these has superseded.
// Thousands for other days are not carried around.
func (e *Engine) related(o flex.Offer, rec flex.Record, known bool) []flex.Record {
	in := o.Instruction
	if len(e.open) < manyOpen || in.IsStop() {
		return e.sortedOpen(func(flex.Record) bool { return true })
	}
	reach := []flex.Window{in.Window}
	if in.Window.Open() {
		reach[0].End = in.Window.Start.Add(MaxOpenRun)
	}
	if known {
		reach = append(reach, rec.Window)
	}
	for _, a := range e.cfg.Assets {
		if e.cfg.Pace == nil {
			break
		}
		if rest := e.cfg.Pace(a).Recovery; rest > 0 {
			reach = append(reach, flex.Window{Start: reach[0].Start.Add(-rest), End: reach[0].End.Add(rest)})
		}
	}
	tied := func(r flex.Record) bool { return r.ID == in.ID || r.StopBy == in.ID || known && r.ID == rec.StopBy }
	for _, r := range e.open {
		if tied(r) {
			reach = append(reach, r.Window)
		}
	}
	near := func(r flex.Record) bool { return tied(r) || slices.ContainsFunc(reach, r.Window.Overlaps) }
	heirs := map[flex.InstructionID]bool{} // one whose successor is not there would run on
	for _, r := range e.open {
		if near(r) {
			heirs[r.StopBy] = true
		}
	}
	return e.sortedOpen(func(r flex.Record) bool { return near(r) || heirs[r.ID] })
}

// manyOpen is from how many open records on only the related ones are looked at.
const manyOpen = 64

func (e *Engine) sortedOpen(take func(flex.Record) bool) []flex.Record {
	var out []flex.Record
	for _, r := range e.open {
		if take(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b flex.Record) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// adopt takes over what was committed and shows it to control.
func (e *Engine) adopt(now flex.Stamp, recs ...flex.Record) {
	owed := false
	for _, r := range recs {
		delete(e.said, r.ID)
		if r.State.Final() {
			e.rested.note(r)
			delete(e.open, r.ID)
			delete(e.facts, r.ID)
			e.latch.forget(r.ID)
			e.cfg.Health.Clear(CodeReleaseOwed, string(r.ID))
			if r.Answer.Owed() {
				e.said[r.ID] = r
			}
		} else {
			e.open[r.ID] = r
		}
		owed = owed || r.Answer.Owed()
		e.warn(r, now.At)
		e.show(r, now)
	}
	if owed {
		e.nudge()
	}
}

// undecided reads what came since the last look: behind a long list that is
// not decided yet may wait what begins now.
func (e *Engine) undecided(ctx context.Context) ([]flex.Offer, error) {
	err := e.patient(ctx, "read the offers", func() error {
		offers, err := e.cfg.Ledger.Undecided(ctx, e.pile)
		if err == nil {
			e.pile = offers
		}
		return err
	})
	return e.pile, err
}

// commit stores one decision, however long that takes.
func (e *Engine) commit(ctx context.Context, ch flex.Changes) error {
	return e.patient(ctx, "store a decision", func() error { return e.cfg.Ledger.Commit(ctx, ch) })
}

// The patience with a store: back-off between tries, and how long one try may
// hang before it is said aloud.
const (
	backoffLeast = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
	hangAlarm    = 5 * time.Second
)

// patient repeats a store access until it works or ctx ends. The Board stays
// in force meanwhile: windows end, stops and holds act without this
// goroutine.
func (e *Engine) patient(ctx context.Context, what string, do func() error) error {
	wait := backoffLeast
	for {
		hang := time.AfterFunc(hangAlarm, func() { e.hanging(what) })
		err := do()
		hang.Stop()
		if err == nil {
			e.cfg.Board.setFailing(false)
			if e.sick.Swap(false) {
				e.cfg.Health.Clear(CodeStoreFailing, "")
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.failing(what, err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		wait = min(2*wait, backoffMost)
	}
}

// failing tells everybody that the store refuses to work: control takes
// nothing new, and in the end hands back what it holds.
func (e *Engine) failing(what string, err error) {
	if !e.cfg.Board.setFailing(true) {
		e.cfg.Log.Error("the store does not work: cannot "+what, "error", err)
	}
	e.sick.Store(true)
	e.cfg.Health.Raise(CodeStoreFailing, "", fmt.Sprintf("cannot %s: %v; stops act, nothing new is taken; check the disk's space and health", what, err))
}

// hanging says that the store does not answer. That alone changes no watts:
// what runs goes on to its end.
func (e *Engine) hanging(what string) {
	e.cfg.Log.Error("the store does not answer: waiting to " + what)
	e.sick.Store(true)
	e.cfg.Health.Raise(CodeStoreFailing, "", fmt.Sprintf("no answer for %v to: %s; running dispatches go on and stops act; check the disk", hangAlarm, what))
}
