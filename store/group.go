package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"flexd/agent/flex"
)

// mostGrouped bounds how many changes share one sync.
const mostGrouped = 64

// company is what can wait for a change of somebody else, and is written with
// it then. It gives nil when there is nothing, else what to write and whom to
// tell of the outcome.
type company func() (*call, func(error))

// Along has changes written with those of others, whenever there are any. take
// must not block; what it gives is told of once.
func (db *DB) Along(take func() (flex.Changes, func(error))) {
	db.group.mu.Lock()
	defer db.group.mu.Unlock()
	db.company = append(db.company, func() (*call, func(error)) {
		c, told := take()
		if c.Empty() {
			return nil, nil
		}
		return &call{rank: rankOf(c), fn: func(tx *bbolt.Tx) error { return db.apply(tx, c) }}, told
	})
}

// group lets changes that come while another is synced share the next sync. A
// change that comes alone is written at once.
type group struct {
	mu    sync.Mutex
	queue []*call
	busy  bool // somebody leads
}

// call is one change on its way to the file. It may run more than once.
type call struct {
	rank rank
	fn   func(*bbolt.Tx) error
	news chan verdict
}

// verdict is what a waiting call hears: its outcome, or that it leads now.
type verdict struct {
	lead  bool
	err   error
	panic any
}

// update is one change of a rank, in a transaction with others that wait. What
// is wrong with one of them is no matter of its neighbours.
func (db *DB) update(ctx context.Context, r rank, fn func(*bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &call{rank: r, fn: fn, news: make(chan verdict, 1)}
	g := &db.group
	g.mu.Lock()
	g.queue = append(g.queue, c)
	lead := !g.busy
	g.busy = true
	g.mu.Unlock()
	if lead {
		c.news <- verdict{lead: true}
	}
	v := <-c.news
	if v.lead {
		db.lead()
		v = <-c.news
	}
	if v.panic != nil {
		panic(v.panic)
	}
	if v.err != nil {
		return fmt.Errorf("cannot write the state: %w", v.err)
	}
	return nil
}

// waiting tells whether a change waits for the file.
func (g *group) waiting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.busy
}

// lead writes what waits, its own call among it, and has another go on.
func (db *DB) lead() {
	g := &db.group
	g.mu.Lock()
	n := min(len(g.queue), mostGrouped)
	calls := g.queue[:n:n]
	g.queue = g.queue[n:]
	along := db.company
	g.mu.Unlock()
	var told []func(error)
	for _, take := range along {
		if c, tell := take(); c != nil {
			calls, told = append(calls, c), append(told, tell)
		}
	}
	verdicts := db.together(calls)
	for i, tell := range told {
		v := verdicts[n+i]
		if v.panic != nil {
			v.err = fmt.Errorf("a fault while writing: %v", v.panic)
		}
		tell(v.err)
	}
	g.mu.Lock()
	if g.busy = len(g.queue) > 0; g.busy {
		g.queue[0].news <- verdict{lead: true}
	}
	g.mu.Unlock()
	for i, c := range calls[:n] {
		c.news <- verdicts[i]
	}
}

// together writes calls in one transaction. When one fails, or the file does
// not take them all, each goes alone and hears what is its own.
func (db *DB) together(calls []*call) []verdict {
	out := make([]verdict, len(calls))
	if len(calls) > 1 {
		if v := db.transact(calls); v.err == nil && v.panic == nil {
			return out
		}
	}
	for i := range calls {
		out[i] = db.transact(calls[i : i+1])
	}
	return out
}

// transact is one transaction. A fault in a call is handed to whoever made it.
func (db *DB) transact(calls []*call) (v verdict) {
	defer func() {
		if r := recover(); r != nil {
			v = verdict{panic: r}
		}
	}()
	whole := false
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		for _, c := range calls {
			if err := db.room(tx, c.rank); err != nil {
				return err
			}
			if err := c.fn(tx); err != nil {
				return err
			}
			whole = whole || db.whole()
		}
		db.grow(whole)
		return nil
	})
	if errors.Is(err, berrors.ErrMaxSizeReached) && !whole {
		err = full(db.max)
	}
	if err == nil {
		db.changed.Store(true)
		db.giveBack()
	}
	return verdict{err: err}
}
