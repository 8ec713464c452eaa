package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"flexd/agent"
	"flexd/agent/config"
	"flexd/agent/piclo"
	"flexd/drivers/regmap"
)

func checkCommand() command {
	return command{
		name: "check", args: "[FILE]", short: "check a configuration and say what to subscribe", noAgent: true,
		long: `Reads a configuration, reports every problem with file, line, column and
remedy, and tells which webhook address and event to subscribe at the market.
It builds all that a start builds, and
looks at what the file points at as well: keys and certificates with their
dates, folders, host names. It connects to nothing and changes nothing. Exit
code 78 when the file is unusable, 1 when what it points at is proven wrong.

Example:
  flexd check /etc/flexd/flexd.yaml`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.config, "config", config.DefaultPath, "the configuration `file`")
		},
		run: check,
	}
}

// report is what `check` prints.
type report struct {
	File      string          `json:"file"`
	OK        bool            `json:"ok"`
	Problems  config.Problems `json:"problems,omitempty"`
	Site      string          `json:"site,omitempty"`
	Devices   int             `json:"devices,omitempty"`
	Assets    int             `json:"assets,omitempty"`
	Subscribe *subscription   `json:"subscribe,omitempty"`
	Notes     []string        `json:"notes,omitempty"`
	Findings  []agent.Finding `json:"findings,omitempty"`
}

// subscription is what a person enters at the market.
type subscription struct {
	URL   string `json:"url"`
	Event string `json:"event"`
}

func check(ctx context.Context, o *options) error {
	if len(o.args) > 1 {
		return usage("takes one file at most")
	}
	if len(o.args) == 1 {
		o.config = o.args[0]
	}
	rep := report{File: o.config}
	c, err := config.Load(o.config)
	if !errors.As(err, &rep.Problems) && err != nil {
		return &configError{err}
	}
	if err == nil {
		if err = describe(&rep, c); err != nil {
			return &configError{err}
		}
		rep.Findings = agent.Inspect(ctx, c, time.Now())
	}
	if o.json || err == nil {
		if perr := o.print(rep, rep.text); perr != nil {
			return perr
		}
	}
	if err != nil {
		return &configError{err}
	}
	if n := len(slices.DeleteFunc(rep.Findings, func(f agent.Finding) bool { return !f.Broken })); n > 0 {
		return fmt.Errorf("the file is good, but %d of what it points at is wrong", n)
	}
	return nil
}

// describe fills what is worth knowing of a good configuration.
func describe(rep *report, c *config.Config) error {
	profile, err := piclo.LoadProfile(c.Market.Profile)
	if err != nil {
		return err
	}
	if err := agent.Fits(c); err != nil {
		return err
	}
	rep.OK, rep.Site, rep.Devices, rep.Assets = true, string(c.Site.ID), len(c.Devices), len(c.Assets)
	if c.Ingress.Webhook != nil {
		rep.Subscribe = &subscription{URL: publicURL(c.Ingress.Webhook), Event: profile.WebhookEvent()}
	} else {
		rep.Notes = append(rep.Notes, fmt.Sprintf("no webhook door: instructions are found by polling every %v", c.Market.Poll))
	}
	if c.MQTT == nil {
		rep.Notes = append(rep.Notes, "no mqtt section: the fleet will not hear of this site")
	}
	if c.Site.Meter == "" {
		rep.Notes = append(rep.Notes, "no site meter: import and export limits are kept without credit for load")
	}
	rep.Notes = append(rep.Notes, mapNotes(c)...)
	for _, a := range c.Assets {
		if a.Control == "observe" {
			rep.Notes = append(rep.Notes, fmt.Sprintf("asset %s is in control: observe: nothing will be written", a.MarketID))
		}
	}
	for _, a := range c.Assets {
		rep.Notes = append(rep.Notes, baselineNotes(a)...)
	}
	if len(c.Assets) == 0 {
		rep.Notes = append(rep.Notes, "no assets: every instruction will be somebody else's")
	}
	return nil
}

// mapNotes tells what is not sure of a device's register map, and what the
// device goes on with if flexd is gone for good.
func mapNotes(c *config.Config) (notes []string) {
	for _, d := range c.Devices {
		m, err := regmap.Load(d.Map, c.Maps)
		if d.Map == "" || err != nil { // what is wrong with it is a finding
			continue
		}
		if n := len(m.Doubts()); n > 0 {
			notes = append(notes, fmt.Sprintf("device %s: %d of its register map %s is doubtful, `flexd map show %s` says what", d.ID, n, d.Map, d.Map))
		}
		for _, gone := range m.Gone() {
			notes = append(notes, fmt.Sprintf("device %s: if flexd is gone, %s", d.ID, gone))
		}
	}
	return notes
}

// baselineNotes tells what an asset's baseline needs before it can be computed.
func baselineNotes(a config.Asset) []string {
	b := a.Baseline
	if b == nil {
		return nil
	}
	needs := ""
	switch b.Method {
	case "nominated":
		needs = "`flexd baseline set` before each notice"
	case "recent":
		needs = fmt.Sprintf("%v measured without a dispatch before the notice", b.Span/2)
	case "10-of-10":
		needs = fmt.Sprintf("%d working days, and %d weekend days or holidays, measured without a dispatch", (b.Days+1)/2, (b.RestDays+1)/2)
	default:
		return nil
	}
	without := "the instruction is refused"
	if b.Fallback != "refuse" {
		without = b.Fallback + " is taken, with an alarm"
	}
	notes := []string{fmt.Sprintf("asset %s: the baseline by %s needs %s; else %s", a.MarketID, b.Method, needs, without)}
	if a.Meter == "" && b.Method != "nominated" {
		notes = append(notes, fmt.Sprintf("asset %s has no meter: its baseline is that of its devices together", a.MarketID))
	}
	return notes
}

// publicURL is how the market reaches the door: as configured, or a pattern
// to complete.
func publicURL(w *config.Webhook) string {
	if w.PublicURL != "" {
		return w.PublicURL
	}
	port := w.Listen[strings.LastIndex(w.Listen, ":"):]
	if w.Plain {
		port = ""
	}
	return "https://THIS-SITES-PUBLIC-NAME" + port + w.Path
}

func (rep report) text(w io.Writer) {
	fmt.Fprintf(w, "%s is good: site %s, %d devices, %d assets\n", rep.File, rep.Site, rep.Devices, rep.Assets)
	if s := rep.Subscribe; s != nil {
		fmt.Fprintf(w, "at the market, subscribe this address to the event %s:\n  %s\n", s.Event, s.URL)
		if strings.Contains(s.URL, "THIS-SITES") {
			fmt.Fprintln(w, "  (set ingress.webhook.public_url and the address is shown complete)")
		}
	}
	for _, f := range rep.Findings {
		grade, file := "warning", ""
		if f.Broken {
			grade = "PROBLEM"
		}
		if f.File != "" {
			file = " " + f.File
		}
		fmt.Fprintf(w, "%s: %s:%s %s; %s\n", grade, f.Path, file, f.What, f.Remedy)
	}
	for _, n := range rep.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}
