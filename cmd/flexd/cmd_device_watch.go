package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

// watched is one look, as JSON one per line.
type watched struct {
	At        time.Time           `json:"at"`
	Devices   []flex.DeviceStatus `json:"devices,omitempty"`
	Addr      uint16              `json:"addr,omitempty"`
	Registers []uint16            `json:"registers,omitempty"`
	Error     string              `json:"error,omitempty"`
}

// leastEvery keeps a watch from being a load on the device.
const leastEvery = 200 * time.Millisecond

func deviceWatch(ctx context.Context, o *options, b *bench, id flex.DeviceID, args []string) error {
	if b.every < leastEvery {
		return usage("--every is at least %v", leastEvery)
	}
	var addr, count uint16
	if len(args) > 0 {
		var err error
		if addr, count, err = span(args); err != nil {
			return err
		}
	}
	c := o.agent()
	tick := time.NewTicker(b.every)
	defer tick.Stop()
	var before []uint16
	for n := 1; ; n++ {
		look, err := lookOnce(ctx, c, o, id, addr, count)
		switch {
		case ctx.Err() != nil:
			return nil // ended by the person watching
		case err != nil && n == 1:
			return err
		case err != nil:
			look.Error = err.Error() // the agent restarts, the device is away: go on watching
		}
		if !o.json && b.terminal() {
			control(o.out, "\x1b[H\x1b[2J")
		}
		if err := o.print(look, func(w io.Writer) { watchText(w, look, before) }); err != nil {
			return err
		}
		if before = look.Registers; n == b.count {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func lookOnce(ctx context.Context, c *local.Client, o *options, id flex.DeviceID, addr, count uint16) (watched, error) {
	look := watched{At: time.Now().UTC(), Addr: addr}
	if count > 0 {
		words, err := c.Registers(ctx, id, byte(o.function), addr, count)
		look.Registers = words
		return look, err
	}
	st, err := c.Status(ctx)
	if err != nil {
		return look, err
	}
	look.At = st.At
	look.Devices = slices.DeleteFunc(st.Devices, func(d flex.DeviceStatus) bool { return id != "" && d.ID != id })
	if len(look.Devices) == 0 {
		return look, flex.Refuse(flex.ReasonNotOurs, "there is no device %q; `flexd device list` lists them", id)
	}
	return look, nil
}

func watchText(w io.Writer, look watched, before []uint16) {
	fmt.Fprintln(w, stamp(look.At))
	if look.Error != "" {
		fmt.Fprintln(w, look.Error)
	}
	for i, v := range look.Registers {
		changed := ""
		if i < len(before) && before[i] != v {
			changed = fmt.Sprintf("  was 0x%04X", before[i])
		}
		fmt.Fprintln(w, wordText(int(look.Addr)+i, v)+changed)
	}
	if len(look.Devices) == 0 {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "DEVICE\tSTATE\tPOWER\tSoC\tLIMIT\tTARGET\tAGE")
	for _, d := range look.Devices {
		limit, age := "-", "-"
		if r := d.Reading; r != nil {
			age = look.At.Sub(r.At).Round(100 * time.Millisecond).String()
			if r.Limit != nil {
				limit = r.Limit.String()
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, deviceState(d), powerOf(d), soc(d.Reading), limit, target(d.Target), age)
	}
	_ = tw.Flush()
}
