package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"flexd/agent/flex"
)

// How the market is told: how many answers in one go, how long one go may
// last, and the back-off between tries. Near the deadline the tries come
// closer.
const (
	mostSaid    = 100
	sayWithin   = time.Minute
	sayLeast    = time.Second
	sayMost     = 5 * time.Minute
	sayFraction = 8 // of the time that is left, at most
	sayRest     = time.Minute
	mostCalls   = 4 // under way at a time: one that hangs leaves room for the others
)

// AnswersConfig is what Answers needs. Teller may be nil.
type AnswersConfig struct {
	Engine *Engine
	Owings Owings
	Market Responder
	Teller Teller
	Wall   Wall
	Log    *slog.Logger
}

// Answers tells the market what was decided, again and again until it has
// taken it or the deadline has passed, and what was declared unavailable. It
// decides nothing: what became of each try is committed by the Engine.
type Answers struct {
	cfg   AnswersConfig
	ready chan struct{}
	once  sync.Once
	wake  chan struct{}
	// notBefore is what the market asked for by Retry-After, or what the
	// back-off says; only Run's goroutine touches it.
	notBefore map[string]time.Time
	flying    map[string]bool // answers on their way
	calls     int             // calls under way
	landed    chan flight
	awayWait  map[string]time.Duration
	unable    bool // the market has no call for declarations
}

// key names one answer: a new revision or another word is another answer.
type key struct {
	id       flex.InstructionID
	revision int64
	word     flex.Word
}

func keyOf(r flex.Record) key { return key{r.ID, r.Answer.Revision, r.Answer.Word} }

func (k key) String() string { return fmt.Sprintf("%s/%d/%s", k.id, k.revision, k.word) }

// result is what became of one try.
type result struct {
	key key
	err error
}

// flight is what became of one call: the answers in it, and when those that
// were not taken may be tried again.
type flight struct {
	keys  []string
	again map[string]time.Time
}

// NewAnswers builds the task, and lets the Engine wake it.
func NewAnswers(cfg AnswersConfig) *Answers {
	a := &Answers{cfg: cfg, ready: make(chan struct{}), wake: make(chan struct{}, 1), notBefore: map[string]time.Time{},
		flying: map[string]bool{}, landed: make(chan flight, mostCalls), awayWait: map[string]time.Duration{}}
	cfg.Engine.teller.Store(a)
	return a
}

// Name is the task's name.
func (a *Answers) Name() string { return "answers" }

// Ready closes when it has looked for the first time.
func (a *Answers) Ready() <-chan struct{} { return a.ready }

// Wake asks for a look soon. It never blocks.
func (a *Answers) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run tells until ctx ends.
func (a *Answers) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-a.landed:
			a.land(f)
		case <-a.wake:
		case <-timer.C:
		}
		next := a.look(ctx, &calls)
		if ctx.Err() != nil {
			return nil
		}
		a.once.Do(func() { close(a.ready) })
		now, _ := a.cfg.Wall.Now()
		wait := sayRest
		if !next.IsZero() {
			wait = min(wait, max(0, next.Sub(now)))
		}
		timer.Reset(wait)
	}
}

// look tells what is due, and gives the next instant at which something is.
func (a *Answers) look(ctx context.Context, calls *sync.WaitGroup) time.Time {
	now, _ := a.cfg.Wall.Now()
	var next time.Time
	if a.cfg.Market != nil && a.cfg.Market.Responds() {
		next = a.answers(ctx, calls, now)
	}
	if a.cfg.Teller != nil && a.cfg.Teller.TellsAvailability() && !a.unable {
		next = earliest(next, a.declarations(ctx))
	}
	return next
}

// land takes over what became of a call.
func (a *Answers) land(f flight) {
	a.calls--
	for _, k := range f.keys {
		delete(a.flying, k)
	}
	for k, at := range f.again {
		a.notBefore[k] = at
	}
}

