package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"flexd/agent/clock"
	"flexd/agent/flex"
	"flexd/agent/local"
)

func statusCommand() command {
	return command{
		name: "status", short: "show the site at a glance",
		long: `Shows alerts, holds, devices with their power, target and proof, and the
links to market and fleet. Positive power is towards the grid.

Example:
  flexd status
  flexd status --json | jq .devices`,
		run: func(ctx context.Context, o *options) error {
			if err := o.none(); err != nil {
				return err
			}
			st, err := o.agent().Status(ctx)
			if err != nil {
				return err
			}
			return o.print(st, func(w io.Writer) { statusText(w, st) })
		},
	}
}

func statusText(w io.Writer, st local.Status) {
	state := "ready"
	if !st.Ready {
		state = "starting"
	}
	fmt.Fprintf(w, "site %s  %s  %s  up %s\n", st.Site, st.Version, state, st.At.Sub(st.Started).Round(time.Second))
	fmt.Fprintf(w, "configuration %s\n", st.Config)
	fmt.Fprintf(w, "clock %s: %s\n", st.Clock, st.Time.Why)
	for _, a := range st.Alerts {
		good := ""
		if !a.GoodSince.IsZero() {
			good = ", good again since " + stamp(a.GoodSince) + ": cleared when it stays so"
		}
		fmt.Fprintf(w, "%-8s %s: %s (since %s%s)\n", strings.ToUpper(string(a.Severity)), subject(a.Code, a.Subject), a.Text, stamp(a.Since), good)
	}
	for _, h := range st.Holds {
		what := "all devices"
		if h.Asset != "" {
			what = "asset " + string(h.Asset)
		}
		fmt.Fprintf(w, "HOLD     %s held by %s since %s %s\n", what, h.By, stamp(h.At.At), h.Reason)
	}
	flightsText(w, st.Preflight)
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "DEVICE\tROLE\tSTATE\tPOWER\tSoC\tTARGET\tPROOF\tMODEL")
	for _, d := range st.Devices {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.Role, deviceState(d), powerOf(d), soc(d.Reading),
			target(d.Target), proof(d), strings.TrimSpace(d.Plate.Manufacturer+" "+d.Plate.Model))
	}
	_ = tw.Flush()
	loopText(w, st.Assets)
	fmt.Fprintln(w)
	for _, l := range st.Links {
		mark := "ok "
		if !l.OK {
			mark = "BAD"
		}
		fmt.Fprintf(w, "%s %-10s %s\n", mark, l.Name, l.Text)
	}
	for _, e := range st.Endpoints {
		mark := "ok "
		if !e.Connected {
			mark = "BAD"
		}
		fmt.Fprintf(w, "%s %-21s %d requests of %s, %d reconnects%s\n", mark, e.Address, e.Requests, e.Latency, e.Reconnects, errorsText(e))
		for _, u := range e.Units {
			if u.Failures > 0 {
				fmt.Fprintf(w, "      unit %-3d            %d of %d requests without an answer, the last at %s: %s%s\n", u.Unit, u.Failures, u.Requests,
					stamp(u.LastErrorAt), shorten(u.LastError, 80), retryText(u.RetryAt, st.At))
			}
		}
	}
	for _, s := range st.Time.Servers {
		timeText(w, s, st.Time.By)
	}
	filesText(w, st.Files)
	for _, d := range st.Devices {
		troubleText(w, d)
	}
}

// filesText shows what the data folder takes, and at what pace it is written.
func filesText(w io.Writer, files []local.File) {
	megabytes := func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "FILE\tSIZE\tWRITTEN\tA DAY\t")
	total := local.File{Name: "together"}
	for _, f := range append(files, total) {
		if f.Name == total.Name {
			f = total
		}
		perDay := "-"
		if f.PerDay > 0 {
			perDay = megabytes(f.PerDay)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t\n", f.Name, megabytes(f.Size), megabytes(f.Written), perDay)
		total.Size, total.Written, total.PerDay = total.Size+f.Size, total.Written+f.Written, total.PerDay+f.PerDay
	}
	_ = tw.Flush()
}

// timeText is one time server: what it says, and whether it is of the majority.
func timeText(w io.Writer, s clock.ServerStatus, by []string) {
	switch {
	case s.Error != "":
		fmt.Fprintf(w, "BAD time %s: %s (%s)\n", s.Name, s.Error, stamp(s.AskedAt))
	case s.OffsetMS == nil:
		fmt.Fprintf(w, "... time %s is being asked\n", s.Name)
	case !slices.Contains(by, s.Name):
		fmt.Fprintf(w, "BAD time %s: %+d ms from the clock here, and not of a majority (%s)\n", s.Name, *s.OffsetMS, stamp(s.AskedAt))
	default:
		fmt.Fprintf(w, "ok  time %s: %+d ms from the clock here, answered in %d ms, stratum %d (%s)\n", s.Name, *s.OffsetMS, s.DelayMS, s.Stratum, stamp(s.AskedAt))
	}
}

