package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"flexd/agent/config"
	"flexd/agent/demo"
	"flexd/agent/flex"
	"flexd/agent/local"
)

// drill is what the flags of `flexd drill` say.
type drill struct {
	bench
	real, takes bool
	power       string
	length      string
}

func drillCommand() command {
	d := &drill{bench: bench{in: os.Stdin, terminal: onTerminal}}
	return command{
		name: "drill", args: "ASSET", short: "rehearse a dispatch: with simulated devices, or really with a part of the power",
		long: `Without --real: runs the real agent with this site's configuration, limits and
assets against a simulated market, broker and devices on this machine, and takes
one dispatch through every station: signed notification, fetch, decision,
Modbus setpoints, proof, release. It needs no running agent and touches nothing
of the site; the configuration must say the role of every device.

With --real: the running agent dispatches the real devices for a short while
with at most --within of their rating, after asking. It is marked as a test in
everything that is stored and said of it, no answer goes to the market, and
whatever the market asks for ends it. ` + "`flexd stop ID`" + ` or Ctrl-C end it too.

Exit code 0 when the power was delivered and every device was handed back.

Examples:
  flexd drill z8mpC6x --power "5 kW"
  flexd drill z8mpC6x --real --within 10 --for 60s
  flexd drill z8mpC6x --real --import --power "1 kW" --yes`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.BoolVar(&d.real, "real", false, "with the real devices, by the running agent")
			fs.BoolVar(&d.takes, "import", false, "take power from the grid instead of giving it")
			fs.StringVar(&d.power, "power", "", "how much (`power`), such as \"2.5 kW\" (default: 10 % of the rating; simulated: of 10 kW)")
			fs.IntVar(&d.percent, "within", 10, "with --real: at most so much of the rating (`percent`), 1 to 50")
			fs.StringVar(&d.length, "for", "", "how long (`duration`), 10s to 15m (default 60s; simulated: 15s)")
			fs.BoolVar(&d.yes, "yes", false, "with --real: do not ask")
			fs.StringVar(&o.config, "config", config.DefaultPath, "simulated: the configuration `file`")
			fs.StringVar(&o.logLevel, "log-level", "error", "simulated: of the agent's own log (`level`)")
		},
		run: d.run,
	}
}

func (d *drill) run(ctx context.Context, o *options) error {
	id, err := o.one("the asset's market id")
	if err != nil {
		return err
	}
	var power flex.Watts
	if d.power != "" {
		if power, err = flex.ParsePower(d.power); err != nil || power <= 0 || power > flex.MaxPower {
			return usage("--power %q is not a power above zero, such as \"2.5 kW\"", d.power)
		}
	}
	length := time.Duration(0)
	if d.length != "" {
		if length, err = config.ParseDuration(d.length); err != nil || length < 10*time.Second || length > 15*time.Minute {
			return usage("--for goes from 10s to 15m")
		}
	}
	if d.real {
		return d.really(ctx, o, flex.AssetID(id), power, length)
	}
	return d.shadow(ctx, o, flex.AssetID(id), power, length)
}

// shadow rehearses on simulated parts.
func (d *drill) shadow(ctx context.Context, o *options, id flex.AssetID, power flex.Watts, length time.Duration) error {
	c, err := config.Load(o.config)
	if err != nil {
		return &configError{err}
	}
	log, err := logger(o.logLevel)
	if err != nil {
		return err
	}
	if power == 0 {
		power = flex.Kilowatt
	}
	if d.takes {
		power = -power
	}
	if length == 0 {
		length = 15 * time.Second
	}
	story := o.out
	if o.json {
		story = io.Discard
	}
	sum, err := demo.Rehearse(ctx, demo.Shadow{Site: c, Asset: id, Power: power, For: length, Out: story, Log: log})
	if err != nil {
		return err
	}
	if err := o.print(sum, sum.Text); err != nil {
		return err
	}
	return sum.Verdict()
}

