package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"flexd/agent/relay"
	"flexd/firmware"
	"flexd/systemd"
)

func relayCommand() command {
	return command{
		name: "relay", args: "[check | reference]", short: "pass webhooks to sites behind NAT, by an MQTT broker", noAgent: true,
		long: `Takes webhooks from the internet and publishes them, byte for byte, on an MQTT
broker that sites listen to; it answers 2xx once the broker has acknowledged. It
keeps no state: run any number with the same file behind a load balancer. Sites
verify everything themselves; a relay can delay and drop, and nothing else.

check tells every problem of the configuration and connects to nothing (exit
code 78 when it is unusable); reference prints an annotated one.

Examples:
  flexd relay reference > /etc/flexd/relay.yaml
  flexd relay check
  flexd relay --config /etc/flexd/relay.yaml`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.config, "config", relay.DefaultPath, "the relay's configuration `file`")
			fs.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error (`level`)")
		},
		run: func(ctx context.Context, o *options) error {
			if len(o.args) == 0 {
				return runRelay(ctx, o)
			}
			switch word, err := o.one("check or reference"); {
			case err != nil:
				return err
			case word == "check":
				return checkRelay(o)
			case word == "reference":
				return o.print(struct {
					Reference string `json:"reference"`
				}{relay.Reference()}, func(w io.Writer) { fmt.Fprint(w, relay.Reference()) })
			default:
				return usage("%q is neither check nor reference", word)
			}
		},
	}
}

// relayReport is what `relay check` prints.
type relayReport struct {
	File     string         `json:"file"`
	OK       bool           `json:"ok"`
	Problems relay.Problems `json:"problems,omitempty"`
	Routes   []relay.Route  `json:"routes,omitempty"`
}

func checkRelay(o *options) error {
	rep := relayReport{File: o.config}
	c, err := relay.Load(o.config)
	if !errors.As(err, &rep.Problems) && err != nil {
		return &configError{err}
	}
	if err == nil {
		rep.OK, rep.Routes = true, c.Routes
	}
	if o.json || err == nil {
		if perr := o.print(rep, rep.text); perr != nil {
			return perr
		}
	}
	return unusable(o, err)
}

func (rep relayReport) text(w io.Writer) {
	fmt.Fprintf(w, "%s is good: %d paths\n", rep.File, len(rep.Routes))
	for _, r := range rep.Routes {
		for _, t := range r.Topics {
			fmt.Fprintf(w, "  %s -> %s\n", r.Path, t)
		}
	}
}

// unusable prints every problem on a line of its own and grades the error.
func unusable(o *options, err error) error {
	var problems relay.Problems
	if !errors.As(err, &problems) {
		if err == nil {
			return nil
		}
		return &configError{err}
	}
	fmt.Fprintln(o.err, problems.Error())
	return &configError{fmt.Errorf("%s cannot be used (%d problems)", o.config, len(problems))}
}

func runRelay(ctx context.Context, o *options) error {
	log, err := logger(o.logLevel)
	if err != nil {
		return err
	}
	c, err := relay.Load(o.config)
	if err != nil {
		return unusable(o, err)
	}
	r, err := relay.New(c, relay.Options{Log: log, Resolve: systemd.CredentialPath, Built: firmware.Self().Built})
	if err != nil {
		return &configError{err}
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() { defer close(told); tellManager(ctx, r, systemd.FromEnv(), log) }()
	err = r.Run(ctx)
	cancel()
	<-told
	return err
}

// tellManager tells the service manager that the relay serves, feeds the
// watchdog while its loop goes round, and tells when it ends.
func tellManager(ctx context.Context, r *relay.Relay, n *systemd.Notifier, log *slog.Logger) {
	note := func(err error) {
		if err != nil {
			log.Warn("cannot reach the service manager", "error", err)
		}
	}
	var tick <-chan time.Time
	if every := n.WatchdogInterval(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	ready := r.Ready()
	for {
		select {
		case <-ready:
			ready = nil
			note(n.Ready("serving as relay " + r.ID()))
		case now := <-tick:
			if r.Alive(now) {
				note(n.Feed())
			}
		case <-ctx.Done():
			note(n.Stopping(10 * time.Second))
			return
		}
	}
}
