package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"flexd/agent/flex"
)

// The pace of the Engine: how often it looks while something runs, while a
// transition is expected any moment, and at rest; a lost wake-up costs at
// most that.
const (
	paceBusy  = time.Second
	paceSoon  = 200 * time.Millisecond
	paceRest  = 5 * time.Second
	soonAfter = 3 * time.Second
	// settle is how long after a restart control may not know of a dispatch
	// whose window has passed.
	settle = 15 * time.Second
)

// Config is what the Engine needs. Beat may be nil. Without Market or Answers
// nothing is answered; without Foresee nothing can be judged ahead of time.
type Config struct {
	Ledger   Ledger
	Progress Progress
	Board    *Board
	Wall     Wall
	Health   Health
	Log      *slog.Logger
	Beat     Beat
	Market   Responder
	Answers  func(operator string) string // the policy, as in the configuration
	Foresee  func(flex.Dispatch) flex.Foresight
	// ForeseeFar is Foresee by what lasts: ratings, capacities, what is promised.
	ForeseeFar func(flex.Dispatch) flex.Foresight
	Afford     func(flex.Dispatch) *flex.Refusal                    // nil: nothing wears out
	Pace       func(flex.AssetID) Pace                              // nil: no asset needs any
	Ended      []flex.Record                                        // before this process, as far as Pace looks back
	Contract   func(flex.ObligationID, flex.CompetitionID) Contract // nil: nothing is said of any
	KeepEnds   bool                                                 // of the market's profile: a change whose end is past is no stop
	// Baseline finds what an asset's share counts from in a window, as of the
	// notice; false: from zero. An error refuses the instruction. May be nil.
	Baseline func(ctx context.Context, id flex.AssetID, w flex.Window, notice time.Time) (flex.Baseline, bool, error)
	Assets   []flex.AssetID // of this site: others cannot be declared unavailable
}

// Engine makes decisions and commits them. All decisions are made by the
// goroutine of Run; other methods only leave requests.
type Engine struct {
	cfg   Config
	ready chan struct{}
	once  sync.Once
	wake  chan struct{}
	asks  chan ask
	// open are the records that are not final, as stored; only Recover, before
	// Run, and Run's own goroutine touch it, and what follows.
	open      map[flex.InstructionID]flex.Record
	latch     latch
	facts     map[flex.InstructionID]time.Time // since when some that are seen are not stored
	rested    rested
	said      map[flex.InstructionID]flex.Record // final ones of which the market must still hear
	away      map[string]flex.Unavailability     // declarations that are not closed
	waiting   map[flex.InstructionID]bool        // changes kept as offers until they are answered
	pile      []flex.Offer                       // undecided, as read last
	waits     map[uint64]waitingOffer            // offers kept for a reason that can pass, by Seq
	puzzles   map[flex.InstructionID]puzzle      // words that nobody understands
	left      map[flex.InstructionID]puzzle      // what stops without a target left standing
	passing   atomic.Pointer[[]flex.Offer]       // they, for others to read
	warned    map[alert]bool
	ends      map[alert]time.Time // of alarms that end by themselves
	comps     map[flex.CompetitionID]flex.Competition
	unsure    map[key]bool // of a try under way: might an earlier one have arrived?
	held      bool         // an offer waits for the clock
	recovered bool
	began     flex.Stamp  // of Run
	sick      atomic.Bool // the store's alarm is raised
	teller    atomic.Pointer[Answers]
}

// alert is an alarm of this room that is raised.
type alert struct{ code, subject string }

// ask is a local order on its way to the Engine's goroutine.
type ask struct {
	do   func(context.Context) error
	done chan error
}

// NewEngine builds an Engine. Call Recover before control starts.
func NewEngine(cfg Config) *Engine {
	e := &Engine{
		cfg:   cfg,
		ready: make(chan struct{}),
		wake:  make(chan struct{}, 1),
		asks:  make(chan ask, 16),
		open:  map[flex.InstructionID]flex.Record{},
		latch: latch{}, rested: rested{}, facts: map[flex.InstructionID]time.Time{},
		said: map[flex.InstructionID]flex.Record{}, away: map[string]flex.Unavailability{},
		waiting: map[flex.InstructionID]bool{}, waits: map[uint64]waitingOffer{}, puzzles: map[flex.InstructionID]puzzle{}, left: map[flex.InstructionID]puzzle{}, warned: map[alert]bool{}, ends: map[alert]time.Time{}, unsure: map[key]bool{},
	}
	for _, r := range cfg.Ended {
		e.rested.note(r)
	}
	cfg.Board.mu.Lock()
	cfg.Board.carried, cfg.Board.wall = e.carriedOut, cfg.Wall
	cfg.Board.mu.Unlock()
	return e
}

