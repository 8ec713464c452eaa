package agent

import (
	"context"
	"time"

	"flexd/agent/flex"
	"flexd/store"
)

// ledger is the store as the deciding rooms need it. After a commit that
// leaves something in the outbox the fleet is woken, so that it is announced
// within milliseconds and not at the next look.
type ledger struct {
	*store.DB
	announce func()
	note     func(flex.Changes) // what disturbs baselines
	boundary func()             // a dispatch begins or ends
	expect   func(flex.Changes) // what may begin at once
}

// ledger is made where it is needed, once meter is there.
func (a *Agent) ledger() ledger {
	return ledger{a.db, a.announce, a.meter.Note, a.tele.Boundary, a.expect}
}

// OpenRecords lists the records that are not final.
func (l ledger) OpenRecords(ctx context.Context) ([]flex.Record, error) {
	return l.Records(ctx, store.RecordQuery{Open: true})
}

// OwedAnswers lists the records whose answer the market must still be told.
func (l ledger) OwedAnswers(ctx context.Context) ([]flex.Record, error) {
	return l.Records(ctx, store.RecordQuery{Owed: true})
}

// Commit is the store's.
func (l ledger) Commit(ctx context.Context, c flex.Changes) error {
	l.expect(c)
	err := l.DB.Commit(ctx, c)
	if err != nil {
		return err
	}
	if len(c.Outbox) > 0 {
		l.announce()
	}
	l.note(c)
	if boundary(c) {
		l.boundary()
	}
	return nil
}

// PutNotice is the store's.
func (l ledger) PutNotice(ctx context.Context, n flex.Notice, raw []byte, c flex.Changes) (bool, error) {
	fresh, err := l.DB.PutNotice(ctx, n, raw, c)
	if fresh && len(c.Outbox) > 0 {
		l.announce()
	}
	return fresh, err
}

// expectAhead is how soon an offered start must be for its devices to be made
// ready while it is decided.
const expectAhead = 10 * time.Second

// expect tells control of starts that are offered and may begin at once.
func (a *Agent) expect(c flex.Changes) {
	for _, o := range c.Offers {
		now, _ := a.wall.Now()
		if !o.Instruction.IsStop() && o.Instruction.Window.Start.Sub(now) < expectAhead {
			a.control.Expect(o.Ours)
		}
	}
}

// announce wakes the fleet connection, when there is one.
func (a *Agent) announce() {
	if a.fleet != nil {
		a.fleet.Wake()
	}
}