// answers sends off what is owed, accepts first.
func (a *Answers) answers(ctx context.Context, calls *sync.WaitGroup, now time.Time) time.Time {
	recs, err := a.cfg.Owings.OwedAnswers(ctx)
	if err != nil {
		a.cfg.Log.Error("cannot read the answers that are owed", "error", err)
		return now.Add(sayLeast)
	}
	due := map[flex.Word][]flex.Record{}
	live := map[string]bool{}
	var next time.Time
	for _, r := range recs {
		if !r.Answer.Owed() || r.Amend != nil || !now.Before(r.Answer.Due) {
			continue
		}
		k := keyOf(r).String()
		live[k] = true
		if a.flying[k] {
			continue
		}
		at, known := a.notBefore[k]
		if !known {
			at = after(*r.Answer) // of before a restart
		}
		if at.After(now) {
			next = earliest(next, at)
			continue
		}
		due[r.Answer.Word] = append(due[r.Answer.Word], r)
	}
	for k := range a.notBefore {
		if !live[k] && k[0] != awayMark {
			delete(a.notBefore, k)
		}
	}
	for _, word := range []flex.Word{flex.Accept, flex.Reject} {
		for todo := due[word]; len(todo) > 0 && ctx.Err() == nil && a.calls < mostCalls; {
			n := min(mostSaid, len(todo))
			group := todo[:n]
			todo = todo[n:]
			a.calls++
			for _, r := range group {
				a.flying[keyOf(r).String()] = true
			}
			calls.Go(func() { a.landed <- a.say(ctx, word, group) })
		}
	}
	return next // what found no room is looked at when a call has landed
}

// after is when an answer that was tried before may be tried again.
func after(a flex.Answer) time.Time {
	if a.Tries == 0 || a.Tried.IsZero() {
		return time.Time{}
	}
	return a.Tried.Add(pace(a.Tries, a.Due.Sub(a.Tried)))
}

// pace is the wait after so many tries, with left until the deadline.
func pace(tries int, left time.Duration) time.Duration {
	wait := sayLeast << min(max(tries-1, 0), 10)
	return max(sayLeast, min(wait, sayMost, left/sayFraction))
}

// jitter spreads a wait by a fifth either way, so that gateways that lost the
// market together do not come back together.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5+1)
}

// say tells one group and notes what became of it.
func (a *Answers) say(ctx context.Context, word flex.Word, recs []flex.Record) flight {
	f := flight{again: map[string]time.Time{}}
	keys := make([]key, len(recs))
	for i, r := range recs {
		keys[i] = keyOf(r)
		f.keys = append(f.keys, keys[i].String())
	}
	still, err := a.cfg.Engine.saying(ctx, keys)
	if err != nil || len(still) == 0 {
		return f
	}
	say := make([]flex.Say, len(still))
	for i, r := range still {
		say[i] = flex.Say{ID: r.ID, Revision: r.Answer.Revision, Reason: r.Answer.Reason, Text: r.Answer.Text}
	}
	within, cancel := context.WithTimeout(ctx, sayWithin)
	errs := a.cfg.Market.Respond(within, word, say)
	cancel()
	now, _ := a.cfg.Wall.Now()
	results := make([]result, len(still))
	for i, r := range still {
		err := fmt.Errorf("the market's client gave no result: %w", flex.ErrUncertain)
		if i < len(errs) {
			err = errs[i]
		}
		results[i] = result{keyOf(r), err}
		if again(err) {
			f.again[keyOf(r).String()] = now.Add(max(retryAfter(err), jitter(pace(r.Answer.Tries, r.Answer.Due.Sub(now)))))
		}
	}
	if err := a.cfg.Engine.heard(ctx, results); err != nil && ctx.Err() == nil {
		a.cfg.Log.Error("cannot store what became of the answers", "error", err)
	}
	return f
}

