package clock

import (
	"context"
	"log/slog"
	"time"

	"flexd/agent/flex"
)

// How often the clock is looked at, and from when on a move of it against the
// time since boot is a step.
const (
	watchEvery = 5 * time.Second
	stepped    = time.Second
)

// subjectHeard is of the alarm about a date that was heard, besides that of
// the time servers.
const subjectHeard = "heard"

// Watch says aloud that the clock is wrong, and that it was stepped, until ctx
// ends.
func (w *Wall) Watch(ctx context.Context, h Health, log *slog.Logger) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := w.Stamp()
	for {
		if st := w.State(); st.Trust == flex.ClockUntrusted {
			h.Raise(CodeWrong, "", "no instruction is decided by it: "+st.Why)
		} else {
			h.Clear(CodeWrong, "")
		}
		if said := w.Hearsay(); said != "" {
			h.Raise(CodeOffset, subjectHeard, "the clock is "+said+": let chrony or systemd-timesyncd synchronise it, or list time servers in clock.ntp")
		} else {
			h.Clear(CodeOffset, subjectHeard)
		}
		now := w.Stamp()
		if by := now.Line().Sub(last.Line()); by.Abs() >= stepped && now.Boot == last.Boot {
			log.Warn("the machine's clock was stepped", "by", by.Round(time.Millisecond), "from", last.Clock, "to", now.Clock)
		}
		last = now
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
