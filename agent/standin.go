package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"flexd/agent/config"
	"flexd/agent/run"
	"flexd/store"
)

// ErrHealed ends an agent that ran on a copy of its state once the state can
// be written again: the caller makes a new one.
var ErrHealed = errors.New("the state can be written again")

// codeStateUnusable tells that nothing can be stored.
const codeStateUnusable = "state_unusable"

// standIn is the state of an agent that cannot write its own: a copy of what
// could be read, in memory or wherever temporary files lie. With it devices
// that the journal names are handed back and people are told; no control is
// taken and nothing is accepted from the market, since it could not be kept.
type standIn struct {
	why    error
	folder string
	real   string // the state file that cannot be written
}

// standInFor makes the copy. Where another process holds the state nothing is
// taken from it: that process may control the devices it names.
func standInFor(cfg *config.Config, why error, log *slog.Logger) (*standIn, *store.DB, error) {
	folder, err := os.MkdirTemp(os.Getenv("RUNTIME_DIRECTORY"), "flexd-state-")
	if err != nil {
		return nil, nil, errors.Join(why, fmt.Errorf("nor can a copy be made: %w", err))
	}
	s := &standIn{why: why, folder: folder, real: filepath.Join(cfg.Data, stateFile)}
	file := filepath.Join(folder, stateFile)
	if !errors.Is(why, store.ErrLocked) {
		if file, err = store.Salvage(s.real, folder); err != nil {
			return nil, nil, errors.Join(why, err, os.RemoveAll(folder))
		}
	}
	db, err := store.Open(file, store.Options{Log: log, Now: func() time.Time { return time.Now().UTC() }})
	if err != nil {
		return nil, nil, errors.Join(why, err, os.RemoveAll(folder))
	}
	return s, db, nil
}

// without is the configuration as it runs on a copy: everything is observed,
// nothing is controlled, and files go beside the copy.
func (s *standIn) without(cfg *config.Config) *config.Config {
	c := *cfg
	c.Data = s.folder
	c.Assets = append([]config.Asset(nil), cfg.Assets...)
	for i := range c.Assets {
		c.Assets[i].Control = "observe"
	}
	return &c
}

// text tells people what is the matter and what to do.
func (s *standIn) text() string {
	return fmt.Sprintf("%v: devices are handed back, no control is taken and nothing is taken in from the market until %s can be written; "+
		"look at the disk, its mount and the folder's owner", s.why, s.real)
}

// watch tries the state until it can be written, and then ends the agent.
func (s *standIn) watch(ctx context.Context, log *slog.Logger) error {
	const first, most = 5 * time.Second, time.Minute
	for wait := first; ; wait = min(2*wait, most) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		db, err := store.Open(s.real, store.Options{Log: log, Now: func() time.Time { return time.Now().UTC() }})
		if err != nil {
			s.why = err
			continue
		}
		if err := db.Close(); err != nil {
			continue
		}
		return ErrHealed
	}
}

// task is the watch as a vital part: its end is the agent's.
func (s *standIn) task(log *slog.Logger) run.Task {
	return run.Func("state", func(ctx context.Context) error { return s.watch(ctx, log) })
}

func (s *standIn) remove() error {
	if s == nil {
		return nil
	}
	return os.RemoveAll(s.folder)
}
