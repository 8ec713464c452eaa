package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"flexd/agent"
	"flexd/agent/config"
	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/agent/shown"
)

func telemetryCommand() command {
	device := ""
	return command{
		name: "telemetry", args: "export", short: "what the devices measured, as CSV or JSON lines",
		long: `Prints every sample that is kept of every device, oldest first, as it is read:
power in watts, positive towards the grid, and the charge of a battery. What was
not known is empty. It asks the running agent, and reads the file of one that
does not run; what an agent that was killed had in memory alone is not there:
ten minutes at most, and nothing of a dispatch but its last minute.

Times are in the site's zone with their offset, in UTC with --utc. With --json
each sample is one JSON object on a line of its own, in UTC.

--from and --to take an instant (2026-10-25T17:30:00Z) or a time of the site's
clock: 2026-10-25, "2026-10-25 17:30". --to itself is not included.

Examples:
  flexd telemetry export > all.csv
  flexd telemetry export --from 2026-10-25 --to 2026-10-26 --device bat1
  flexd telemetry export --json | jq -c 'select(.device == "pv1")'`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.from, "from", "", "the first `instant`; default the oldest that is kept")
			fs.StringVar(&o.to, "to", "", "the `instant` to stop before; default now")
			fs.StringVar(&device, "device", "", "only this `device`")
			fs.StringVar(&o.config, "config", config.DefaultPath, "the configuration `file`, read when no agent runs")
		},
		run: func(ctx context.Context, o *options) error {
			if len(o.args) != 1 || o.args[0] != "export" {
				return usage("needs: export")
			}
			return telemetryExport(ctx, o, flex.DeviceID(device))
		},
	}
}

// samples are a running agent, or what one has left.
type samples interface {
	Zone() *time.Location
	Samples(ctx context.Context, q local.SampleQuery, fn func(local.Sample) error) error
}

// source is the running agent, else its file.
func (o *options) source(ctx context.Context) (samples, error) {
	c := local.Dial(o.socket)
	_, err := c.Status(ctx)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, local.ErrNotRunning) {
		return nil, err
	}
	left, lerr := agent.MeasuredOf(o.config, slog.New(slog.NewTextHandler(o.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if lerr != nil {
		return nil, fmt.Errorf("%w; and its file is not found without a configuration: %w", err, lerr)
	}
	return left, nil
}

func telemetryExport(ctx context.Context, o *options, device flex.DeviceID) error {
	for flag, text := range map[string]string{"--from": o.from, "--to": o.to} { // before anybody is asked
		if _, err := bound(flag, text, time.UTC); err != nil {
			return err
		}
	}
	src, err := o.source(ctx)
	if err != nil {
		return err
	}
	q, zone := local.SampleQuery{Device: device}, src.Zone()
	if o.utc || zone == nil {
		zone = time.UTC
	}
	if q.From, err = bound("--from", o.from, zone); err != nil {
		return err
	}
	if q.To, err = bound("--to", o.to, zone); err != nil {
		return err
	}
	if !q.To.IsZero() && !q.From.Before(q.To) {
		return usage("--to %s is not after --from %s", o.to, o.from)
	}
	out := bufio.NewWriterSize(o.out, 64<<10)
	write, flush := sampleLines(out), func() error { return nil }
	if !o.json {
		write, flush = sampleTable(out, zone)
	}
	n := 0
	err = src.Samples(ctx, q, func(s local.Sample) error { n++; return write(s) })
	o.printed = n > 0
	if err = errors.Join(err, flush(), out.Flush()); err != nil {
		return err
	}
	if n == 0 {
		fmt.Fprintln(o.err, "nothing is kept of that time and device")
	}
	return nil
}

func sampleLines(w io.Writer) func(local.Sample) error {
	return func(s local.Sample) error {
		raw, err := shown.Marshal(s)
		if err != nil {
			return err
		}
		_, err = w.Write(append(raw, '\n'))
		return err
	}
}

// sampleTable writes CSV under a header.
func sampleTable(w io.Writer, zone *time.Location) (write func(local.Sample) error, flush func() error) {
	t := csv.NewWriter(w)
	err := t.Write([]string{"time", "device", "power_w", "soc_percent"})
	return func(s local.Sample) error {
			power, soc := "", ""
			if s.Power != nil {
				power = strconv.FormatInt(int64(*s.Power), 10)
			}
			if s.SoC != nil {
				soc = strconv.FormatFloat(float64(*s.SoC)/100, 'f', -1, 64)
			}
			return errors.Join(err, t.Write([]string{s.At.In(zone).Format("2006-01-02T15:04:05.00Z07:00"), string(s.Device), power, soc}))
		}, func() error {
			t.Flush()
			return t.Error()
		}
}

// bound reads one end of a span: an instant, a day, or a time in a zone; "" is
// none.
func bound(flag, s string, zone *time.Location) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, zone); err == nil {
		return t, nil
	}
	return localInstant(flag, s, zone)
}
