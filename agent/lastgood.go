package agent

import (
	"errors"
	"fmt"
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
	broken error // why the file itself does not run; nil when it does
}

// source says which configuration runs, for people.
func (l loaded) source() string {
	if l.broken != nil {
		return "the last good one, since " + l.path + " is broken"
	}
	return l.path
}

// load reads the configuration and opens the store. A broken file never takes
// a site down: the last good one runs on, and the caller raises the alarm.
func load(path string, open func(data string) (*store.DB, error), log *slog.Logger) (loaded, error) {
	cfg, err := config.Load(path)
	if err == nil {
		db, err := open(cfg.Data)
		if err != nil {
			return loaded{}, err
		}
		if err := db.PutSetting(settingConfig, cfg.Raw); err != nil {
			log.Warn("cannot keep this configuration as the last good one", "error", err)
		}
		return loaded{cfg: cfg, db: db, path: path}, nil
	}
	raw, _ := os.ReadFile(path) // a file that cannot be read has no data key either
	data := config.DataDir(raw)
	if _, serr := os.Stat(filepath.Join(data, stateFile)); serr != nil {
		return loaded{}, fmt.Errorf("%w: %w", ErrNoConfig, err)
	}
	db, oerr := open(data)
	if oerr != nil {
		return loaded{}, fmt.Errorf("%w: %w", ErrNoConfig, errors.Join(err, oerr))
	}
	good, ok, gerr := db.Setting(settingConfig)
	if gerr == nil && ok {
		if cfg, perr := config.Parse(path, good); perr == nil {
			return loaded{cfg: cfg, db: db, path: path, broken: err}, nil
		}
	}
	return loaded{}, fmt.Errorf("%w: %w", ErrNoConfig, errors.Join(err, db.Close()))
}
