package dispatch

import (
	"context"
	"fmt"
	"time"

	"flexd/agent/flex"
)

// storeWithin is how long a person waits to hear that an order is on disk.
// The order acts before that.
const storeWithin = 3 * time.Second

// StopLocal ends a dispatch by order of a person at the site. It acts at
// once; an error tells that it is unknown, or acts but is not stored yet.
func (e *Engine) StopLocal(ctx context.Context, id flex.InstructionID, by string) error {
	now := e.cfg.Wall.Stamp()
	mark := flex.InstructionID("local:" + string(id))
	known := false
	for _, d := range e.cfg.Board.Running() {
		known = known || d.ID == id
	}
	if known {
		e.cfg.Board.halt(id, mark, now.At)
	}
	return e.ask(ctx, func(ctx context.Context) error {
		defer e.cfg.Board.settle(mark)
		old, ok := e.open[id]
		if !ok {
			return flex.Refuse(flex.ReasonNotOurs, "no dispatch %q is scheduled or active: see `flexd instructions`", id)
		}
		next := hush([]flex.Record{halt(old, now, flex.ReasonStoppedLocal, "")})[0]
		var ch flex.Changes
		ch.Records = []flex.Record{next}
		text := fmt.Sprintf("dispatch %s stopped at the site by %s", id, by)
		ch.Audit = append(ch.Audit, flex.Audit{At: now, What: "dispatch.stop", Subject: string(id), By: by, Text: text})
		if next.State != old.State {
			if err := announce(&ch, now, ackOf(next, string(next.State), now, next.Text)); err != nil {
				return err
			}
		}
		if err := e.commit(ctx, ch); err != nil {
			return err
		}
		e.adopt(now, next)
		e.cfg.Log.Warn(text, "instruction", id)
		return nil
	})
}

// Hold hands the devices of an asset back, or all with an empty asset, until
// it is lifted. It acts at once and outranks the market.
func (e *Engine) Hold(ctx context.Context, h flex.Hold) error {
	if h.At.At.IsZero() {
		h.At = e.cfg.Wall.Stamp()
	}
	e.cfg.Board.Hold(h)
	text := fmt.Sprintf("hold on %s by %s", subjectText(h.Asset), h.By)
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return e.order(ctx, flex.Changes{Holds: []flex.Hold{h}}, h.Asset, h.By, true, text)
}

// LiftHold ends a hold. The dispatches whose windows are open go on.
func (e *Engine) LiftHold(ctx context.Context, asset flex.AssetID, by string) error {
	e.cfg.Board.Lift(asset)
	return e.order(ctx, flex.Changes{HoldsGone: []flex.AssetID{asset}}, asset, by, false,
		fmt.Sprintf("hold on %s lifted by %s", subjectText(asset), by))
}

// order stores a local order with its event and its line in the diary.
func (e *Engine) order(ctx context.Context, ch flex.Changes, asset flex.AssetID, by string, raised bool, text string) error {
	return e.ask(ctx, func(ctx context.Context) error {
		now := e.cfg.Wall.Stamp()
		ev := flex.Event{Code: "hold", Severity: "warning", Subject: string(asset), Raised: raised, Text: text, FactAt: now.At}
		if err := tell(&ch, now, ev, by); err != nil {
			return err
		}
		if err := e.commit(ctx, ch); err != nil {
			return err
		}
		e.cfg.Log.Warn(text)
		return nil
	})
}

func subjectText(asset flex.AssetID) string {
	if asset == "" {
		return "all assets"
	}
	return "asset " + string(asset)
}

// ask lets the Engine's goroutine do something and waits for it, for a
// while. What is asked is done even when nobody waits any more.
func (e *Engine) ask(ctx context.Context, do func(context.Context) error) error {
	wait, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	taken, err := e.post(wait, do)
	switch {
	case err == nil || taken && wait.Err() == nil:
		return err
	case taken:
		return fmt.Errorf("the order acts, but it is not stored yet: %w", err)
	}
	return fmt.Errorf("the order acts, but it could not be stored: %w", err)
}

// post hands the Engine's goroutine something to do, and waits until it is
// done or ctx ends. taken tells that it was done, or still will be.
func (e *Engine) post(ctx context.Context, do func(context.Context) error) (taken bool, err error) {
	a := ask{do: do, done: make(chan error, 1)}
	select {
	case e.asks <- a:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case err := <-a.done:
		return true, err
	case <-ctx.Done():
		return true, ctx.Err()
	}
}
