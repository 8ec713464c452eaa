package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"flexd/agent/flex"
)

func preflightCommand() command {
	return command{
		name: "preflight", short: "check now whether the windows to come could be served",
		long: `Judges the open or next service window of every obligation, and every
instruction that has not begun: links, devices, energy with the configured
margin, limits, holds, declarations, clock. Every reason is told. Nothing is
written to any device, and nothing is announced: the running agent makes the
same checks by itself at the leads of preflight.leads.

Exit code 1 when a window is at risk.

Examples:
  flexd preflight
  flexd preflight --json | jq '.[] | select(.result == "at_risk")'`,
		run: func(ctx context.Context, o *options) error {
			if err := o.none(); err != nil {
				return err
			}
			list, err := o.agent().Preflight(ctx)
			if err != nil {
				return err
			}
			if err := o.print(list, func(w io.Writer) { preflightText(w, list) }); err != nil {
				return err
			}
			bad := 0
			for _, p := range list {
				if p.Result != flex.PreflightGo {
					bad++
				}
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d windows are at risk", bad, len(list))
			}
			return nil
		},
	}
}

func preflightText(w io.Writer, list []flex.Preflight) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no window is ahead: no obligation of this site's assets is known, and no instruction waits")
		return
	}
	for _, p := range list {
		fmt.Fprintf(w, "%-8s %s %s  %s  our part %s\n", strings.ToUpper(flightWord(&p)), p.Kind, p.ID, during(p.Window), sharesText(p.Shares))
		concernsText(w, &p)
		for _, n := range p.Notes {
			fmt.Fprintf(w, "    note: %s\n", n)
		}
	}
}

func sharesText(list []flex.AssetShare) string {
	if len(list) == 0 {
		return "unknown"
	}
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = fmt.Sprintf("%s on %s", s.Power, s.Asset)
	}
	return strings.Join(parts, " and ")
}

// flightWord is the result of a check for a table.
func flightWord(p *flex.Preflight) string {
	if p == nil {
		return "-"
	}
	return strings.ReplaceAll(p.Result, "_", " ")
}

// concernsText lists why a window is at risk.
func concernsText(w io.Writer, p *flex.Preflight) {
	if p == nil {
		return
	}
	for _, c := range p.Reasons {
		fmt.Fprintf(w, "    %s %s: %s\n", p.ID, c.Reason, c.Text)
	}
}

// checkedText is the check of a window, when it is of this one.
func checkedText(p *flex.Preflight, win flex.Window) string {
	if p == nil || !p.Window.Start.Equal(win.Start) {
		return ""
	}
	out := fmt.Sprintf("  pre-flight %s at %s", flightWord(p), stamp(p.At.At))
	for _, c := range p.Reasons {
		out += "\n      " + string(c.Reason) + ": " + c.Text
	}
	return out
}

// flightsText sums the latest checks up; those at risk are among the alerts.
func flightsText(w io.Writer, list []flex.Preflight) {
	if len(list) == 0 {
		return
	}
	risk := 0
	for _, p := range list {
		if p.Result != flex.PreflightGo {
			risk++
		}
	}
	fmt.Fprintf(w, "pre-flight: %d of %d windows ahead are go, the next begins at %s\n", len(list)-risk, len(list), stamp(list[0].Window.Start))
}
