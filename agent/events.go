package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
	"flexd/agent/health"
)

// maxPending bounds the changes that wait for the store.
const maxPending = 4000

// events turns changes of health into stored events and audit lines, on a
// task of its own: whoever raises an item must never wait for a disk.
type events struct {
	log    *slog.Logger
	stamp  func() flex.Stamp
	commit func(context.Context, flex.Changes) error
	wake   chan struct{}

	mu      sync.Mutex
	pending []health.Change
	dropped int // since the last that were stored
}

func newEvents(log *slog.Logger, stamp func() flex.Stamp) *events {
	return &events{log: log, stamp: stamp, wake: make(chan struct{}, 1)}
}

// changed takes a change. When the store is stuck only the newest of each item
// stays, and beyond that the oldest are dropped and counted.
func (e *events) changed(c health.Change) {
	level := slog.LevelInfo
	if c.Raised && c.Severity != health.Info {
		level = slog.LevelWarn
	}
	word := "cleared"
	if c.Raised {
		word = "raised"
	}
	e.log.Log(context.Background(), level, c.Title+" "+word, "code", c.Code, "subject", c.Subject, "text", c.Text)
	e.mu.Lock()
	if len(e.pending) >= maxPending {
		e.fold()
	}
	e.pending = append(e.pending, c)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// fold makes room for what waits; e.mu is held.
func (e *events) fold() {
	before := len(e.pending)
	seen, kept := map[[2]string]bool{}, make([]health.Change, 0, maxPending)
	for _, c := range slices.Backward(e.pending) {
		if item := [2]string{c.Code, c.Subject}; !seen[item] && len(kept) < maxPending/2 {
			seen[item] = true
			kept = append(kept, c)
		}
	}
	slices.Reverse(kept)
	e.pending = kept
	e.dropped += before - len(kept)
}

// run stores what is pending until ctx ends.
func (e *events) run(ctx context.Context) error {
	retry := time.NewTicker(5 * time.Second)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return e.flush(context.WithoutCancel(ctx))
		case <-e.wake:
		case <-retry.C:
		}
		if err := e.flush(ctx); err != nil {
			e.log.Warn("cannot store events, trying again", "error", err)
		}
	}
}

// flush commits what is pending in one transaction.
func (e *events) flush(ctx context.Context) error {
	e.mu.Lock()
	list, dropped := e.pending, e.dropped
	e.pending, e.dropped = nil, 0
	e.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	var ch flex.Changes
	if dropped > 0 {
		ch.Audit = append(ch.Audit, flex.Audit{At: e.stamp(), What: "health.dropped", By: "flexd",
			Text: fmt.Sprintf("%d changes could not be stored: of each item the newest is kept", dropped)})
	}
	for _, c := range list {
		add(&ch, c, e.stamp())
	}
	if err := e.commit(ctx, ch); err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.pending, e.dropped = append(list, e.pending...), e.dropped+dropped
		return err
	}
	return nil
}

// add appends a change as event and audit line.
func add(ch *flex.Changes, c health.Change, now flex.Stamp) {
	body, err := json.Marshal(flex.Event{Code: c.Code, Severity: string(c.Severity), Subject: c.Subject,
		Raised: c.Raised, Text: c.Text, FactAt: c.At})
	if err != nil {
		return // strings and times always encode
	}
	ch.Outbox = append(ch.Outbox, flex.Message{Stream: flex.StreamEvent, At: now.At, Clock: now.Clock, Schema: "event/1", Body: body})
	word := "cleared"
	if c.Raised {
		word = "raised"
	}
	fact := now
	fact.At = c.At
	ch.Audit = append(ch.Audit, flex.Audit{At: fact, What: "health." + word, Subject: c.Subject,
		By: "flexd", Text: c.Code + " " + word + ": " + c.Text})
}
