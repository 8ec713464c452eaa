package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"flexd/agent/flex"
	"flexd/agent/local"
)

func holdCommand() command {
	return command{
		name: "hold", args: "[ASSET]", short: "hand the devices back now and keep the market out (panic button)",
		long: `Releases the devices of one asset, or of all, at once, and keeps every dispatch
away from them until ` + "`flexd release`" + `. It outranks the market and survives a
restart. Dispatches go on being admitted and announced as overridden.

Example:
  flexd hold --reason "working on the battery"
  flexd hold z8mpC6x`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.reason, "reason", "", "why, for the diary (`text`)")
		},
		run: func(ctx context.Context, o *options) error {
			return order(ctx, o, "/v1/hold", "held: devices are being handed back and stay so until `flexd release`")
		},
	}
}

func releaseCommand() command {
	return command{
		name: "release", args: "[ASSET]", short: "end a hold",
		long: `Ends a hold. A dispatch whose window is still running is resumed.

Example:
  flexd release`,
		run: func(ctx context.Context, o *options) error {
			return order(ctx, o, "/v1/release", "the hold is over")
		},
	}
}

// order sends hold or release for one asset or all.
func order(ctx context.Context, o *options, path, said string) error {
	if len(o.args) > 1 {
		return usage("takes one asset at most")
	}
	in := local.Order{Reason: o.reason}
	if len(o.args) == 1 {
		in.Asset = flex.AssetID(o.args[0])
	}
	return send(ctx, o, path, in, said)
}

func stopCommand() command {
	return command{
		name: "stop", args: "ID", short: "stop one instruction at this site",
		long: `Ends one scheduled or running instruction at this site, as if its window were
over: the devices are released and the fleet is told. It is final for that id.

Example:
  flexd stop disp-4711`,
		run: func(ctx context.Context, o *options) error {
			id, err := o.one("the instruction's id")
			if err != nil {
				return err
			}
			return send(ctx, o, "/v1/stop", local.Order{ID: flex.InstructionID(id)}, "stopped: "+id)
		},
	}
}

func send(ctx context.Context, o *options, path string, in local.Order, said string) error {
	var out map[string]bool
	if err := o.agent().Post(ctx, path, in, &out); err != nil {
		return err
	}
	return o.print(out, func(w io.Writer) { fmt.Fprintln(w, said) })
}
