// Package run supervises the long-lived parts of the agent.
//
// In: tasks, each vital or auxiliary. Out: one Run that starts them, tells
// when all vital ones are ready, restarts auxiliary ones with back-off, and
// ends all of them when a vital one fails or the context does. It knows
// nothing of what the tasks do, and it is the only place, besides a task's own
// Run, where a goroutine starts.
package run

import (
	"context"
	"sync"
	"time"
)

// Task is one long-lived part. Run serves until ctx ends and returns nil then;
// Ready closes once it serves for the first time.
type Task interface {
	Name() string
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// Func makes a task of a function that is ready as soon as it runs.
func Func(name string, fn func(ctx context.Context) error) Task {
	return &funcTask{name: name, fn: fn, ready: make(chan struct{})}
}

type funcTask struct {
	name  string
	fn    func(ctx context.Context) error
	once  sync.Once
	ready chan struct{}
}

func (t *funcTask) Name() string           { return t.name }
func (t *funcTask) Ready() <-chan struct{} { return t.ready }

func (t *funcTask) Run(ctx context.Context) error {
	t.once.Do(func() { close(t.ready) })
	return t.fn(ctx)
}

// Beat records the last completed cycle of a vital loop. It is safe for
// concurrent use; the zero value has never beaten.
type Beat struct {
	mu   sync.Mutex
	last time.Time
}

// Done notes that a cycle was completed at now. Call it after the work, never
// from a timer: a watchdog fed by a timer proves only that timers work.
func (b *Beat) Done(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = now
}

// Alive tells whether the last completed cycle is younger than limit at now.
func (b *Beat) Alive(now time.Time, limit time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.last.IsZero() && now.Sub(b.last) < limit
}
