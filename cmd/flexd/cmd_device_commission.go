package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

const (
	commissionLook = time.Second
	// handBackLimit is for the hand-back after Ctrl-C.
	handBackLimit = 75 * time.Second
)

func deviceCommission(ctx context.Context, o *options, b *bench, id flex.DeviceID, _ []string) error {
	c := o.agent()
	if b.show {
		rec, err := c.CommissioningRecord(ctx, id)
		if err != nil {
			return err
		}
		return o.print(rec, func(w io.Writer) { commissionText(w, rec) })
	}
	order := local.CommissionOrder{Percent: b.percent, Seconds: b.seconds, Revert: b.revert}
	if order.Percent < 0 || order.Seconds < 0 {
		return usage("--percent and --seconds are not negative")
	}
	question := fmt.Sprintf("This makes %s charge and discharge, or caps it, by %d %% of its rating for %d s each.\nIs everybody and everything clear, and shall it begin?",
		id, orDefault(b.percent, 5), orDefault(b.seconds, 60))
	if err := b.consent(o.err, question); err != nil {
		return err
	}
	if err := c.Commission(ctx, id, order); err != nil {
		return err
	}
	end, err := follow(ctx, o, c, id)
	if err != nil {
		return err
	}
	if err := o.print(end, func(w io.Writer) { commissionText(w, end) }); err != nil {
		return err
	}
	switch {
	case end.Phase == "failed":
		return flex.Refuse(flex.ReasonStoppedLocal, "%s", end.Error)
	case !end.Proven:
		return fmt.Errorf("%s is not proven, see above", id)
	}
	return nil
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// follow shows how it goes until it ends. After Ctrl-C it waits for the device
// to be handed back.
func follow(ctx context.Context, o *options, c *local.Client, id flex.DeviceID) (local.Commissioning, error) {
	ask, tick := ctx, time.NewTicker(commissionLook)
	defer tick.Stop()
	stop := ctx.Done()
	told := ""
	for {
		st, err := c.Commissioning(ask, id)
		switch {
		case ctx.Err() != nil && ask == ctx:
		case errors.Is(err, local.ErrNotRunning):
			return st, fmt.Errorf("the agent went away, it hands the device back as it ends and as it starts: %w", err)
		case err != nil:
			return st, err
		case st.Phase != "running":
			return st, nil
		}
		if line := st.Step + ": " + st.Text; line != told && st.Text != "" {
			fmt.Fprintf(o.err, "%s  %s\n", time.Now().Format("15:04:05"), line)
			told = line
		}
		select {
		case <-tick.C:
		case <-stop:
			stop = nil
			fmt.Fprintln(o.err, "ending: the device is handed back")
			later, cancel := context.WithTimeout(context.WithoutCancel(ctx), handBackLimit)
			defer cancel()
			ask = later
			if err := c.CancelCommissioning(ask, id); err != nil {
				return st, fmt.Errorf("cannot end it, the agent does so by itself within 15 s: %w", err)
			}
		}
	}
}

func commissionText(w io.Writer, c local.Commissioning) {
	for _, line := range c.Lines {
		fmt.Fprintln(w, line)
	}
	switch {
	case c.Phase == "failed":
		fmt.Fprintf(w, "%s was not commissioned\n", c.Device)
	case c.Proven:
		fmt.Fprintf(w, "%s is commissioned: the record is signed and stored\n", c.Device)
	default:
		fmt.Fprintf(w, "%s is NOT commissioned: the record is signed and stored with what was found, mend that and try again\n", c.Device)
	}
}