// errorsText counts the errors of an endpoint by their kind.
func errorsText(e local.Endpoint) string {
	out := ""
	for _, k := range []struct {
		n    uint64
		what string
	}{{e.Timeouts, "timeouts"}, {e.Exceptions, "exceptions"}, {e.Protocol, "broken answers"}, {e.Lost, "lost connections"}} {
		if k.n > 0 {
			out += fmt.Sprintf(", %d %s", k.n, k.what)
		}
	}
	if e.LastError != "" {
		out += fmt.Sprintf("; last error at %s: %s", stamp(e.LastErrorAt), shorten(e.LastError, 80))
	}
	return out
}

func retryText(at, now time.Time) string {
	if !at.After(now) {
		return ""
	}
	return fmt.Sprintf("; tried again in %s", at.Sub(now).Round(100*time.Millisecond))
}

// troubleText tells who else writes to a device, and how it wears.
func troubleText(w io.Writer, d flex.DeviceStatus) {
	if i := d.Interference; i != nil {
		fmt.Fprintf(w, "%s: changed by others at %s (%s): %s; policy %s", d.ID, stamp(i.At), i.Cause, i.Text, i.Policy)
		if !i.Until.IsZero() {
			fmt.Fprintf(w, ", left to them until %s", stamp(i.Until))
		}
		if i.HandsOff {
			fmt.Fprint(w, ", left to them")
		}
		fmt.Fprintln(w)
	}
	if e := d.Day; e != nil {
		fmt.Fprintf(w, "%s: discharged %.1f kWh today", d.ID, float64(e.Discharged)/1000)
		if e.Left != nil {
			fmt.Fprintf(w, ", its owner allows %.1f kWh more", float64(*e.Left)/1000)
		}
		fmt.Fprintln(w)
	}
	for _, n := range d.Wear {
		fmt.Fprintf(w, "%s: register %s was written %d times today, %d are allowed\n", d.ID, n.Register, n.N, n.Limit)
	}
}

// loopText tells of the assets that are held by their meters now.
func loopText(w io.Writer, assets []local.Asset) {
	for _, a := range assets {
		if a.Loop == nil {
			continue
		}
		shown := "lost"
		if a.Loop.Meter != nil {
			shown = a.Loop.Meter.String()
		}
		fmt.Fprintf(w, "asset %s is held by its meter: wanted %s, shown %s; asked of its devices %s, not controlled %s\n",
			a.ID, a.Loop.Wanted, shown, a.Loop.Asked, a.Loop.Rest)
	}
}

func subject(code, subject string) string {
	if subject == "" {
		return code
	}
	return code + " " + subject
}

func deviceState(d flex.DeviceStatus) string {
	switch {
	case !d.Online && d.Error != "":
		return "offline: " + shorten(d.Error, 60)
	case !d.Online:
		return "offline"
	case d.ReleaseOwed:
		return "release owed"
	case d.Held:
		return "controlled"
	case d.Reading != nil && d.Reading.Status != "":
		return d.Reading.Status
	}
	return "free"
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

func power(r *flex.Reading) string {
	if r == nil || r.Power == nil {
		return "-"
	}
	return r.Power.String()
}

// stale is from when on a power is told with its age.
const stale = 10 * time.Second

// powerOf is the device's last power; with its age where it is not of now.
func powerOf(d flex.DeviceStatus) string {
	if d.Reading == nil || d.Reading.Power == nil {
		return "-"
	}
	age := d.ReadingAge.Duration()
	if d.Online && age < stale {
		return d.Reading.Power.String()
	}
	return fmt.Sprintf("was %s %s ago", d.Reading.Power, age.Round(time.Second))
}

func soc(r *flex.Reading) string {
	if r == nil || r.SoC == nil {
		return "-"
	}
	return r.SoC.String()
}

func target(t flex.Target) string {
	switch t.Order {
	case flex.OrderSet:
		return t.Power.String()
	case flex.OrderCap:
		return "≤ " + t.Power.String()
	case flex.OrderNone:
	}
	return "-"
}

// proof names the strongest of the three words that holds.
func proof(d flex.DeviceStatus) string {
	switch {
	case d.Target.Observe:
		return "observing"
	case !d.Proof.DeliverAt.IsZero():
		return "delivered"
	case !d.Proof.ActingAt.IsZero():
		return "acting"
	case !d.Proof.EchoAt.IsZero():
		return "echo"
	}
	return "-"
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02 15:04:05 MST")
}

// fine is an instant with its milliseconds, of a day that is told beside it.
func fine(t time.Time) string { return t.Format("15:04:05.000 MST") }

// during is a window in the zone of its times.
func during(w flex.Window) string {
	if w.Open() {
		return stamp(w.Start) + " until stopped"
	}
	end := stamp(w.End)
	if w.Start.Format(time.DateOnly+"MST") == w.End.Format(time.DateOnly+"MST") {
		end = w.End.Format("15:04:05")
		return w.Start.Format("2006-01-02 15:04:05") + " to " + end + w.End.Format(" MST")
	}
	return stamp(w.Start) + " to " + end
}
