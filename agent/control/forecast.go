package control

import (
	"context"
	"fmt"
	"time"

	"flexd/agent/flex"
)

// How the time to come is watched: so often, for dispatches that start within
// so long, and for an open end so far ahead. A shortfall is worth saying from
// a hundredth of what is asked.
const (
	forecastEvery  = 30 * time.Second
	forecastAhead  = time.Hour
	forecastShare  = 100
	forecastUnsays = 2 // looks in a row that find nothing before it is taken back
)

// forecaster says aloud when what runs, or starts soon, will not be given in
// full: the control room wants to know before the power goes, not after.
func (c *Controller) forecaster(ctx context.Context) {
	ticker := time.NewTicker(forecastEvery)
	defer ticker.Stop()
	said := map[flex.InstructionID]int{} // raised, and how many looks it may still be missing from
	defer func() {
		for id := range said {
			c.cfg.Health.Clear(CodeShortfallAhead, string(id))
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		found, live := c.forecast(c.cfg.Steady())
		for id, text := range found {
			c.cfg.Health.Raise(CodeShortfallAhead, string(id), text)
			said[id] = forecastUnsays
		}
		for id := range said {
			if _, still := found[id]; still {
				continue
			}
			if said[id]--; said[id] <= 0 || !live[id] { // what is over lacks nothing any more
				delete(said, id)
				c.cfg.Health.Clear(CodeShortfallAhead, string(id))
			}
		}
	}
}

// forecast is what will be missing of each dispatch, and from when; live are
// all that are not over.
func (c *Controller) forecast(now time.Time) (found map[flex.InstructionID]string, live map[flex.InstructionID]bool) {
	in := c.input(now)
	found, live = map[flex.InstructionID]string{}, map[flex.InstructionID]bool{}
	for _, d := range in.Dispatches {
		if d.Window.Start.Sub(now) > forecastAhead {
			continue
		}
		if d.Window.Open() {
			d.Window.End = now.Add(forecastAhead)
			if d.Window.Start.After(now) {
				d.Window.End = d.Window.Start.Add(forecastAhead)
			}
		}
		if !d.Window.End.After(now) {
			continue
		}
		live[d.ID] = true
		f := foresee(in, d, c.cfg.Decide)
		if !f.Known || f.Missing == 0 || f.Missing < total(d)/forecastShare {
			continue
		}
		found[d.ID] = fmt.Sprintf("from %s %v of %v will be missing: %s", putOff(f.From, c.stepped()).Format("15:04:05Z07:00"), f.Missing, total(d), f.Text)
	}
	return found, live
}
