package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// Back-off of a failed auxiliary task.
const (
	backoffMin = time.Second
	backoffMax = time.Minute
)

// Health is told when an auxiliary task keeps failing.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}

// CodeTaskFailed is the health item of an auxiliary task that failed.
const CodeTaskFailed = "task_failed"

// VitalError tells which vital task ended the group, and why.
type VitalError struct {
	Task string
	Err  error
}

// Error names the task.
func (e *VitalError) Error() string { return fmt.Sprintf("vital task %s: %v", e.Task, e.Err) }

// Unwrap gives the cause.
func (e *VitalError) Unwrap() error { return e.Err }

// Group is a set of supervised tasks. Add all tasks, then call Run once.
type Group struct {
	log    *slog.Logger
	health Health
	vital  []Task
	aux    []Task
	ready  chan struct{}
}

// NewGroup builds an empty group.
func NewGroup(log *slog.Logger, health Health) *Group {
	return &Group{log: log, health: health, ready: make(chan struct{})}
}

// Vital adds a task whose failure ends the group.
func (g *Group) Vital(tasks ...Task) { g.vital = append(g.vital, tasks...) }

// Auxiliary adds a task that is restarted when it fails.
func (g *Group) Auxiliary(tasks ...Task) { g.aux = append(g.aux, tasks...) }

// Ready closes once every vital task is ready.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// Run starts every task and waits for all of them. It returns nil when ctx
// ended, else a *VitalError.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, t := range g.vital {
		wg.Go(func() {
			err := guard(ctx, t)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				err = errors.New("ended without being asked to")
			}
			g.log.Error("a vital task failed, the agent ends", "task", t.Name(), "error", err)
			cancel(&VitalError{Task: t.Name(), Err: err})
		})
	}
	for _, t := range g.aux {
		wg.Go(func() { g.keep(ctx, t) })
	}
	wg.Go(func() { g.watchReady(ctx) })
	wg.Wait()
	var failed *VitalError
	if errors.As(context.Cause(ctx), &failed) {
		return failed
	}
	return nil
}

// watchReady closes the group's ready channel after the last vital task's.
func (g *Group) watchReady(ctx context.Context) {
	for _, t := range g.vital {
		select {
		case <-t.Ready():
		case <-ctx.Done():
			return
		}
	}
	close(g.ready)
}

// keep runs an auxiliary task again and again until ctx ends.
func (g *Group) keep(ctx context.Context, t Task) {
	wait := backoffMin
	for ctx.Err() == nil {
		began := time.Now()
		err := guard(ctx, t)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > backoffMax {
			wait = backoffMin
		}
		g.log.Warn("a part failed and is started again", "task", t.Name(), "error", err, "wait", wait)
		g.health.Raise(CodeTaskFailed, t.Name(), fmt.Sprintf("%s failed: %v; it is started again", t.Name(), err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait + rand.N(wait/2)):
		}
		wait = min(2*wait, backoffMax)
		g.health.Clear(CodeTaskFailed, t.Name())
	}
}

// guard turns a panic into an error with its stack: recover lives at task
// level only.
func guard(ctx context.Context, t Task) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return t.Run(ctx)
}
