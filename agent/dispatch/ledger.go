package dispatch

import (
	"context"
	"fmt"
	"time"

	"flexd/agent/flex"
	"flexd/agent/shown"
)

// Book is what was decided and what waits for a decision.
type Book interface {
	// Undecided are the offers without a decision, by Seq. An offer never
	// changes: those of known, an earlier answer, need not be read again.
	Undecided(ctx context.Context, known []flex.Offer) ([]flex.Offer, error)
	Record(ctx context.Context, id flex.InstructionID) (flex.Record, bool, error)
	Tombstone(ctx context.Context, id flex.InstructionID) (flex.Tombstone, bool, error)
}

// Past is what a restart must find again.
type Past interface {
	// OpenRecords are those in a state that is not final.
	OpenRecords(ctx context.Context) ([]flex.Record, error)
	Holds(ctx context.Context) ([]flex.Hold, error)
	// Unavailable are the declarations that are kept.
	Unavailable(ctx context.Context) ([]flex.Unavailability, error)
	Competitions(ctx context.Context) ([]flex.Competition, error)
}

// Owings are the records of which the market must still hear.
type Owings interface {
	OwedAnswers(ctx context.Context) ([]flex.Record, error)
}

// Ledger is the store as this room sees it. Commit is all or nothing.
type Ledger interface {
	Book
	Past
	Owings
	Commit(ctx context.Context, ch flex.Changes) error
}

// Progress is control's account of the dispatches on the Board.
type Progress interface {
	Progress() map[flex.InstructionID]flex.Progress
}

// Wall is the clock with its trust.
type Wall interface {
	Now() (time.Time, flex.ClockTrust)
	Stamp() flex.Stamp
	// Both is Stamp, and how far the wall clock is ahead of the steady one that
	// control goes by: it was stepped by that much since this process began.
	Both() (now flex.Stamp, ahead time.Duration)
}

// Health takes alarms.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}

// Responder is the market as far as answers go.
type Responder interface {
	// Responds tells whether there is a call for answers.
	Responds() bool
	// AnswerRule tells how long the market waits; false when it wants none.
	AnswerRule(in flex.Instruction, comp flex.Competition) (flex.AnswerRule, bool)
	// Respond gives one result per answer: nil when the market took it, a
	// *flex.RetryError when it may be tried again, flex.ErrUncertain when it may
	// have arrived; else it is final.
	Respond(ctx context.Context, word flex.Word, say []flex.Say) []error
}

// Beat notes a completed cycle.
type Beat func()

// announce adds one acknowledgement to the outbox, and its line to the diary.
func announce(ch *flex.Changes, now flex.Stamp, ack flex.Ack) error {
	body, err := shown.Marshal(ack)
	if err != nil {
		return fmt.Errorf("acknowledge %s of %s: %w", ack.State, ack.Instruction, err)
	}
	ch.Outbox = append(ch.Outbox, flex.Message{Stream: flex.StreamAck, At: now.At, Clock: now.Clock, Schema: "ack/1", Body: body})
	fact := now
	fact.At = ack.FactAt
	ch.Audit = append(ch.Audit, flex.Audit{At: fact, What: "dispatch." + ack.State, Subject: string(ack.Instruction), Text: ack.Text, Detail: body})
	return nil
}

// tell adds one event to the outbox, and its line to the diary.
func tell(ch *flex.Changes, now flex.Stamp, ev flex.Event, by string) error {
	body, err := shown.Marshal(ev)
	if err != nil {
		return fmt.Errorf("tell event %s: %w", ev.Code, err)
	}
	ch.Outbox = append(ch.Outbox, flex.Message{Stream: flex.StreamEvent, At: now.At, Clock: now.Clock, Schema: "event/1", Body: body})
	ch.Audit = append(ch.Audit, flex.Audit{At: now, What: ev.Code, Subject: ev.Subject, By: by, Text: ev.Text})
	return nil
}
