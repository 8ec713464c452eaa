package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"flexd/agent/flex"
	"flexd/agent/local"
)

// onTerminal tells whether a person is there to be asked.
func onTerminal() bool {
	for _, f := range []*os.File{os.Stdin, os.Stderr} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return false
		}
	}
	return true
}

// consent asks for a yes. Where nobody can be asked --yes has to be given.
func (b *bench) consent(w io.Writer, question string) error {
	if b.yes {
		return nil
	}
	if !b.terminal() {
		return usage("nobody can be asked here: add --yes to consent")
	}
	fmt.Fprintf(w, "%s [y/N] ", question)
	line, err := bufio.NewReader(io.LimitReader(b.in, 100)).ReadString('\n')
	if err != nil && line == "" {
		return flex.Refuse(flex.ReasonRejected, "no answer: nothing was done")
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return flex.Refuse(flex.ReasonRejected, "not wanted: nothing was done")
}

func deviceWrite(ctx context.Context, o *options, b *bench, id flex.DeviceID, args []string) error {
	c := o.agent()
	if b.undo {
		return deviceUndo(ctx, o, b, c, id, args)
	}
	addr, values, err := writeArgs(args)
	if err != nil {
		return err
	}
	if o.function == 6 && len(values) != 1 {
		return usage("function 6 writes one register: use --fn 16")
	}
	old, err := c.Registers(ctx, id, 3, addr, uint16(len(values)))
	if err != nil {
		return err
	}
	changes(o.err, addr, old, values)
	if err := b.consent(o.err, fmt.Sprintf("Write this to %s with function %d?", id, o.function)); err != nil {
		return err
	}
	done, err := c.WriteRegisters(ctx, id, local.WriteOrder{Func: o.function, Addr: addr, Values: values, Expect: old})
	if err != nil {
		return err
	}
	return o.print(done, func(w io.Writer) { fmt.Fprintf(w, "written; `flexd device write %s --undo` takes it back\n", id) })
}

// changes shows old → new.
func changes(w io.Writer, addr uint16, old, values []uint16) {
	for i, v := range values {
		fmt.Fprintf(w, "%5d  0x%04X (%d) → 0x%04X (%d)\n", int(addr)+i, old[i], old[i], v, v)
	}
}

// writeArgs reads an address and the values to write from there on.
func writeArgs(args []string) (addr uint16, values []uint16, err error) {
	if len(args) < 2 {
		return 0, nil, usage("device write needs a wire address and values, or --undo")
	}
	a, err := strconv.ParseUint(args[0], 0, 16)
	if err != nil {
		return 0, nil, usage("%q is not a wire address from 0 to 65535", args[0])
	}
	for _, s := range args[1:] {
		v, err := strconv.ParseUint(s, 0, 16)
		if err != nil {
			return 0, nil, usage("%q is not a value from 0 to 65535", s)
		}
		values = append(values, uint16(v))
	}
	if len(values) > 123 || int(a)+len(values) > 65536 {
		return 0, nil, usage("%d registers from %d: at most 123, and none past 65535", len(values), a)
	}
	return uint16(a), values, nil
}

func deviceUndo(ctx context.Context, o *options, b *bench, c *local.Client, id flex.DeviceID, args []string) error {
	if len(args) > 0 {
		return usage("--undo takes the latest write back: no address, no value")
	}
	if err := b.consent(o.err, fmt.Sprintf("Take the latest write to %s back?", id)); err != nil {
		return err
	}
	done, err := c.UndoWrite(ctx, id)
	if err != nil {
		return err
	}
	return o.print(done, func(w io.Writer) { changes(w, done.Addr, done.Old, done.New) })
}

// deviceResume lets a device be controlled again.
func deviceResume(ctx context.Context, o *options, _ *bench, id flex.DeviceID, _ []string) error {
	if err := o.agent().Resume(ctx, id); err != nil {
		return err
	}
	_, err := fmt.Fprintf(o.out, "%s may be controlled again\n", id)
	return err
}
