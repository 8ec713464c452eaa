package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"runtime/debug"

	"flexd/agent"
	"flexd/agent/config"
)

func runCommand() command {
	return command{
		name: "run", short: "run the agent (what systemd starts)", noJSON: true, noAgent: true,
		long: `Runs the agent until it is told to end (SIGTERM, Ctrl-C), then hands every
device back. It logs one line per step of an instruction.

A broken configuration never takes a site down: the last good one runs on and
an alarm says so. Exit code 78 only when there is none.

Example:
  flexd run --config /etc/flexd/flexd.yaml`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.config, "config", config.DefaultPath, "the configuration `file`")
			fs.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error (`level`)")
		},
		run: runAgent,
	}
}

// memoryLimit is where the collector begins to work harder: a burst of the
// market must not double what a small gateway has to spare.
const memoryLimit = 32 << 20

func runAgent(ctx context.Context, o *options) error {
	if err := o.none(); err != nil {
		return err
	}
	log, err := logger(o.logLevel)
	if err != nil {
		return err
	}
	debug.SetMemoryLimit(memoryLimit)
	for {
		a, err := agent.New(o.config, log)
		if errors.Is(err, agent.ErrNoConfig) {
			return &configError{err}
		}
		if err != nil {
			return err
		}
		err = errors.Join(a.Run(ctx), a.Close())
		if !errors.Is(err, agent.ErrHealed) {
			return err
		}
		log.Info("the state can be written again: flexd starts anew on it")
	}
}

// logger writes to standard error; under systemd the journal adds the time
// and reads the level from the prefix.
func logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usage("--log-level %q: choose debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	if os.Getenv("JOURNAL_STREAM") != "" {
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
}
