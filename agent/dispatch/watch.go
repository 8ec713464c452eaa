package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// calm is how long a condition must be gone before its end is announced, so
// that a power at the edge of a limit does not fill the outbox.
const calm = 10 * time.Second

// latch remembers when a condition was last seen.
type latch map[flex.InstructionID]map[flex.Condition]time.Time

// lately is how long before its end a condition may have been seen last to
// count as one of the end.
const lately = 2 * time.Second

// hold keeps a condition of the old record on until it was gone for calm, or
// until the dispatch is over: then those stand that held at its end. over is
// for how long it has been, negative before.
func (l latch) hold(old, next flex.Record, now time.Time, over time.Duration) flex.Record {
	for _, c := range []flex.Condition{flex.Partial, flex.Overridden, flex.NotDelivering, flex.DeviceFailed} {
		switch seen, ok := l[next.ID][c]; {
		case over >= 0 && ok && now.Sub(seen)-over > lately:
			next = next.With(c, false)
		case over >= 0: // nobody looks any more
		case next.Has(c):
			if l[next.ID] == nil {
				l[next.ID] = map[flex.Condition]time.Time{}
			}
			l[next.ID][c] = now
		case ok && old.Has(c) && now.Sub(seen) < calm && !next.State.Final():
			next = next.With(c, true)
			next.Reason, next.Text = old.Reason, old.Text
		}
	}
	return next
}

// pastEnd is for how long the record has asked for nothing, negative while it asks.
func pastEnd(r flex.Record, now time.Time) time.Duration {
	if endsAt(r).IsZero() {
		return -1
	}
	return now.Sub(endsAt(r))
}

// lastSeen tells when a condition of the instruction was last seen, by the wall
// clock; the steady one has steady.
func (l latch) lastSeen(id flex.InstructionID, wall, steady time.Time) func(flex.Condition) time.Time {
	return func(c flex.Condition) time.Time {
		seen, ok := l[id][c]
		if !ok {
			return time.Time{}
		}
		return wall.Add(seen.Sub(steady))
	}
}

func (l latch) forget(id flex.InstructionID) { delete(l, id) }

