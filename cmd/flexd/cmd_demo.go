package main

import (
	"context"
	"flag"
	"io"

	"flexd/agent/demo"
)

func demoCommand() command {
	return command{
		name: "demo", short: "run the main job on simulated parts, with a live page", noAgent: true,
		long: `Runs the real agent against a simulated market, broker and site (PV inverter,
battery, grid meter, house load, all real Modbus/TCP servers), on this machine
only. It needs no account and no hardware, tells the story line by line, and
serves the live page. Dispatches follow one another until Ctrl-C.

Examples:
  flexd demo
  flexd demo --once          one dispatch, a summary, exit code 0 when it was right`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.BoolVar(&o.once, "once", false, "run one dispatch, print a summary, and end")
			fs.StringVar(&o.listen, "listen", "127.0.0.1:8080", "where to serve the local page (`host:port`)")
			fs.StringVar(&o.logLevel, "log-level", "error", "of the agent's own log: debug, info, warn or error (`level`)")
		},
		run: func(ctx context.Context, o *options) error {
			if err := o.none(); err != nil {
				return err
			}
			log, err := logger(o.logLevel)
			if err != nil {
				return err
			}
			story := o.out
			if o.json {
				story = io.Discard
			}
			sum, err := demo.Run(ctx, demo.Options{Out: story, Log: log, Once: o.once, Listen: o.listen})
			if err != nil {
				return err
			}
			if !o.once {
				return nil
			}
			if perr := o.print(sum, sum.Text); perr != nil {
				return perr
			}
			return sum.Verdict()
		},
	}
}
