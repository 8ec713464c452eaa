package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
)

// bench are the flags of the technician's verbs alone.
type bench struct {
	in       io.Reader // where consent is read from
	terminal func() bool
	yes      bool
	quick    bool
	units    string
	timeout  time.Duration
	port     int
	parallel int
	maps     string
	every    time.Duration
	count    int
	undo     bool
	show     bool
	percent  int
	seconds  int
	revert   bool
}

func deviceCommand() command {
	b := &bench{in: os.Stdin, terminal: onTerminal}
	return command{
		name: "device", args: "VERB [ID] …", short: "find, look at, write to and commission devices",
		long: `  list                          the configured devices
  scan CIDR|HOST …              look for devices in a subnet, at most a /22
  probe ID                      identify one: model chain, rating, control
  read ID ADDRESS [COUNT]       raw registers at a wire address (counted from 0)
  watch [ID] [ADDRESS [COUNT]]  a live table, once a second, until Ctrl-C
  write ID ADDRESS VALUE …      write registers by hand; shows old and new, asks
  write ID --undo               take the latest write by hand back
  resume ID                     control it again after it did the contrary of
                                what it was told
  commission ID                 nudge it by 5 % of its rating for a minute each
                                way, judge it by the meter, and sign the result
  commission ID --show          the record, its signature verified

They ask the running agent, which owns the only connection to each device;
scan, and probe and read with --address, open connections of their own and
leave configured devices alone while the agent runs. probe --address tries the
usual unit ids, says which settings the device needs, and measures its quirks:
answer times, smallest gap, registers in a read, connections at once. It only
reads, and fails where nothing is identified.

write is refused while the device is under control or held, and for registers
that flexd controls. A negative number is written as its two's complement:
-500 is 0xFE0C. commission is refused while a dispatch runs or is near, and
ends in a release, after Ctrl-C too.

Examples:
  flexd device list
  flexd device scan 192.168.10.0/24
  flexd device probe --address 192.168.10.22:502 --unit 1
  flexd device read bat1 40000 4
  flexd device watch bat1
  flexd device write bat1 40233 0 --fn 6
  flexd device commission bat1 --revert`,
		flags: b.flags,
		run:   func(ctx context.Context, o *options) error { return device(ctx, o, b) },
	}
}

func (b *bench) flags(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.address, "address", "", "probe, read: ask this `host:port` directly, without the agent")
	fs.IntVar(&o.unit, "unit", -1, "Modbus unit id, with --address (`number`; default 1, and probe tries the usual ones)")
	fs.IntVar(&o.function, "fn", 0, "function code (`number`): 3 holding or 4 input to read (default 3), 6 or 16 to write (default 16)")
	fs.BoolVar(&b.yes, "yes", false, "write, commission: do not ask")
	fs.BoolVar(&b.quick, "quick", false, "probe --address: do not measure quirks")
	fs.StringVar(&b.units, "units", "", "scan: unit ids to ask (`list`; default 1,2,3,71,100,126,247,255,0)")
	fs.DurationVar(&b.timeout, "timeout", 0, "probe --address, scan: for a connect and for an answer (`duration`; default 2s, scan 1s)")
	fs.IntVar(&b.port, "port", 0, "scan: TCP port where the target names none (`number`) (default 502 and those of the maps)")
	fs.IntVar(&b.parallel, "parallel", 32, "scan: hosts at once, at most 32 (`number`)")
	fs.StringVar(&b.maps, "maps", "", "scan: `folder` with register maps of your own")
	fs.DurationVar(&b.every, "every", time.Second, "watch: pause between two looks (`duration`)")
	fs.IntVar(&b.count, "count", 0, "watch: end after so many looks (`number`; default never)")
	fs.BoolVar(&b.undo, "undo", false, "write: take the latest write by hand back")
	fs.BoolVar(&b.show, "show", false, "commission: show the stored record")
	fs.IntVar(&b.percent, "percent", 0, "commission: size of a nudge, % of the rating (`number`; default 5)")
	fs.IntVar(&b.seconds, "seconds", 0, "commission: length of a nudge (`number`; default 60)")
	fs.BoolVar(&b.revert, "revert", false, "commission: stop the refresh and wait for the fall-back as well")
}

// verb is one of the device verbs. direct ones may go without the agent.
type verb struct {
	direct bool
	needs  int // arguments at least, the device id among them
	most   int
	codes  []int // function codes, the default first
	run    func(ctx context.Context, o *options, b *bench, id flex.DeviceID, args []string) error
}

