package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

// pastConditions are those that held once and do not any more.
func pastConditions(r flex.Record) []flex.Condition {
	var out []flex.Condition
	for _, s := range r.History {
		if !r.Has(s.Condition) && !slices.Contains(out, s.Condition) {
			out = append(out, s.Condition)
		}
	}
	return out
}

// historyText tells every condition with its beginning and its end.
func historyText(w io.Writer, r flex.Record) {
	for _, s := range r.History {
		until, how := "until now", ""
		switch {
		case !s.To.IsZero():
			until = fmt.Sprintf("to %s, %s", fine(s.To), s.To.Sub(s.From).Round(time.Millisecond))
		case r.State.Final():
			until = "to the end"
		}
		if s.Times > 1 {
			how = fmt.Sprintf(", %d times", s.Times)
		}
		if s.Text != "" {
			how += fmt.Sprintf(" (%s: %s)", s.Reason, s.Text)
		}
		fmt.Fprintf(w, "    %-12s %s %s%s\n", s.Condition, fine(s.From), until, how)
	}
}

// lateText tells by how much the release came late.
func lateText(w io.Writer, o *local.Outcome) {
	if o == nil || o.ReleaseLate == nil {
		return
	}
	fmt.Fprintf(w, "  release late  %s after it was due\n", o.ReleaseLate.Duration())
}

// energyText compares what was asked of each asset with what it gave.
func energyText(w io.Writer, d local.Detail) {
	if d.Outcome == nil {
		return
	}
	for _, e := range d.Outcome.Energy {
		fmt.Fprintf(w, "  energy        %s: asked %s, delivered %s", e.Asset, e.Asked, e.Delivered)
		if known := e.Asked - e.Unmeasured; known != 0 {
			fmt.Fprintf(w, " (%.1f %%)", 100*float64(e.Delivered)/float64(known))
		}
		if e.By != "" {
			fmt.Fprintf(w, " %s", e.By)
		}
		if e.Unmeasured != 0 {
			fmt.Fprintf(w, "; %s asked while nothing was measured", e.Unmeasured)
		}
		if gap := d.Record.Unfollowed(e); gap > 0 && d.Record.State.Final() {
			fmt.Fprintf(w, "; nobody counted for %s of its time", gap.Round(time.Second))
		}
		fmt.Fprintln(w)
	}
}
