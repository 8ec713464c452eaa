package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"flexd/agent/flex"
)

// answering is how an instruction is to be answered, by the market's rules
// and the site's policy.
func (e *Engine) answering(ctx context.Context, in flex.Instruction, ob flex.Obligation) (Answering, error) {
	if e.cfg.Market == nil || e.cfg.Answers == nil || in.Test {
		return Answering{}, nil
	}
	operator := in.Operator
	if operator == "" {
		operator = ob.Operator
	}
	a := Answering{Policy: e.cfg.Answers(operator), ByHand: !e.cfg.Market.Responds(),
		Foresee: e.steadily(e.cfg.Foresee), Far: e.steadily(e.cfg.ForeseeFar)}
	if a.Policy == AnswerNone || a.ByHand && a.Policy != AnswerAsk {
		return a, nil
	}
	comp, err := e.competition(ctx, in, ob)
	if err != nil {
		return a, err
	}
	if rule, ok := e.cfg.Market.AnswerRule(in, comp); ok {
		a.Rule = &rule
	}
	return a, nil
}

// competition is the tender behind the instruction; zero when not known.
func (e *Engine) competition(ctx context.Context, in flex.Instruction, ob flex.Obligation) (flex.Competition, error) {
	id := in.Competition
	if id == "" {
		id = ob.Competition
	}
	if id == "" {
		return flex.Competition{}, nil
	}
	if comp, ok := e.comps[id]; ok {
		return comp, nil
	}
	var all []flex.Competition
	err := e.patient(ctx, "read the competitions", func() (err error) {
		all, err = e.cfg.Ledger.Competitions(ctx)
		return err
	})
	e.comps = map[flex.CompetitionID]flex.Competition{id: {ID: id}}
	for _, k := range all {
		e.comps[k.ID] = k
	}
	return e.comps[id], err
}

// mind keeps the deadlines: it decides what can be decided by now, and closes
// what nobody answered in time.
func (e *Engine) mind(ctx context.Context) error {
	now := e.cfg.Wall.Stamp()
	if now.Clock == flex.ClockUntrusted {
		return nil
	}
	var seen map[flex.InstructionID]flex.Progress
	for _, id := range e.answered() {
		rec, open := e.open[id]
		if !open {
			rec = e.said[id]
		}
		if Recover(rec, now) == NeedHold || ended(&rec) && open {
			continue
		}
		if rec.State == flex.Pending {
			if err := e.mindPending(ctx, rec, now); err != nil {
				return err
			}
			continue
		}
		e.warn(rec, now.At)
		if seen == nil {
			seen = e.cfg.Progress.Progress()
		}
		next, changed := lapse(rec, e.runs(rec, seen, now), e.waiting[id], now)
		if !changed {
			continue
		}
		if err := e.relay(ctx, rec, next, now); err != nil {
			return err
		}
	}
	return nil
}

