package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

func baselineCommand() command {
	return command{
		name: "baseline", args: "show ASSET | set ASSET FILE | clear ASSET", short: "show or nominate what an asset's dispatches are held against",
		long: `show: how the asset's baseline is found, what was nominated, and what would be
frozen with a notice now for the next two hours.

set: nominates mean powers for the asset, W, kW or MW, positive towards the
grid. FILE ("-": standard input) is CSV with a header,

  start,kW
  2026-10-25T00:00:00+01:00,-12.5

or JSON: {"unit": "kW", "values": [{"start": "2026-10-25T00:00:00+01:00", "power": -12.5}]}.
Starts carry their offset and follow one another in equal steps of 15, 30 or 60
minutes. What was nominated before for the same time is replaced, the rest stays.
It counts for dispatches that become known afterwards: those that are admitted
keep what was frozen with them.

clear: drops all that was nominated.

Examples:
  flexd baseline show z8mpC6x
  flexd baseline set z8mpC6x tomorrow.csv
  flexd baseline clear z8mpC6x`,
		run: baseline,
	}
}

func baseline(ctx context.Context, o *options) error {
	want := map[string]int{"show": 2, "set": 3, "clear": 2}
	if len(o.args) == 0 || want[o.args[0]] != len(o.args) {
		return usage("needs: show ASSET, set ASSET FILE, or clear ASSET")
	}
	c, id := o.agent(), flex.AssetID(o.args[1])
	var b local.Baseline
	var err error
	switch o.args[0] {
	case "show":
		b, err = c.Baseline(ctx, id)
	case "set":
		var text []byte
		if text, err = nominationFile(o.args[2]); err != nil {
			return err
		}
		b, err = c.Nominate(ctx, id, string(text))
	case "clear":
		if err = c.Unnominate(ctx, id); err != nil {
			return err
		}
		return o.print(map[string]bool{"done": true}, func(w io.Writer) { fmt.Fprintf(w, "cleared: nothing is nominated for %s\n", id) })
	}
	if err != nil {
		return err
	}
	return o.print(b, func(w io.Writer) { baselineText(w, b) })
}

// nominationFile reads a bounded file.
func nominationFile(name string) ([]byte, error) {
	const most = 1 << 20
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("cannot open the nomination: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the nomination: %w", err)
	}
	if len(text) > most {
		return nil, usage("%s is larger than 1 MiB: give it in parts", name)
	}
	return text, nil
}

func baselineText(w io.Writer, b local.Baseline) {
	switch b.Method {
	case "":
		fmt.Fprintf(w, "asset %s counts from zero (reference: zero)\n", b.Asset)
	default:
		fmt.Fprintf(w, "asset %s is held against its baseline by %s; fallback %s\n", b.Asset, b.Method, b.Fallback)
	}
	for _, p := range b.Nominated.Pieces {
		fmt.Fprintf(w, "  nominated   %s to %s, %d values of %v, by %s at %s\n", stamp(p.Start), stamp(p.End()), len(p.Values), p.Step, p.By, stamp(p.At))
	}
	if b.Failed != "" {
		fmt.Fprintf(w, "  with a notice now for two hours: %s\n", b.Failed)
	}
	if b.Now != nil {
		fmt.Fprintln(w, "  with a notice now for two hours:")
		frozenText(w, *b.Now)
	}
}

// frozenText shows the steps of a baseline.
func frozenText(w io.Writer, b flex.Baseline) {
	fmt.Fprintf(w, "  baseline      %s by %s%s\n", b.Asset, b.Method, inBrackets(b.Detail))
	for n := 0; n < len(b.Values); {
		last := n
		for last+1 < len(b.Values) && b.Values[last+1] == b.Values[n] {
			last++
		}
		fmt.Fprintf(w, "    %s to %s  %s\n", stamp(b.Start.Add(time.Duration(n)*b.Step)), stamp(b.Start.Add(time.Duration(last+1)*b.Step)), b.Values[n])
		n = last + 1
	}
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func intervalsCommand() command {
	q := local.IntervalQuery{}
	table := false
	return command{
		name: "intervals", args: "ASSET", short: "what an asset exchanged with the grid, by minutes, quarters or half-hours",
		long: `Prints mean power and energy of an asset's meter, or of the sum of its devices
where it has none, positive towards the grid. Each interval is labelled by its
start, in UTC; the days are those of the site's clock, of 46, 48 or 50 half-hours.
Quality: counter (the meter's energy counters), power (integrated), estimated
(with gaps); "measured" is how much of the interval was.
Minutes are kept for 14 days, the others for 13 months.

Examples:
  flexd intervals z8mpC6x
  flexd intervals z8mpC6x --day 2026-10-25 --step 15m --csv`,
		flags: func(fs *flag.FlagSet, _ *options) {
			fs.StringVar(&q.Day, "day", "", "the first local day (`date`), YYYY-MM-DD; default today")
			fs.IntVar(&q.Days, "days", 1, "how many days (`number`), 1 to 31")
			fs.DurationVar(&q.Step, "step", 30*time.Minute, "1m, 15m or 30m (`duration`)")
			fs.BoolVar(&table, "csv", false, "print CSV")
		},
		run: func(ctx context.Context, o *options) error {
			id, err := o.one("the asset's market id")
			if err != nil {
				return err
			}
			if s := q.Step; s != time.Minute && s != 15*time.Minute && s != 30*time.Minute {
				return usage("--step is 1m, 15m or 30m")
			}
			if _, err := time.Parse(time.DateOnly, q.Day); q.Day != "" && err != nil {
				return usage("--day %q is not a date such as 2026-10-25", q.Day)
			}
			if q.Days < 1 || q.Days > 31 {
				return usage("--days goes from 1 to 31")
			}
			q.Asset = flex.AssetID(id)
			got, err := o.agent().Intervals(ctx, q)
			if err != nil {
				return err
			}
			return o.print(got, func(w io.Writer) { intervalsText(w, got, table) })
		},
	}
}

func intervalsText(w io.Writer, got local.Intervals, table bool) {
	if table {
		fmt.Fprintln(w, "start,minutes,mean_w,energy_wh,quality,measured_s")
		for _, i := range got.Rows {
			fmt.Fprintf(w, "%s,%d,%d,%s,%s,%.0f\n", i.Start.UTC().Format(time.RFC3339), got.Minutes, i.Mean, wattHours(i.Energy), i.Quality, i.Measured)
		}
		return
	}
	fmt.Fprintf(w, "%s by %s, %s: %d of %d intervals of %d min are known\n", got.Asset, got.By, got.Timezone, len(got.Rows), got.Whole, got.Minutes)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "START\tMEAN\tWh\tMEASURED\tQUALITY\t")
	for _, i := range got.Rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.0f %%\t%s\t\n", stamp(i.Start), i.Mean, wattHours(i.Energy), 100*i.Measured/float64(60*got.Minutes), i.Quality)
	}
	_ = tw.Flush()
}

// wattHours writes watt-seconds as watt-hours with three decimals.
func wattHours(ws int64) string {
	sign, m := "", flex.RoundDiv(ws*10, 36) // thousandths
	if m < 0 {
		sign, m = "-", -m
	}
	return fmt.Sprintf("%s%d.%03d", sign, m/1000, m%1000)
}
