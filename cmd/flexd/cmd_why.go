package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

func whyCommand() command {
	at := ""
	return command{
		name: "why", args: "ASSET|DEVICE", short: "why it does what it does: who asked, what each limit did, what lapses when",
		long: `Prints the reasons for what every device of an asset is asked to do, now or at
any second of the last 24 hours: who asked, what each limit did to it, what is
missing and why, and when it ends or falls back by itself.

--at takes an instant (2026-03-01T17:30:05Z) or a time of the last 24 hours in
the site's zone (17:30 or 17:30:05).

Examples:
  flexd why z8mpC6x
  flexd why bat1 --at 17:30:05`,
		flags: func(fs *flag.FlagSet, _ *options) {
			fs.StringVar(&at, "at", "", "the `instant`; default now")
		},
		run: func(ctx context.Context, o *options) error {
			subject, err := o.one("an asset's market id or a device's id")
			if err != nil {
				return err
			}
			c := o.agent()
			var when time.Time
			if at != "" {
				st, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if when, err = instantOf(at, st.At, st.Timezone); err != nil {
					return usage("--at %q: %v", at, err)
				}
			}
			why, err := c.Why(ctx, subject, when)
			if err != nil {
				return err
			}
			return o.print(why, func(w io.Writer) { whyText(w, why) })
		},
	}
}

// instantOf reads an instant, or a time of day in a zone: the last one that
// was.
func instantOf(s string, now time.Time, zone string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("the site's zone is not known here: %w", err)
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		today := now.In(loc)
		for back := range 2 {
			at := time.Date(today.Year(), today.Month(), today.Day()-back, t.Hour(), t.Minute(), t.Second(), 0, loc)
			if !at.After(now) {
				return at, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("write 2026-03-01T17:30:05Z, 17:30 or 17:30:05")
}

func whyText(w io.Writer, y local.Why) {
	fmt.Fprintf(w, "%s at %s\n", y.Subject, stamp(y.At))
	switch {
	case y.Running:
	case y.Seen.IsZero():
		fmt.Fprintf(w, "nothing is kept of that time; the oldest is of %s\n", stamp(y.Oldest))
		return
	default:
		fmt.Fprintf(w, "flexd did not run then; it was last seen at %s, and this was asked:\n", stamp(y.Seen))
	}
	for _, h := range y.Holds {
		fmt.Fprintf(w, "  HOLD by %s since %s %s\n", h.By, stamp(h.At.At), h.Reason)
	}
	for _, d := range y.Devices {
		reasonsText(w, d)
	}
	for _, m := range y.Short {
		fmt.Fprintf(w, "  missing for %s: %s (%s): %s\n", m.Instruction, m.Missing, m.Reason, m.Text)
	}
}

func reasonsText(w io.Writer, d local.Reasons) {
	t := d.Target
	switch {
	case !d.Known:
		fmt.Fprintf(w, "  %s: nothing is known of it at that time\n", d.Device)
		return
	case t.Order == flex.OrderNone && len(t.Whys) == 0 && d.Status != nil && (d.Status.ReleaseOwed || d.Status.Held):
		fmt.Fprintf(w, "  %s: nobody asks, since %s\n", d.Device, stamp(d.Since))
		owedText(w, *d.Status)
		return
	case t.Order == flex.OrderNone && len(t.Whys) == 0:
		fmt.Fprintf(w, "  %s: nobody asks: the device belongs to itself, since %s\n", d.Device, stamp(d.Since))
		return
	}
	what := "left to itself"
	if t.Order != flex.OrderNone {
		what = "asked for " + target(t)
	}
	fmt.Fprintf(w, "  %s: %s since %s", d.Device, what, stamp(d.Since))
	if !t.Until.IsZero() {
		fmt.Fprintf(w, ", until %s", stamp(t.Until))
	}
	fmt.Fprintln(w)
	for _, y := range t.Whys {
		fmt.Fprintf(w, "    %-12s %9s  %s\n", y.Who, y.Power, y.Text)
	}
	if s := d.Status; s != nil {
		fmt.Fprintf(w, "    proof: %s; measured %s", proof(*s), powerOf(*s))
		if !d.Lapses.IsZero() {
			fmt.Fprintf(w, "; falls back by itself at %s unless renewed", stamp(d.Lapses))
		}
		fmt.Fprintln(w)
		owedText(w, *s)
	}
}

// owedText tells that a device is, or may be, still under control though
// nobody asks for it any more.
func owedText(w io.Writer, s flex.DeviceStatus) {
	switch {
	case s.ReleaseOwed:
		fmt.Fprintf(w, "    RELEASE OWED since %s: it may still do what it was told last; flexd tries until it is proven to be handed back", stamp(s.OwedSince))
		if s.Error != "" {
			fmt.Fprintf(w, "; now: %s", s.Error)
		}
		fmt.Fprintln(w)
	case s.Held && !wanted(s.Target):
		fmt.Fprintln(w, "    it is being handed back")
	}
}

func wanted(t flex.Target) bool {
	return !t.Observe && (t.Order == flex.OrderSet || t.Order == flex.OrderCap)
}
