package agent

import (
	"context"
	"fmt"

	"flexd/agent/config"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/agent/meter"
	"flexd/store"
)

// buildMeter makes what turns readings into intervals, behind what earlier
// processes kept.
func (a *Agent) buildMeter() error {
	cfg := a.conf.cfg
	a.meter = meter.New(meter.Config{Assets: metered(cfg.Assets), Shelf: a.db, Wall: a.wall, Zone: cfg.Site.Timezone, Health: a.health, Log: a.log, Running: a.dispatching})
	ctx, now := context.Background(), a.wall.Reached()
	a.meter.Load(ctx)
	back := a.meter.LooksBack()
	if back == 0 {
		return nil
	}
	away, err := a.db.Unavailable(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the declarations: %w", err)
	}
	past, err := a.db.Records(ctx, store.RecordQuery{Since: now.Add(-back)})
	if err != nil {
		return fmt.Errorf("cannot read the instructions: %w", err)
	}
	a.meter.Note(flex.Changes{Records: past, Unavailable: away})
	return nil
}

// metered is what the meter room needs of the configured assets.
func metered(assets []config.Asset) []meter.Asset {
	out := make([]meter.Asset, len(assets))
	for i, a := range assets {
		out[i] = meter.Asset{ID: a.MarketID, Meter: a.Meter, Devices: a.Devices}
		if b := a.Baseline; b != nil {
			out[i].Rule = &meter.Rule{Method: b.Method, Fallback: b.Fallback, Span: b.Span, Step: b.Step, Days: b.Days, RestDays: b.RestDays,
				Lookback: b.Lookback, Adjust: b.Adjust, Holiday: func(date string) bool { return dispatch.BankHoliday(b.Holidays, date) }}
		}
	}
	return out
}

// reading hands a sample to all who gather them.
func (a *Agent) reading(r flex.Reading) {
	a.tele.Reading(r)
	a.meter.Reading(r)
}
