package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"text/tabwriter"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/drivers"
)

func deviceCommand() command {
	return command{
		name: "device", args: "list | probe ID | read ID ADDRESS [COUNT]", short: "look at the site's devices",
		long: `list shows the configured devices; probe identifies one (model chain, rating,
how it is controlled); read prints raw registers at a wire address (counted
from 0). They ask the running agent, which owns the only connection. With
--address the device is asked directly: use that before flexd runs.

Examples:
  flexd device list
  flexd device probe bat1
  flexd device read bat1 40000 4
  flexd device probe --address 192.168.10.22:502 --unit 1`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.address, "address", "", "ask this `host:port` directly, without the agent")
			fs.IntVar(&o.unit, "unit", 1, "Modbus unit id, with --address (`number`)")
			fs.IntVar(&o.function, "fn", 3, "function code for read: 3 holding, 4 input (`number`)")
		},
		run: device,
	}
}

func device(ctx context.Context, o *options) error {
	if len(o.args) == 0 {
		return usage("needs a verb: list, probe or read")
	}
	verb, rest := o.args[0], o.args[1:]
	if o.unit < 1 || o.unit > 255 {
		return usage("--unit goes from 1 to 255")
	}
	if o.function != 3 && o.function != 4 {
		return usage("--fn is 3 or 4")
	}
	if o.address == "" && verb != "list" {
		if len(rest) == 0 {
			return usage("device %s needs a device id, or --address", verb)
		}
	} else {
		rest = append([]string{""}, rest...)
	}
	switch verb {
	case "list":
		return deviceList(ctx, o)
	case "probe":
		return deviceProbe(ctx, o, flex.DeviceID(rest[0]))
	case "read":
		return deviceRead(ctx, o, flex.DeviceID(rest[0]), rest[1:])
	}
	return usage("there is no verb %q: use list, probe or read", verb)
}

func deviceList(ctx context.Context, o *options) error {
	st, err := local.Dial(o.socket).Status(ctx)
	if err != nil {
		return err
	}
	return o.print(st.Devices, func(w io.Writer) {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "DEVICE\tROLE\tADDRESS\tUNIT\tSTATE\tPOWER\tSoC\tMODEL")
		for _, d := range st.Devices {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s %s\n", d.ID, d.Role, d.Endpoint, d.Unit, deviceState(d), power(d.Reading), soc(d.Reading), d.Plate.Manufacturer, d.Plate.Model)
		}
		_ = tw.Flush()
	})
}

// directLimit bounds a direct conversation with a device.
const directLimit = 30 * time.Second

func deviceProbe(ctx context.Context, o *options, id flex.DeviceID) error {
	var found local.Probe
	if o.address == "" {
		p, err := local.Dial(o.socket).Probe(ctx, id)
		if err != nil {
			return err
		}
		found = p
	} else {
		ctx, cancel := context.WithTimeout(ctx, directLimit)
		defer cancel()
		p, err := drivers.Probe(ctx, o.address, uint8(o.unit), slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		found = local.Probe{Address: o.address, Unit: uint8(o.unit), Plate: p.Plate, Reading: p.Reading}
	}
	return o.print(found, func(w io.Writer) { probeText(w, found) })
}

func probeText(w io.Writer, p local.Probe) {
	n := p.Plate
	fmt.Fprintf(w, "%s %s  firmware %s  serial %s  at %s unit %d\n", n.Manufacturer, n.Model, orDash(n.Firmware), orDash(n.Serial), p.Address, p.Unit)
	fmt.Fprintf(w, "  role %s  rating %s  charge %s  discharge %s\n", orDash(string(n.Role)), n.MaxPower, n.MaxCharge, n.MaxDischarge)
	fmt.Fprintf(w, "  control: %s  can: %s  step %s  falls back by itself: %v\n", orDash(n.Method), ids(n.Can), n.Step, n.Revert)
	for _, line := range n.Detail {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if p.Reading != nil {
		fmt.Fprintf(w, "  now: %s  SoC %s  %s\n", power(p.Reading), soc(p.Reading), p.Reading.Status)
	}
}

func deviceRead(ctx context.Context, o *options, id flex.DeviceID, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return usage("device read needs a wire address and at most a count")
	}
	addr, err := strconv.ParseUint(args[0], 0, 16)
	if err != nil {
		return usage("%q is not a wire address from 0 to 65535", args[0])
	}
	count := uint64(1)
	if len(args) == 2 {
		if count, err = strconv.ParseUint(args[1], 10, 8); err != nil || count < 1 || count > 125 {
			return usage("%q is not a count from 1 to 125", args[1])
		}
	}
	if addr+count > 65536 {
		return usage("%d registers from %d go past 65535", count, addr)
	}
	words, err := readWords(ctx, o, id, uint16(addr), uint16(count))
	if err != nil {
		return err
	}
	return o.print(words, func(w io.Writer) {
		for i, v := range words {
			fmt.Fprintf(w, "%5d  0x%04X  %5d  %6d\n", int(addr)+i, v, v, int16(v))
		}
	})
}

func readWords(ctx context.Context, o *options, id flex.DeviceID, addr, count uint16) ([]uint16, error) {
	if o.address == "" {
		return local.Dial(o.socket).Registers(ctx, id, byte(o.function), addr, count)
	}
	ctx, cancel := context.WithTimeout(ctx, directLimit)
	defer cancel()
	return drivers.ReadRaw(ctx, o.address, uint8(o.unit), byte(o.function), addr, count)
}
