package intake

import (
	"context"
	"errors"
	"fmt"

	"flexd/agent/flex"
)

// pollID stands for the notification in what was found by listing.
const pollID flex.NotificationID = "poll"

// Poll lists the instructions of the last days and admits what is new: a
// notification or a stop that was lost is found. Nothing is stored when there
// is nothing new.
func (i *Intake) Poll(ctx context.Context) error {
	i.pollMu <- struct{}{}
	defer func() { <-i.pollMu }()
	st := i.cfg.Clock.Stamp()
	listCtx, cancel := context.WithTimeout(ctx, fetchTimeout)
	changed := i.contracts.Swap(false)
	got, raw, err := i.cfg.Fetcher.List(listCtx, st.At.Add(-listBack))
	cancel()
	if err != nil {
		err = fmt.Errorf("cannot list instructions: %w", err)
	}
	if err != nil && len(got) == 0 {
		i.contracts.Store(changed)
		return err
	}
	// A list that broke off is good as far as it goes.
	admitted := i.admitListed(ctx, got, raw, changed)
	if changed && errors.Join(err, admitted) != nil {
		i.contracts.Store(true)
	}
	if err == nil {
		i.watchList(ctx, got, st.At)
	}
	return errors.Join(err, admitted)
}

// admitListed takes a list through the same path as a notification's set.
// changed tells that contracts have changed since the last list.
func (i *Intake) admitListed(ctx context.Context, got []flex.Instruction, raw []byte, changed bool) error {
	got = named(got)
	at := i.cfg.Clock.Stamp().At
	src := source{id: pollID, door: flex.DoorPoll, doors: []flex.Sighting{{Door: flex.DoorPoll, At: at}}, raw: raw, at: at, contracts: changed}
	i.stopFirst(ctx, src, got)
	if err := i.admit(ctx, src, got); err != nil {
		return fmt.Errorf("cannot keep what was listed: %w", err)
	}
	return nil
}

// admit keeps what is new of a reply, the urgent first.
func (i *Intake) admit(ctx context.Context, src source, got []flex.Instruction) error {
	b, err := i.matchInTurn(ctx, src, got)
	if err != nil {
		return err
	}
	return i.commitBatch(ctx, b)
}

// commitBatch writes what is new of a batch.
func (i *Intake) commitBatch(ctx context.Context, b *batch) error {
	i.admitMu <- struct{}{}
	defer func() { <-i.admitMu }()
	ch, err := i.changes(b)
	if err == nil {
		ch, err = i.portions(ctx, ch)
	}
	if err != nil {
		return err
	}
	return i.commit(ctx, b, ch)
}