// answered are the ids of the records with something to answer, in order.
func (e *Engine) answered() []flex.InstructionID {
	var ids []flex.InstructionID
	for id, r := range e.open {
		if r.Answer != nil || r.Amend != nil {
			ids = append(ids, id)
		}
	}
	for id := range e.said {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// runs tells whether control may be at work on the record. A process that has
// just begun does not know.
func (e *Engine) runs(rec flex.Record, seen map[flex.InstructionID]flex.Progress, now flex.Stamp) bool {
	p, known := seen[rec.ID]
	began := e.begun(now)
	early := !known && !now.At.Before(rec.Window.Start) && now.At.Sub(began) < settle && !began.Before(rec.Window.Start)
	return rec.State == flex.Active || p.Engaged || early
}

// mindPending decides for a record that waits.
func (e *Engine) mindPending(ctx context.Context, rec flex.Record, now flex.Stamp) error {
	ob := flex.Obligation{ID: rec.Obligation}
	a, err := e.answering(ctx, rec.Instruction, ob)
	if err != nil {
		return err
	}
	v, news := e.word(rec, a, now)
	if !news {
		e.warn(rec, now.At) // nobody is called for what is answered in this moment
		return nil
	}
	if err := e.carry(ctx, nil, v, now, bySelf); err != nil {
		return err
	}
	e.cfg.Log.Info(v.Note, "instruction", rec.ID)
	return nil
}

// word gives a waiting record its word, if there is one by now.
func (e *Engine) word(rec flex.Record, a Answering, now flex.Stamp) (Verdict, bool) {
	ans := *rec.Answer
	if now.At.Before(ans.Due) {
		ans = a.decide(ans, rec, now)
	}
	var steps []Event
	if !a.wanted() && a.Said == nil && now.At.Before(ans.Due) { // the policy has changed
		steps = []Event{{To: flex.Accepted, Fact: now, Text: "no answer is wanted"}, {To: flex.Scheduled, Fact: now}}
		rec.Answer = nil
	} else {
		steps = wordSteps(&ans, now)
		rec.Answer = &ans
	}
	if len(steps) == 0 {
		return Verdict{}, false
	}
	c := Context{Now: now, Existing: &rec, KeepEnds: e.cfg.KeepEnds, Contract: e.cfg.Contract}
	for _, r := range e.open {
		if r.ID != rec.ID && (r.State != flex.Pending || !admittedAt(r).After(admittedAt(rec))) {
			c.Open = append(c.Open, r) // what came later and still waits is not superseded by it
		}
	}
	slices.SortFunc(c.Open, func(x, y flex.Record) int { return cmp.Compare(x.ID, y.ID) })
	if steps[0].To == flex.Accepted && rec.Window.Start.Before(now.At) {
		rec = rec.With(flex.LateStart, true)
	}
	o := flex.Offer{Notification: rec.Notification, Instruction: rec.Instruction}
	v := Verdict{Note: fmt.Sprintf("instruction %s: %s", rec.ID, steps[0].Text)}
	if steps[0].Text == "" {
		v.Note = fmt.Sprintf("instruction %s: %s", rec.ID, steps[0].To)
	}
	return v.take(o, rec, c, steps), true
}

// admittedAt is when the record was admitted last.
func admittedAt(r flex.Record) time.Time {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if r.Steps[i].State == flex.Admitted {
			return r.Steps[i].Fact.At
		}
	}
	return time.Time{}
}

// lapse closes what the market did not take by its deadline, or refused to
// take. An acceptance that cannot have arrived binds nobody: what does not
// run yet never will. One that may have arrived, or that is being carried
// out, is a duty to its end. waits tells that a change is still undecided.
func lapse(rec flex.Record, runs, waits bool, now flex.Stamp) (flex.Record, bool) {
	if rec.Amend != nil {
		if waits {
			return rec, false
		}
		rec.Amend = nil // the change is gone
		return rec, true
	}
	a := rec.Answer
	if a == nil || a.Word == "" || !a.Confirmed.IsZero() {
		return rec, false
	}
	late := !now.At.Before(a.Due)
	if !late && !a.Lapsed {
		return rec, false
	}
	closed := *a
	closed.Lapsed = true
	rec.Answer = &closed
	if a.Word == flex.Accept && !a.Uncertain && !runs && rec.State == flex.Scheduled {
		text := "the market did not take the acceptance by " + a.Due.Format(time.RFC3339)
		if !late {
			text = "the market refused the acceptance"
		}
		fact := now
		if late {
			fact = at(now, a.Due)
		}
		if a.Failed != "" {
			text += ": " + a.Failed
		}
		if next, err := Step(rec, Event{To: flex.Expired, Fact: fact, Reason: flex.ReasonNoAnswer, Text: text}); err == nil {
			return next, true
		}
	}
	return rec, !a.Lapsed
}

// relay commits the new face of a record. One that ends before it began
// gives back what it was to take over.
func (e *Engine) relay(ctx context.Context, old, next flex.Record, now flex.Stamp) error {
	if next.State == old.State {
		if a := next.Answer; a != nil && a.Lapsed && old.Answer.Owed() {
			e.cfg.Log.Warn("the market did not take an answer in time", "instruction", next.ID, "word", a.Word, "error", a.Failed, "uncertain", a.Uncertain)
		}
		return e.record(ctx, old, next, now)
	}
	last := next.Steps[len(next.Steps)-1]
	v := Verdict{Records: []flex.Record{next}, Acks: []flex.Ack{ackOf(next, string(next.State), last.Fact, last.Text)}}
	for _, id := range slices.Sorted(maps.Keys(e.open)) {
		r := e.open[id]
		if r.StopBy == next.ID && r.StopReason == flex.ReasonSuperseded && !over(r, now.At) {
			r.StopAt, r.StopReason, r.StopBy = time.Time{}, "", ""
			v.Records = append(v.Records, r)
		}
	}
	if err := e.carry(ctx, nil, v, now, ""); err != nil {
		return err
	}
	if a := next.Answer; a != nil && a.Word == flex.Accept {
		e.flagUntil(CodeAnswerFailed, string(next.ID), next.Text+": it will not be carried out; ask the market", next.Window.End)
	}
	e.cfg.Log.Warn(line(next, string(next.State), last.Fact.At, next.Reason, next.Text), "instruction", next.ID)
	return nil
}

// flagUntil raises an alarm that ends by itself.
func (e *Engine) flagUntil(code, subject, text string, until time.Time) {
	e.flag(code, subject, text)
	e.ends[alert{code, subject}] = until
}

// endFlags takes back the alarms whose time is over.
func (e *Engine) endFlags(now time.Time) {
	for key, until := range e.ends {
		if !now.Before(until) {
			delete(e.ends, key)
			e.flag(key.code, key.subject, "")
		}
	}
}

// sayPatience is how long an answer may be on its way before it counts as not
// taken.
const sayPatience = 10 * time.Second

// warn raises and clears the alarms about answers.
func (e *Engine) warn(r flex.Record, now time.Time) {
	due := openAnswer(r)
	text := ""
	underWay := due != nil && due.Word != "" && now.Sub(due.At.At) < sayPatience && due.Tries <= 1
	if due != nil && !underWay && !now.Before(warnAt(*due)) && now.Before(due.Due) && !ended(&r) {
		text = fmt.Sprintf("due by %s: nobody has answered; use flexd accept or flexd reject", due.Due.Format(time.RFC3339))
		if due.Word != "" {
			text = fmt.Sprintf("due by %s: the market has not taken our %s yet", due.Due.Format(time.RFC3339), due.Word)
			if due.Failed != "" {
				text += ": " + due.Failed
			}
		}
	}
	e.flag(CodeAnswerDue, string(r.ID), text)
	a, text := r.Answer, ""
	if a != nil && a.Word == flex.Accept && a.Lapsed && a.Confirmed.IsZero() && !r.State.Final() && !ended(&r) {
		text = "the acceptance was not taken by the market, yet the dispatch goes on: it may have arrived, or it runs already; ask the market"
		if a.Failed != "" {
			text += "; " + a.Failed
		}
	}
	if _, stays := e.ends[alert{CodeAnswerFailed, string(r.ID)}]; text != "" || !stays {
		e.flag(CodeAnswerFailed, string(r.ID), text)
	}
}

// flag raises an alarm with the text, or clears it without one.
func (e *Engine) flag(code, subject, text string) {
	key := alert{code, subject}
	switch {
	case text != "":
		e.warned[key] = true
		e.cfg.Health.Raise(code, subject, text)
	case e.warned[key]:
		delete(e.warned, key)
		e.cfg.Health.Clear(code, subject)
	}
}

// openAnswer is the answer that somebody must still give or take.
func openAnswer(r flex.Record) *flex.Answer {
	switch {
	case r.Amend != nil:
		return r.Amend
	case r.State == flex.Pending || r.Answer.Owed():
		return r.Answer
	}
	return nil
}

// answerPause is the time until an answer needs a look.
func (e *Engine) answerPause(now time.Time) time.Duration {
	wait := paceRest
	for _, id := range e.answered() {
		r, ok := e.open[id]
		if !ok {
			r = e.said[id]
		}
		a := openAnswer(r)
		if a == nil {
			continue
		}
		for _, t := range []time.Time{warnAt(*a), a.Due, r.Window.Start.Add(-farAhead)} {
			if ahead := t.Sub(now); ahead > 0 {
				wait = min(wait, ahead)
			}
		}
	}
	return wait
}

// recoverAnswers finds again what is owed to the market, and what was
// declared.
func (e *Engine) recoverAnswers(ctx context.Context) error {
	recs, err := e.cfg.Ledger.OwedAnswers(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the answers that are owed: %w", err)
	}
	for _, r := range recs {
		if r.State.Final() {
			e.said[r.ID] = r
		}
	}
	declared, err := e.cfg.Ledger.Unavailable(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the declarations of unavailability: %w", err)
	}
	now, _ := e.cfg.Wall.Now()
	for _, u := range declared {
		if u.Closed.IsZero() || mustTell(u, now) {
			e.away[u.ID] = u
		}
	}
	return nil
}

// nudge wakes whoever tells the market.
func (e *Engine) nudge() {
	if t := e.teller.Load(); t != nil {
		t.Wake()
	}
}