// really rehearses on the real devices.
func (d *drill) really(ctx context.Context, o *options, id flex.AssetID, power flex.Watts, length time.Duration) error {
	if d.percent < 1 || d.percent > 50 {
		return usage("--within goes from 1 to 50 percent")
	}
	way := "give power to the grid"
	if d.takes {
		way = "take power from the grid"
	}
	question := fmt.Sprintf("This makes the real devices of %s %s for %v, within %d %% of their rating.\nIs everybody and everything clear, and shall it begin?",
		id, way, orFor(length), d.percent)
	if err := d.consent(o.err, question); err != nil {
		return err
	}
	c := o.agent()
	name, err := c.Drill(ctx, local.DrillOrder{Asset: id, Import: d.takes, Percent: d.percent, Power: power, Seconds: int(length / time.Second)})
	if err != nil {
		return err
	}
	var moves moves
	end, err := watchDrill(ctx, o, c, name, &moves)
	if err != nil {
		return err
	}
	if err := o.print(end, func(w io.Writer) { detailText(w, end) }); err != nil {
		return err
	}
	if err := verdict(end.Record); err != nil {
		return err
	}
	return moves.verdict()
}

// drillMargin is how long after its window a drill may take to be handed back.
const drillMargin = 2 * time.Minute

func orFor(d time.Duration) time.Duration {
	if d == 0 {
		return time.Minute
	}
	return d
}

// watchDrill tells each step until the last one, and follows what the devices
// give. After Ctrl-C the drill is stopped, and its end is waited for; it ends in
// any case, a while after the window.
func watchDrill(ctx context.Context, o *options, c *local.Client, id flex.InstructionID, m *moves) (d local.Detail, err error) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	ask, stop, told := ctx, ctx.Done(), 0
	for {
		now, err := c.Detail(ask, id)
		switch {
		case err != nil && ask == ctx && ctx.Err() != nil: // Ctrl-C: the stop follows
		case err != nil && ask.Err() != nil:
			return d, fmt.Errorf("the drill has not ended %v after the stop, it is %s: `flexd show %s` tells", handBackLimit, d.Record.State, id)
		case err != nil:
			return d, err
		default:
			d = now
			for _, s := range d.Record.Steps[min(told, len(d.Record.Steps)):] {
				fmt.Fprintf(o.err, "%s  TEST %s %s %s\n", fine(s.Fact.At), id, s.State, s.Text)
			}
			told = max(told, len(d.Record.Steps))
			if d.Record.State.Final() {
				return d, nil
			}
			if end := d.Record.Window.End; !end.IsZero() && time.Since(end) > drillMargin {
				return d, fmt.Errorf("the drill has not ended %v after its window, it is %s: %s; `flexd show %s` tells", drillMargin, d.Record.State, d.Record.Text, id)
			}
		}
		if st, err := c.Status(ask); err == nil {
			m.see(st.Devices, id, d.Record.Window.Start)
		}
		select {
		case <-tick.C:
		case <-stop:
			stop = nil
			fmt.Fprintln(o.err, "ending: the devices are handed back")
			later, cancel := context.WithTimeout(context.WithoutCancel(ctx), handBackLimit)
			defer cancel()
			ask = later
			if err := c.Post(ask, "/v1/stop", local.Order{ID: id}, nil); err != nil {
				return d, fmt.Errorf("cannot stop it, it ends by itself at %s: %w", d.Record.Window.End.Format(time.TimeOnly), err)
			}
		}
	}
}

// verdict is nil when a rehearsal was right from the first write to the release.
func verdict(r flex.Record) error {
	switch {
	case r.State != flex.Completed:
		return fmt.Errorf("the drill ended as %s: %s", r.State, r.Text)
	case r.Has(flex.Observed):
		return fmt.Errorf("nothing was written: the asset is in control: observe")
	case r.EchoAt.IsZero():
		return fmt.Errorf("the devices never held the setpoint")
	case r.DeliverAt.IsZero() || r.Has(flex.NotDelivering):
		return fmt.Errorf("the power was not delivered, see `flexd show %s`", r.ID)
	case r.Has(flex.Partial):
		return fmt.Errorf("only a part could be given: %s", r.Text)
	case r.ReleasedAt.IsZero():
		return fmt.Errorf("the release is not proven")
	}
	return nil
}