// Name is the task's name.
func (e *Engine) Name() string { return "dispatch" }

// Ready closes when the Engine has looked at everything for the first time.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// Wake asks for a look soon. It never blocks.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// carriedOut tells whether a stop is stored as done. A store that does not
// answer in time counts as no: then the stop acts.
func (e *Engine) carriedOut(id flex.InstructionID) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	t, ok, err := e.cfg.Ledger.Tombstone(ctx, id)
	return err == nil && ok && t.By == id
}

// Recover loads what was decided before, so that control finds the Board as
// it was. It writes nothing.
func (e *Engine) Recover(ctx context.Context) error {
	holds, err := e.cfg.Ledger.Holds(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the holds: %w", err)
	}
	for _, h := range holds {
		e.cfg.Board.Hold(h)
	}
	recs, err := e.cfg.Ledger.OpenRecords(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the unfinished instructions: %w", err)
	}
	now := e.cfg.Wall.Stamp()
	for _, r := range recs {
		need := Recover(r, now)
		if need == NeedNothing {
			continue
		}
		e.open[r.ID] = r
		e.cfg.Log.Info("instruction found unfinished", "instruction", r.ID, "state", r.State, "window", r.Window.String(), "need", string(need))
		e.show(r, now)
	}
	if err := e.recoverAnswers(ctx); err != nil {
		return err
	}
	e.recovered = true
	return nil
}

// show puts a record on the Board, unless the clock leaves it open whether it
// should run.
func (e *Engine) show(r flex.Record, now flex.Stamp) {
	switch Recover(r, now) {
	case NeedHold:
		e.cfg.Board.drop(r.ID)
	case NeedSchedule:
		r.State = flex.Scheduled // what the next look will store
		e.cfg.Board.put(r)
	case NeedNothing, NeedWait, NeedRun, NeedClose, NeedAnswer:
		e.cfg.Board.put(r)
	}
}

// Run decides until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	if !e.recovered {
		if err := e.Recover(ctx); err != nil {
			return err
		}
	}
	e.began = e.cfg.Wall.Stamp()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-e.asks:
			a.done <- a.do(ctx)
		case <-e.wake:
		case <-timer.C:
		}
		if err := e.look(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		e.once.Do(func() { close(e.ready) })
		if e.cfg.Beat != nil {
			e.cfg.Beat()
		}
		timer.Reset(e.pause())
	}
}

// runOn gives a dispatch its time back whose successor ended before it began,
// in whatever way.
func (e *Engine) runOn(ctx context.Context) error {
	now := e.cfg.Wall.Stamp()
	open := make([]flex.Record, 0, len(e.open))
	waits := false
	for _, r := range e.open {
		open = append(open, r)
		waits = waits || r.StopReason == flex.ReasonSuperseded
	}
	if !waits {
		return nil
	}
	slices.SortFunc(open, func(a, b flex.Record) int { return cmp.Compare(a.ID, b.ID) })
	for _, r := range heirless(open, now) {
		old := e.open[r.ID]
		if old.StopAt.Equal(r.StopAt) && old.StopBy == r.StopBy {
			continue
		}
		ch := flex.Changes{Records: []flex.Record{r}}
		if err := announce(&ch, now, ackOf(r, string(r.State), now, "its successor is gone before it began: it runs on")); err != nil {
			return err
		}
		if err := e.commit(ctx, ch); err != nil {
			return err
		}
		e.adopt(now, r)
	}
	return nil
}

// look decides what waits, and follows what runs.
func (e *Engine) look(ctx context.Context) error {
	if err := e.courses(ctx); err != nil {
		return err
	}
	if err := e.decide(ctx); err != nil {
		return err
	}
	if err := e.mind(ctx); err != nil {
		return err
	}
	if err := e.endAway(ctx); err != nil {
		return err
	}
	if err := e.runOn(ctx); err != nil {
		return err
	}
	return e.follow(ctx)
}

// pause is the time until the next look is due.
func (e *Engine) pause() time.Duration {
	now, _ := e.cfg.Wall.Now()
	wait := paceRest
	if e.held {
		wait = paceBusy
	}
	for _, r := range e.open {
		for _, t := range []time.Time{r.Window.Start, endsAt(r)} {
			if ahead := t.Sub(now); ahead > 0 {
				wait = min(wait, ahead)
			} else if -ahead < soonAfter {
				wait = min(wait, paceSoon)
			}
		}
		if !now.Before(r.Window.Start) || !r.StopAt.IsZero() || r.State == flex.Pending {
			wait = min(wait, paceBusy)
		}
	}
	return min(wait, e.answerPause(now), e.waitPause(now))
}