// again tells whether a failed try may be repeated.
func again(err error) bool {
	if err == nil {
		return false
	}
	var retry *flex.RetryError
	return errors.As(err, &retry) || errors.Is(err, flex.ErrUncertain) || errors.Is(err, flex.ErrNotSent) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func retryAfter(err error) time.Duration {
	var retry *flex.RetryError
	if errors.As(err, &retry) {
		return retry.After
	}
	return 0
}

// saying notes, before anything is sent, that it may arrive from now on: a
// crash between the two must not make an answer look unsaid. It gives the
// records of which the market must still hear.
func (e *Engine) saying(ctx context.Context, keys []key) (still []flex.Record, err error) {
	var out []flex.Record
	taken, err := e.post(ctx, func(ctx context.Context) error {
		now := e.cfg.Wall.Stamp()
		var before []flex.Record
		for _, k := range keys {
			r, ok := e.owing(k)
			if !ok || !r.Answer.Owed() || r.Amend != nil || !now.At.Before(r.Answer.Due) || ended(&r) && r.State != flex.Refused {
				continue
			}
			ans := *r.Answer
			ans.Tries, ans.Tried, ans.Uncertain = ans.Tries+1, now.At, true
			e.unsure[k] = r.Answer.Uncertain
			r.Answer = &ans
			before = append(before, r)
		}
		if len(before) == 0 {
			return nil
		}
		if err := e.commit(ctx, flex.Changes{Records: before}); err != nil {
			return err
		}
		e.keep(before)
		out = before
		return nil
	})
	if err != nil && taken && ctx.Err() != nil {
		return nil, err // out may still be written
	}
	return out, err
}

// heard stores what became of a try.
func (e *Engine) heard(ctx context.Context, results []result) error {
	_, err := e.post(ctx, func(ctx context.Context) error {
		now := e.cfg.Wall.Stamp()
		ch := flex.Changes{}
		for _, res := range results {
			r, ok := e.owing(res.key)
			before := e.unsure[res.key]
			delete(e.unsure, res.key)
			if !ok {
				continue
			}
			ans := heardOne(*r.Answer, before, res.err, now.At)
			r.Answer = &ans
			ch.Records = append(ch.Records, r)
			what, text := "answer.taken", fmt.Sprintf("the market took our %s", ans.Word)
			if res.err != nil {
				what, text = "answer.failed", ans.Failed
			}
			if res.err == nil || ans.Lapsed {
				ch.Audit = append(ch.Audit, flex.Audit{At: now, What: what, Subject: string(r.ID), By: ans.By, Text: text})
			}
		}
		if len(ch.Records) == 0 {
			return nil
		}
		if err := e.commit(ctx, ch); err != nil {
			return err
		}
		e.keep(ch.Records)
		for _, r := range ch.Records {
			e.warn(r, now.At)
			e.cfg.Log.Info("answer to the market", "instruction", r.ID, "word", r.Answer.Word, "tries", r.Answer.Tries, "taken", !r.Answer.Confirmed.IsZero(), "error", r.Answer.Failed)
		}
		return nil
	})
	return err
}

// heardOne is the answer after a try. before tells whether an earlier try may
// have arrived.
func heardOne(ans flex.Answer, before bool, err error, now time.Time) flex.Answer {
	if err == nil {
		ans.Confirmed, ans.Failed, ans.Uncertain = now, "", false
		return ans
	}
	ans.Failed = clip(err.Error())
	switch {
	case errors.Is(err, flex.ErrUncertain) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		ans.Uncertain = true
	case again(err):
		ans.Uncertain = before
	default: // the market's last word, which may well be that it was told before
		ans.Uncertain, ans.Lapsed = before, true
	}
	return ans
}

func clip(s string) string {
	if r := []rune(s); len(r) > mostText {
		return string(r[:mostText])
	}
	return s
}

// owing finds the record of an answer; false when it is another one by now.
func (e *Engine) owing(k key) (flex.Record, bool) {
	r, ok := e.open[k.id]
	if !ok {
		r, ok = e.said[k.id]
	}
	if !ok || r.Answer == nil || keyOf(r) != k {
		return flex.Record{}, false
	}
	return r, true
}

// keep takes over records whose answer alone has changed.
func (e *Engine) keep(recs []flex.Record) {
	for _, r := range recs {
		if _, open := e.open[r.ID]; open {
			e.open[r.ID] = r
			continue
		}
		delete(e.said, r.ID)
		if r.Answer.Owed() {
			e.said[r.ID] = r
		}
	}
}
