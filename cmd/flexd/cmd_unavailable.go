package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

func unavailableCommand() command {
	return command{
		name: "unavailable", args: "[ASSET | withdraw ID]", short: "declare that an asset cannot deliver for a while",
		long: `Declares an asset unavailable: instructions for that time are refused with
declared_unavailable, the fleet is told, and so is the market where its profile
has a call for it. What is scheduled already stays a duty: stop or reject it on
its own. Times are RFC 3339, or in the site's zone as "2026-12-24 16:00".
Without arguments it lists the declarations; withdraw takes one back.

Examples:
  flexd unavailable z8mpC6x --from "2026-12-24 16:00" --to "2026-12-27 09:00" --reason "substation work"
  flexd unavailable
  flexd unavailable withdraw 01JD3K5T9V`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.from, "from", "", "when it begins (`time`; default now)")
			fs.StringVar(&o.to, "to", "", "when it ends (`time`)")
			fs.StringVar(&o.reason, "reason", "", "why, for operator and diary (`text`)")
		},
		run: unavailable,
	}
}

func unavailable(ctx context.Context, o *options) error {
	c := o.agent()
	switch {
	case len(o.args) == 0:
		list, err := c.Unavailable(ctx)
		if err != nil {
			return err
		}
		return o.print(list, func(w io.Writer) { unavailableText(w, list) })
	case len(o.args) == 2 && o.args[0] == "withdraw":
		if err := c.Withdraw(ctx, o.args[1]); err != nil {
			return err
		}
		return o.print(map[string]bool{"done": true}, func(w io.Writer) { fmt.Fprintln(w, "withdrawn: "+o.args[1]) })
	case len(o.args) > 1:
		return usage("takes one asset, or: withdraw ID")
	case o.to == "":
		return usage("needs --to: a declaration must have an end")
	}
	d := local.Declaration{Asset: flex.AssetID(o.args[0]), Reason: o.reason, From: time.Now()}
	var err error
	if o.from != "" {
		if d.From, err = o.instant(ctx, "--from", o.from); err != nil {
			return err
		}
	}
	if d.To, err = o.instant(ctx, "--to", o.to); err != nil {
		return err
	}
	u, err := c.Declare(ctx, d)
	if err != nil {
		return err
	}
	return o.print(u, func(w io.Writer) {
		fmt.Fprintf(w, "declared: %s is unavailable %s (id %s)\n", u.Asset, during(u.Window), u.ID)
	})
}

// instant reads a time with its offset, or one in the site's zone: in UTC with
// --utc.
func (o *options) instant(ctx context.Context, flag, s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	zone := time.UTC
	if !o.utc {
		c := o.agent()
		if _, err := c.Status(ctx); err != nil {
			return time.Time{}, err
		}
		if c.Zone() != nil {
			zone = c.Zone()
		}
	}
	return localInstant(flag, s, zone)
}

// localInstant reads a time of a zone. One that the clocks skip or show twice
// is refused.
func localInstant(flag, s string, zone *time.Location) (time.Time, error) {
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04"} {
		t, err := time.ParseInLocation(layout, s, zone)
		if err != nil {
			continue
		}
		for _, shift := range []time.Duration{-time.Hour, time.Hour} {
			if t.Add(shift).Format(layout) == s {
				return time.Time{}, usage("%s %q comes twice, since the clocks go back: write it with its offset, %s or %s", flag, s, t.Format(time.RFC3339), t.Add(shift).Format(time.RFC3339))
			}
		}
		if t.Format(layout) != s {
			return time.Time{}, usage("%s %q does not exist in %s: the clocks skip it", flag, s, zone)
		}
		return t, nil
	}
	return time.Time{}, usage(`%s %q is not a time: write "2026-12-24 16:00", or "2026-12-24T16:00:00Z"`, flag, s)
}

func unavailableText(w io.Writer, list []flex.Unavailability) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no asset was declared unavailable")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tASSET\tWINDOW\tBY\tREASON\tSTATE")
	for _, u := range list {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", u.ID, u.Asset, during(u.Window), u.By, orDash(u.Reason), unavailableState(u, time.Now()))
	}
	_ = tw.Flush()
}

func unavailableState(u flex.Unavailability, now time.Time) string {
	state := "in force"
	switch {
	case !u.Withdrawn.IsZero():
		state = "withdrawn " + stamp(u.Withdrawn)
	case !now.Before(u.Window.End):
		state = "over"
	case now.Before(u.Window.Start):
		state = "ahead"
	}
	if u.Told > 0 {
		state += ", the market knows since " + stamp(u.ToldAt)
	} else if u.Failed != "" {
		state += ", telling the market fails: " + u.Failed
	}
	return state
}
