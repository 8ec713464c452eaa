package dispatch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"flexd/agent/flex"
)

// begun is when Run began, in what the wall clock shows now.
func (e *Engine) begun(now flex.Stamp) time.Time {
	by, _ := stepSince(e.began, now)
	return e.began.At.Add(by)
}

// courses takes a step of the wall clock over into the records of what has
// begun, so that all that is decided next compares like with like.
func (e *Engine) courses(ctx context.Context) error {
	now := e.cfg.Wall.Stamp()
	for _, id := range slices.Sorted(maps.Keys(e.open)) {
		old := e.open[id]
		next := e.cfg.Board.on(old, now)
		if next.Moved == old.Moved {
			continue // that it has begun goes with what is stored next
		}
		text := fmt.Sprintf("the wall clock was stepped by %v: the dispatch goes on by the time since boot, which is %v by the clock now", (next.Moved - old.Moved).Round(time.Millisecond), next.Window)
		ch := flex.Changes{Records: []flex.Record{next}, Audit: []flex.Audit{{At: now, What: "dispatch.clock", Subject: string(id), Text: text}}}
		if err := announce(&ch, now, ackOf(next, string(next.State), now, text)); err != nil {
			return err
		}
		if err := e.commit(ctx, ch); err != nil {
			return err
		}
		e.adopt(now, next)
		e.cfg.Log.Warn(text, "instruction", id, "clock", now.Clock)
	}
	return nil
}

// steadily asks control in the time that it goes by; nil stays nil.
func (e *Engine) steadily(ask func(flex.Dispatch) flex.Foresight) func(flex.Dispatch) flex.Foresight {
	if ask == nil {
		return nil
	}
	return func(d flex.Dispatch) flex.Foresight {
		_, ahead := e.cfg.Wall.Both()
		f := ask(d.Put(-ahead))
		if !f.From.IsZero() {
			f.From = f.From.Round(0).Add(ahead)
		}
		return f
	}
}
