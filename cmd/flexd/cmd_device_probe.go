package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/drivers"
)

// probeLimit bounds a probe: mostly waiting for what times out.
const probeLimit = 2 * time.Minute

// taken are the addresses of the running agent's devices: they belong to it.
// Without a running agent there are none.
func taken(ctx context.Context, o *options) ([]string, error) {
	st, err := o.agent().Status(ctx)
	if errors.Is(err, local.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot learn which devices the agent has open: %w", err)
	}
	var out []string
	for _, d := range st.Devices {
		out = append(out, d.Endpoint)
	}
	return out, nil
}

// free refuses an address that the running agent has open: a second connection
// makes some devices drop the first.
func free(ctx context.Context, o *options, address string) error {
	own, err := taken(ctx, o)
	if err != nil {
		return err
	}
	if drivers.SameHosts(ctx, own)(address) {
		return flex.Refuse(flex.ReasonOverlap, "%s belongs to a configured device and flexd runs: ask by the device's id, or stop flexd", address)
	}
	return nil
}

func deviceProbe(ctx context.Context, o *options, b *bench, id flex.DeviceID, _ []string) error {
	if o.address == "" {
		p, err := o.agent().Probe(ctx, id)
		if err != nil {
			return err
		}
		return o.print(p, func(w io.Writer) {
			plateText(w, p.Plate, p.Address, p.Unit)
			readingText(w, p.Reading)
			lineText(ctx, w, o, p.Address)
		})
	}
	if err := free(ctx, o, o.address); err != nil {
		return err
	}
	c := drivers.ProbeConfig{Address: o.address, Timeout: b.timeout, Measure: !b.quick}
	if o.unit >= 0 {
		c.Units = []uint8{uint8(o.unit)}
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	p, err := drivers.Probe(ctx, c)
	if err != nil {
		return err
	}
	if err := o.print(p, func(w io.Writer) { probeText(w, p) }); err != nil {
		return err
	}
	if p.Problem != "" {
		return fmt.Errorf("%s unit %d is not identified", p.Address, p.Unit)
	}
	return nil
}

// lineText tells what the running agent has seen of the device's line. Trying
// out its quirks would need a second connection, or would disturb control.
func lineText(ctx context.Context, w io.Writer, o *options, address string) {
	st, err := o.agent().Status(ctx)
	if err != nil {
		return
	}
	for _, e := range st.Endpoints {
		if e.Address == address {
			fmt.Fprintf(w, "  its line: %d requests, answers in %s, %d reconnects%s\n", e.Requests, e.Latency, e.Reconnects, errorsText(e))
		}
	}
	fmt.Fprintf(w, "  quirks (gap, timeout, connections at once) are tried out while flexd is stopped: flexd device probe --address %s\n", address)
}

func probeText(w io.Writer, p drivers.ProbeResult) {
	if p.Problem != "" {
		fmt.Fprintf(w, "%s unit %d: %s\n", p.Address, p.Unit, p.Problem)
	} else {
		plateText(w, p.Plate, p.Address, p.Unit)
	}
	if len(p.Models) > 0 {
		var chain []string
		for _, m := range p.Models {
			chain = append(chain, fmt.Sprintf("%d@%d", m.ID, m.Addr))
		}
		fmt.Fprintf(w, "  chain from %d: %s\n", p.Base, strings.Join(chain, " "))
	}
	for _, m := range p.Maps {
		fmt.Fprintf(w, "  fits the register map %s (%s, %s)\n", m.Map, m.Title, m.Status)
		if m.Question != "" {
			fmt.Fprintf(w, "    what decides: %s\n", m.Question)
		}
	}
	readingText(w, p.Reading)
	if q := p.Quirks; q != nil {
		fmt.Fprintf(w, "  answers in %d ms, at most %d ms; a timeout of %d ms fits\n", q.LatencyMS, q.SlowestMS, q.Timeout)
		gap := fmt.Sprintf("smallest gap that works: %d ms", q.GapMS)
		if q.GapMS < 0 {
			gap = "no gap up to 500 ms works"
		}
		fmt.Fprintf(w, "  %s; registers in one read: %d%s\n", gap, q.MaxRead, orMore(q.AtLeast))
		fmt.Fprintf(w, "  connections at once: %d%s; a register that is not there: %s\n", q.Lines, orMore(q.AtMost), q.Illegal)
		if q.Lines == 1 {
			fmt.Fprintln(w, "  it serves one connection: nothing else may be connected while flexd runs")
		}
	}
	if p.Unmeasured != "" {
		fmt.Fprintf(w, "  how it behaves is not measured: %s\n", p.Unmeasured)
	}
	if len(p.Settings) > 0 {
		fmt.Fprintf(w, "  for its configuration: %s\n", strings.Join(p.Settings, ", "))
	}
}

func orMore(more bool) string {
	if more {
		return " or more"
	}
	return ""
}

func plateText(w io.Writer, n flex.Nameplate, address string, unit uint8) {
	fmt.Fprintf(w, "%s %s  firmware %s  serial %s  at %s unit %d\n", n.Manufacturer, n.Model, orDash(n.Firmware), orDash(n.Serial), address, unit)
	fmt.Fprintf(w, "  role %s  rating %s  charge %s  discharge %s\n", orDash(string(n.Role)), rated(n.MaxPower), rated(n.MaxCharge), rated(n.MaxDischarge))
	fmt.Fprintf(w, "  control: %s  can: %s  step %s  falls back by itself: %v\n", orDash(n.Method), ids(n.Can), n.Step, n.Revert)
	for _, line := range n.Detail {
		fmt.Fprintf(w, "  %s\n", line)
	}
}

// rated shows a rating that the device does not state as that.
func rated(w flex.Watts) string {
	if w == 0 {
		return "-"
	}
	return w.String()
}

func readingText(w io.Writer, r *flex.Reading) {
	if r != nil {
		fmt.Fprintf(w, "  now: %s  SoC %s  %s\n", power(r), soc(r), r.Status)
	}
}
