package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"flexd/agent/flex"
	"flexd/drivers"
)

func deviceScan(ctx context.Context, o *options, b *bench, _ flex.DeviceID, args []string) error {
	if len(args) == 0 {
		return usage("device scan needs a block of addresses or hosts, as in 192.168.10.0/24")
	}
	if b.port < 0 || b.port > 65535 {
		return usage("--port goes from 1 to 65535")
	}
	if b.parallel < 1 || b.parallel > 32 {
		return usage("--parallel goes from 1 to 32: more is not polite")
	}
	known, ports := drivers.KnownMaps(b.maps, slog.New(slog.NewTextHandler(o.err, nil)))
	if b.port > 0 {
		ports = []int{b.port}
	}
	targets, err := drivers.ScanTargets(args, ports...)
	if err != nil {
		return usage("%v", err)
	}
	units, err := unitIDs(b.units)
	if err != nil {
		return err
	}
	own, err := taken(ctx, o)
	if err != nil {
		return err
	}
	res, err := drivers.Scan(ctx, drivers.ScanConfig{Targets: targets, Units: units, Parallel: b.parallel, Timeout: b.timeout,
		Taken: drivers.SameHosts(ctx, own), Maps: known,
		Progress: func(p drivers.ScanProgress) { scanProgress(o.err, b.terminal(), p) }})
	if b.terminal() {
		control(o.err, "\r\x1b[K")
	}
	if end := o.print(res, func(w io.Writer) { scanText(w, res) }); end != nil {
		return end
	}
	if err != nil {
		return fmt.Errorf("the scan was ended: %w", err)
	}
	return nil
}

// unitIDs reads a list of unit ids; empty is the default.
func unitIDs(list string) ([]uint8, error) {
	if list == "" {
		return nil, nil
	}
	var out []uint8
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 8)
		if err != nil {
			return nil, usage("--units: %q is not a unit id from 0 to 255", s)
		}
		out = append(out, uint8(n))
	}
	return out, nil
}

// scanProgress shows how far it is: one line that changes on a terminal, else
// only what was found.
func scanProgress(w io.Writer, terminal bool, p drivers.ScanProgress) {
	if terminal {
		control(w, "\r\x1b[K")
		fmt.Fprintf(w, "%d of %d  %s", p.Done, p.All, p.Address)
	}
	for _, f := range p.Found {
		if terminal {
			control(w, "\r\x1b[K")
		}
		fmt.Fprintf(w, "found %s unit %d: %s\n", f.Address, f.Unit, foundWhat(f))
	}
}

func foundWhat(f drivers.Found) string {
	switch {
	case f.Plate != nil && f.Plate.Manufacturer+f.Plate.Model != "":
		return strings.TrimSpace(f.Plate.Manufacturer + " " + f.Plate.Model)
	case f.Driver != "":
		return f.Driver + ", " + f.Problem
	case f.Problem != "":
		return f.Problem
	}
	return "speaks Modbus, not known"
}

func scanText(w io.Writer, res drivers.ScanResult) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(res.Found) > 0 {
		fmt.Fprintln(tw, "ADDRESS\tUNIT\tDRIVER\tWHAT\tSERIAL\tMAPS")
	}
	for _, f := range res.Found {
		serial := ""
		if f.Plate != nil {
			serial = f.Plate.Serial
		}
		var maps []string
		for _, m := range f.Maps {
			maps = append(maps, m.Map)
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\n", f.Address, f.Unit, orDash(f.Driver), foundWhat(f), orDash(serial), orDash(strings.Join(maps, ", ")))
	}
	_ = tw.Flush()
	for _, f := range res.Found {
		for _, m := range f.Maps {
			if m.Question != "" {
				fmt.Fprintf(w, "%s unit %d, is it %s: %s\n", f.Address, f.Unit, m.Map, m.Question)
			}
		}
	}
	if slices.ContainsFunc(res.Found, func(f drivers.Found) bool { return f.Driver == "" && len(f.Maps) == 0 }) {
		fmt.Fprintln(w, "what is not known may be a device that does not name itself: see `flexd map list`, and name its map in the configuration")
	}
	fmt.Fprintf(w, "%d addresses asked, nobody listens at %d", res.Asked, res.Closed)
	if len(res.Skipped) > 0 {
		fmt.Fprintf(w, "; left alone because the running agent has them open: %s", strings.Join(res.Skipped, ", "))
	}
	fmt.Fprintln(w)
}
