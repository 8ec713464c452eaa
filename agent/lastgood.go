package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"flexd/agent/config"
	"flexd/store"
)

// settingConfig is where the last good configuration is kept.
const settingConfig = "config.good"

// ErrNoConfig tells that there is no usable configuration at all.
var ErrNoConfig = errors.New("no usable configuration, and no last good one")

// loaded is the configuration that runs, and how it came to be it.
type loaded struct {
	cfg    *config.Config
	db     *store.DB
	path   string
	broken error    // why the file itself does not run; nil when it does
	copied *standIn // nil where the state can be written
}

// source says which configuration runs, for people.
func (l loaded) source() string {
	if l.broken != nil {
		return "the last good one, since " + l.path + " is broken"
	}
	return l.path
}

// load reads the configuration and opens the store. A broken file never takes
// a site down: the last good one runs on, and the caller raises the alarm. So
// it is with a file that does not run though it can be read (unfit says why).
// A state that cannot be written is stood in for by a copy.
func load(path string, unfit error, open func(data string) (*store.DB, error), log *slog.Logger) (loaded, error) {
	cfg, broken := config.Load(path)
	if broken == nil {
		broken = unfit
	}
	l := loaded{cfg: cfg, path: path, broken: broken}
	if broken != nil {
		raw, _ := os.ReadFile(path) // a file that cannot be read has no data key either
		l.cfg = &config.Config{Data: config.DataDir(raw)}
		if _, err := os.Stat(filepath.Join(l.cfg.Data, stateFile)); errors.Is(err, fs.ErrNotExist) {
			return loaded{}, fmt.Errorf("%w: %w", ErrNoConfig, broken)
		}
	}
	var err error
	if l.db, err = open(l.cfg.Data); err != nil {
		log.Error("the state cannot be opened for writing", "error", err)
		if l.copied, l.db, err = standInFor(l.cfg, err, log); err != nil {
			return loaded{}, err
		}
	}
	if broken != nil {
		if err := l.lastGood(); err != nil {
			return loaded{}, errors.Join(fmt.Errorf("%w: %w", err, broken), l.db.Close(), l.copied.remove())
		}
	}
	if l.copied != nil {
		l.cfg = l.copied.without(l.cfg)
	}
	return l, nil
}

// lastGood takes the last good configuration from the store. That there is
// none counts only where the store itself could be read.
func (l *loaded) lastGood() error {
	good, ok, err := l.db.Setting(settingConfig)
	if err != nil {
		return fmt.Errorf("cannot read the last good configuration: %w", err)
	}
	if !ok && l.copied != nil {
		return l.copied.why
	}
	if !ok {
		return ErrNoConfig
	}
	if l.cfg, err = config.Parse(l.path, good); err != nil {
		return fmt.Errorf("%w: %w", ErrNoConfig, err)
	}
	return nil
}

// keepGood keeps the configuration as the last good one once it has served:
// one that can be read and ends the agent is not good.
func (a *Agent) keepGood(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.group.Ready():
	}
	if err := a.db.PutSetting(settingConfig, a.conf.cfg.Raw); err != nil {
		return fmt.Errorf("cannot keep this configuration as the last good one: %w", err)
	}
	<-ctx.Done()
	return nil
}