func verbs() map[string]verb {
	reads, writes := []int{3, 4}, []int{16, 6}
	return map[string]verb{
		"list": {run: func(ctx context.Context, o *options, _ *bench, _ flex.DeviceID, _ []string) error {
			return deviceList(ctx, o)
		}},
		"scan":       {most: 1024, run: deviceScan},
		"probe":      {direct: true, needs: 1, most: 1, run: deviceProbe},
		"read":       {direct: true, needs: 1, most: 3, codes: reads, run: deviceRead},
		"watch":      {most: 3, codes: reads, run: deviceWatch},
		"write":      {needs: 1, most: 125, codes: writes, run: deviceWrite},
		"resume":     {needs: 1, most: 1, run: deviceResume},
		"commission": {needs: 1, most: 1, run: deviceCommission},
	}
}

const verbNames = "list, scan, probe, read, watch, write or commission"

func device(ctx context.Context, o *options, b *bench) error {
	if len(o.args) == 0 {
		return usage("needs a verb: %s", verbNames)
	}
	name, args := o.args[0], o.args[1:]
	v, ok := verbs()[name]
	if !ok {
		return usage("there is no verb %q: use %s", name, verbNames)
	}
	if o.unit < -1 || o.unit > 255 {
		return usage("--unit goes from 0 to 255")
	}
	if b.timeout < 0 || b.timeout > mostTimeout {
		return usage("--timeout is a duration such as 2s, and at most %v", mostTimeout)
	}
	if o.function == 0 && len(v.codes) > 0 {
		o.function = v.codes[0]
	}
	if o.function != 0 && !slices.Contains(v.codes, o.function) {
		return usage("--fn %d does not fit device %s", o.function, name)
	}
	if o.address != "" && !v.direct {
		return usage("device %s goes through the agent: --address is for probe and read", name)
	}
	if o.address != "" || name == "scan" {
		args = append([]string{""}, args...)
	}
	if len(args) < v.needs {
		return usage("device %s needs a device id", name)
	}
	if len(args) > max(v.most, 0) && name != "scan" {
		return usage("device %s takes at most %d arguments", name, v.most)
	}
	var id flex.DeviceID
	if len(args) > 0 {
		id, args = flex.DeviceID(args[0]), args[1:]
	}
	return v.run(ctx, o, b, id, args)
}

func deviceList(ctx context.Context, o *options) error {
	st, err := o.agent().Status(ctx)
	if err != nil {
		return err
	}
	return o.print(st.Devices, func(w io.Writer) {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "DEVICE\tROLE\tADDRESS\tUNIT\tSTATE\tPOWER\tSoC\tMODEL")
		for _, d := range st.Devices {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s %s\n", d.ID, d.Role, d.Endpoint, d.Unit, deviceState(d), powerOf(d), soc(d.Reading), d.Plate.Manufacturer, d.Plate.Model)
		}
		_ = tw.Flush()
	})
}

func deviceRead(ctx context.Context, o *options, _ *bench, id flex.DeviceID, args []string) error {
	addr, count, err := span(args)
	if err != nil {
		return err
	}
	words, err := readWords(ctx, o, id, addr, count)
	if err != nil {
		return err
	}
	return o.print(words, func(w io.Writer) {
		for i, v := range words {
			fmt.Fprintln(w, wordText(int(addr)+i, v))
		}
	})
}

// wordText is a register for people.
func wordText(addr int, v uint16) string {
	return fmt.Sprintf("%5d  0x%04X  %5d  %6d", addr, v, v, int16(v))
}

// span reads a wire address and a count of registers.
func span(args []string) (addr, count uint16, err error) {
	if len(args) < 1 || len(args) > 2 {
		return 0, 0, usage("needs a wire address and at most a count")
	}
	a, err := strconv.ParseUint(args[0], 0, 16)
	if err != nil {
		return 0, 0, usage("%q is not a wire address from 0 to 65535", args[0])
	}
	n := uint64(1)
	if len(args) == 2 {
		if n, err = strconv.ParseUint(args[1], 10, 8); err != nil || n < 1 || n > 125 {
			return 0, 0, usage("%q is not a count from 1 to 125", args[1])
		}
	}
	if a+n > 65536 {
		return 0, 0, usage("%d registers from %d go past 65535", n, a)
	}
	return uint16(a), uint16(n), nil
}

// mostTimeout bounds how long one answer is waited for.
const mostTimeout = 30 * time.Second

// directLimit bounds a direct conversation with a device.
const directLimit = 30 * time.Second

func readWords(ctx context.Context, o *options, id flex.DeviceID, addr, count uint16) ([]uint16, error) {
	if o.address == "" {
		return o.agent().Registers(ctx, id, byte(o.function), addr, count)
	}
	if err := free(ctx, o, o.address); err != nil {
		return nil, err
	}
	unit := o.unit
	if unit < 0 {
		unit = 1
	}
	ctx, cancel := context.WithTimeout(ctx, directLimit)
	defer cancel()
	return drivers.ReadRaw(ctx, o.address, uint8(unit), byte(o.function), addr, count)
}
