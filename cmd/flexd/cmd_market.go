package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

func obligationsCommand() command {
	return command{
		name: "obligations", short: "list the contracts and their coming service windows",
		long: `Lists the obligations of this site's account with the service windows ahead,
in UTC.

Example:
  flexd obligations --ahead 14d`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.ahead, "ahead", "7d", "how far to look, such as 36h or 14d (`duration`)")
		},
		run: func(ctx context.Context, o *options) error {
			if err := o.none(); err != nil {
				return err
			}
			ahead, err := days(o.ahead)
			if err != nil {
				return err
			}
			list, err := o.agent().Obligations(ctx, ahead)
			if err != nil {
				return err
			}
			return o.print(list, func(w io.Writer) { obligationsText(w, list) })
		},
	}
}

// days reads a duration in which d means 24 hours.
func days(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		s = n + "h"
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 || d > 400*time.Hour {
			return 0, usage("--ahead %q is not a duration up to 400d", n+"d")
		}
		return 24 * d, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, usage("--ahead %q is not a duration such as 36h or 14d", s)
	}
	return d, nil
}

func obligationsText(w io.Writer, list []local.Obligation) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no obligations are known; they are read from the market every few minutes")
		return
	}
	for _, ob := range list {
		gone := ""
		if !ob.GoneAt.IsZero() {
			gone = "  GONE from the market since " + stamp(ob.GoneAt)
		}
		fmt.Fprintf(w, "%s  %s %s  operator %s  our assets %s%s\n", ob.ID, ob.Capacity, ob.Direction, orDash(ob.Operator), ids(ob.Ours), gone)
		for _, win := range ob.Next {
			fmt.Fprintf(w, "    %s  (%s)%s\n", during(win), win.Duration(), checkedText(ob.Preflight, win))
		}
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func ids[T ~string](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	out := make([]string, len(list))
	for i, id := range list {
		out[i] = string(id)
	}
	return strings.Join(out, ", ")
}

func instructionsCommand() command {
	return command{
		name: "instructions", short: "list the latest instructions and where they stand",
		long: `Lists the latest instructions with their state, conditions and our share.

Example:
  flexd instructions --limit 20`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.IntVar(&o.limit, "limit", 50, "how many at the most (`number`)")
		},
		run: func(ctx context.Context, o *options) error {
			if err := o.none(); err != nil {
				return err
			}
			if o.limit < 1 || o.limit > 10_000 {
				return usage("--limit goes from 1 to 10000")
			}
			list, err := o.agent().Instructions(ctx, o.limit)
			if err != nil {
				return err
			}
			return o.print(list, func(w io.Writer) { instructionsText(w, list) })
		},
	}
}

func instructionsText(w io.Writer, list []local.Instruction) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no instruction has come yet")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "INSTRUCTION\tREV\tSTATE\tCONDITIONS\tSHARE\tWINDOW\tPREFLIGHT\tREASON")
	for _, r := range list {
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Revision, r.State, conditions(r.Record), share(r.Record), during(r.Window), flightWord(r.Preflight), orDash(string(r.Reason)))
	}
	_ = tw.Flush()
	for _, r := range list {
		concernsText(w, r.Preflight)
	}
}

func conditions(r flex.Record) string {
	words := slices.Clone(r.Conditions)
	for _, c := range pastConditions(r) {
		words = append(words, "was "+c)
	}
	if r.Instruction.Test {
		words = slices.Insert(words, 0, "TEST")
	}
	if len(words) == 0 {
		return "-"
	}
	return ids(words)
}

func share(r flex.Record) string {
	if len(r.Shares) == 0 {
		return "-"
	}
	var sum flex.Watts
	for _, s := range r.Shares {
		sum += s.Power
	}
	return sum.String()
}

func showCommand() command {
	return command{
		name: "show", args: "ID", short: "show one instruction, step by step",
		long: `Shows everything known about one instruction: what was asked, what this site
decided and why, every step of its ladder with the time of the fact, and the
proof: echo (the registers hold it), acting (the device says so), delivered
(the watts were measured).

Example:
  flexd show disp-4711`,
		run: func(ctx context.Context, o *options) error {
			id, err := o.one("the instruction's id")
			if err != nil {
				return err
			}
			d, err := o.agent().Detail(ctx, flex.InstructionID(id))
			if err != nil {
				return err
			}
			return o.print(d, func(w io.Writer) { detailText(w, d) })
		},
	}
}