// follow turns what control has seen into committed transitions.
func (e *Engine) follow(ctx context.Context) error {
	if len(e.open) == 0 {
		return nil
	}
	seen := e.cfg.Progress.Progress()
	now := e.cfg.Wall.Stamp()
	ids := make([]flex.InstructionID, 0, len(e.open))
	for id := range e.open {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	f := batch{}
	for _, id := range ids {
		old := e.open[id]
		if Recover(old, now) == NeedHold {
			continue // the clock cannot tell whether its window is open
		}
		p, known := seen[id]
		rec := e.cfg.Board.on(old, now)
		if began := e.begun(now); !known && old.State == flex.Scheduled && over(rec, now.At) && now.At.Sub(began) < settle && !began.Before(endsAt(rec)) {
			continue // over before this process began: control looks first whether anything is still held
		}
		next, err := Follow(rec, retold(p, now), known, now)
		if err != nil {
			return err
		}
		next = e.latch.hold(old, next, time.Now(), pastEnd(next, now.At))
		e.alarm(old, next)
		if !changed(old, next) || e.early(old, next) {
			e.show(old, now)
			continue
		}
		if err := f.add(e, old, next, now); err != nil {
			return err
		}
	}
	return e.settle(ctx, f, now)
}

// batch is the new faces of all records that changed: one commit.
type batch struct {
	ch    flex.Changes
	lines []string
	of    []flex.InstructionID // of each line
}

// factsWithin is how long facts that change no state wait for others: what
// follows a first write comes in the next moments.
const factsWithin = time.Second

// early tells whether what changed may still wait. That a window has begun may
// not: after a restart the clock alone could not tell it.
func (e *Engine) early(old, next flex.Record) bool {
	since, waits := e.facts[next.ID]
	switch {
	case len(old.Steps) != len(next.Steps) || !sameConditions(old, next) || old.Begun.Boot != next.Begun.Boot:
		return false
	case !waits:
		e.facts[next.ID] = time.Now()
		return true
	}
	return time.Since(since) < factsWithin
}

// changed tells whether there is something to store.
func changed(a, b flex.Record) bool {
	return len(a.Steps) != len(b.Steps) || !sameConditions(a, b) || !courseOf(a).same(b) ||
		!a.FirstWrite.Equal(b.FirstWrite) || !a.EchoAt.Equal(b.EchoAt) ||
		!a.ActingAt.Equal(b.ActingAt) || !a.DeliverAt.Equal(b.DeliverAt) || counted(b)-counted(a) >= countEvery
}

// countEvery is how much of the energy account a power cut may cost.
const countEvery = time.Minute

// counted is how much time a record's energy accounts cover.
func counted(r flex.Record) (sum time.Duration) {
	for _, e := range r.Energy {
		sum += e.Followed.Duration()
	}
	return sum
}

// settle commits what has changed, and shows it to control.
func (e *Engine) settle(ctx context.Context, f batch, now flex.Stamp) error {
	if len(f.ch.Records) == 0 {
		return nil
	}
	if err := e.commit(ctx, f.ch); err != nil {
		return err
	}
	e.adopt(now, f.ch.Records...)
	for i, l := range f.lines {
		e.cfg.Log.Info(l, "instruction", f.of[i])
	}
	return nil
}

// record commits the new face of one record.
func (e *Engine) record(ctx context.Context, old, next flex.Record, now flex.Stamp) error {
	f := batch{}
	if err := f.add(e, old, next, now); err != nil {
		return err
	}
	return e.settle(ctx, f, now)
}

// add takes the new face of a record with an acknowledgement per step, or one
// for a change of conditions.
func (f *batch) add(e *Engine, old, next flex.Record, now flex.Stamp) error {
	next = hush([]flex.Record{next})[0].Chronicle(now.At, e.latch.lastSeen(next.ID, now.At, time.Now()))
	if n := len(next.Steps); n > len(old.Steps) && next.State == flex.Completed {
		next.Steps = slices.Clone(next.Steps)
		next.Steps[n-1].Text += meanwhile(next)
		next.Text = next.Steps[n-1].Text
	}
	var lines []string
	for _, st := range next.Steps[len(old.Steps):] {
		ack := ackOf(next, string(st.State), st.Fact, st.Text)
		ack.Reason = st.Reason
		if err := announce(&f.ch, now, ack); err != nil {
			return err
		}
		lines = append(lines, line(next, string(st.State), st.Fact.At, st.Reason, st.Text))
	}
	if len(lines) == 0 && !sameConditions(old, next) {
		if err := announce(&f.ch, now, ackOf(next, string(next.State), now, next.Text)); err != nil {
			return err
		}
		lines = append(lines, line(next, string(next.State), now.At, next.Reason, next.Text))
	}
	f.ch.Records = append(f.ch.Records, next)
	for _, l := range lines {
		f.lines, f.of = append(f.lines, l), append(f.of, next.ID)
	}
	delete(e.facts, next.ID)
	return nil
}

// line is one step of a ladder in words.
func line(r flex.Record, state string, fact time.Time, reason flex.Reason, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "instruction %s %s at %s: our share %s", r.ID, state, fact.UTC().Format("15:04:05.000"), sharesText(r.Shares))
	if reason != "" {
		fmt.Fprintf(&b, " (%s)", reason)
	}
	if text != "" {
		b.WriteString(", " + text)
	}
	if len(r.Conditions) > 0 {
		fmt.Fprintf(&b, " %v", r.Conditions)
	}
	return b.String()
}

// alarm raises and clears what a person must see.
func (e *Engine) alarm(old, next flex.Record) {
	switch was, is := old.Has(flex.ReleaseOwed), next.Has(flex.ReleaseOwed); {
	case is:
		e.cfg.Health.Raise(CodeReleaseOwed, string(next.ID), "its window is over and a device is not proven to be handed back; it is tried again until it is")
	case was:
		e.cfg.Health.Clear(CodeReleaseOwed, string(next.ID))
	}
}