func detailText(w io.Writer, d local.Detail) {
	r := d.Record
	fmt.Fprintf(w, "instruction %s revision %d: %s\n", r.ID, r.Revision, r.State)
	if r.Instruction.Test {
		fmt.Fprintln(w, "  TEST          a drill at the site: nobody's delivery")
	}
	if len(r.Conditions) > 0 {
		fmt.Fprintf(w, "  conditions    %s\n", ids(r.Conditions))
	}
	historyText(w, r)
	if r.Reason != "" {
		fmt.Fprintf(w, "  reason        %s: %s\n", r.Reason, r.Text)
	}
	in := r.Instruction
	fmt.Fprintf(w, "  asked         %s of %s %s for %s, operator %s\n", in.Kind, in.Capacity, in.Direction, ids(in.Assets), orDash(in.Operator))
	fmt.Fprintf(w, "  window        %s\n", during(r.Window))
	if r.Moved != 0 {
		fmt.Fprintf(w, "  clock         was stepped by %s since it began, which moved no setpoint\n", r.Moved.Round(time.Millisecond))
	}
	if p := d.Preflight; p != nil {
		fmt.Fprintf(w, "  pre-flight    %s at %s\n", flightWord(p), stamp(p.At.At))
		concernsText(w, p)
	}
	doorsText(w, d.Sights)
	answerText(w, "answer", r.Answer)
	answerText(w, "for a change", r.Amend)
	for _, s := range r.Withheld {
		fmt.Fprintf(w, "  not given     %s: %s, declared unavailable\n", s.Asset, s.Power)
	}
	for _, s := range r.Shares {
		fmt.Fprintf(w, "  our share     %s: %s\n", s.Asset, s.Power)
	}
	for _, b := range r.Baselines {
		frozenText(w, b)
	}
	fmt.Fprintf(w, "  came by       %s, notification %s\n", r.Door, r.Notification)
	proofLine(w, "first write", r.FirstWrite, r.Window.Start)
	proofLine(w, "echo", r.EchoAt, r.Window.Start)
	proofLine(w, "acting", r.ActingAt, r.Window.Start)
	proofLine(w, "delivered", r.DeliverAt, r.Window.Start)
	proofLine(w, "released", r.ReleasedAt, time.Time{})
	lateText(w, d.Outcome)
	energyText(w, d)
	if p := d.Progress; p != nil && p.Measured != nil {
		fmt.Fprintf(w, "  measured now  %s\n", *p.Measured)
	}
	fmt.Fprintln(w, "  steps:")
	for _, s := range r.Steps {
		fmt.Fprintf(w, "    %s  %-10s %s %s\n", fine(s.Fact.At), s.State, orDash(string(s.Reason)), s.Text)
	}
}

// doorsText tells by which door each revision came first, and how much later
// it came by the others.
func doorsText(w io.Writer, sights []flex.Sight) {
	first := map[int64]flex.Sight{}
	for _, s := range sights { // in the order of time
		if f, later := first[s.Revision]; later {
			fmt.Fprintf(w, "  came again    by %s, %s after %s (revision %d)\n", s.Door, s.At.Sub(f.At).Round(time.Millisecond), f.Door, s.Revision)
			continue
		}
		first[s.Revision] = s
		fmt.Fprintf(w, "  came          by %s at %s (revision %d)\n", s.Door, fine(s.At), s.Revision)
	}
}

// answerText tells what the market wants to hear, and what it has heard.
func answerText(w io.Writer, what string, a *flex.Answer) {
	if a == nil {
		return
	}
	text := "is waited for"
	switch {
	case a.Lapsed:
		text = "was not given in time"
	case a.Word != "":
		text = fmt.Sprintf("%s, by %s", a.Word, a.By)
	}
	switch {
	case a.Word == "" || a.Lapsed:
	case !a.Confirmed.IsZero():
		text += ", taken " + stamp(a.Confirmed)
	case a.Failed != "":
		text += fmt.Sprintf(", not told yet after %d tries: %s", a.Tries, a.Failed)
	default:
		text += ", not told yet"
	}
	if a.Reason != "" {
		text += fmt.Sprintf(" (%s: %s)", a.Reason, a.Text)
	}
	fmt.Fprintf(w, "  %-13s %s; due %s\n", what, text, stamp(a.Due))
}

// proofLine prints one of the proofs, with its distance from the start.
func proofLine(w io.Writer, what string, at, start time.Time) {
	if at.IsZero() {
		fmt.Fprintf(w, "  %-13s not yet\n", what)
		return
	}
	after := ""
	if !start.IsZero() {
		after = fmt.Sprintf("  (%+v from the start)", at.Sub(start).Round(time.Millisecond))
	}
	fmt.Fprintf(w, "  %-13s %s%s\n", what, fine(at), after)
}
