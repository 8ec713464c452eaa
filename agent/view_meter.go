package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"flexd/agent/config"
	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/agent/meter"
)

// Intervals gives what an asset exchanged with the grid on some local days.
func (v *view) Intervals(ctx context.Context, q local.IntervalQuery) (local.Intervals, error) {
	c, err := v.configured(q.Asset)
	if err != nil {
		return local.Intervals{}, err
	}
	zone := v.a.conf.cfg.Site.Timezone
	now, _ := v.a.wall.Now()
	first := now.In(zone)
	if q.Day != "" {
		if first, err = time.Parse(time.DateOnly, q.Day); err != nil {
			return local.Intervals{}, flex.Refuse(flex.ReasonBadField, "%q is not a day", q.Day)
		}
	}
	w := flex.Window{Start: meter.Day(first, zone).Start, End: meter.Day(first.AddDate(0, 0, q.Days-1), zone).End}
	out := local.Intervals{Asset: q.Asset, By: string(c.Meter), Minutes: int(q.Step / time.Minute), Timezone: zone.String(), Window: w, Whole: int(w.Duration() / q.Step)}
	if c.Meter == "" {
		out.By = fmt.Sprintf("the sum of %v", c.Devices)
	}
	kept := min(q.Step, 15*time.Minute)
	rows, err := v.a.db.Intervals(ctx, q.Asset, kept, w.Start, w.End)
	if err != nil {
		return out, fmt.Errorf("cannot read the intervals: %w", err)
	}
	rows = meter.Merged(rows, slices.DeleteFunc(v.a.meter.Waiting(q.Asset, kept), func(i flex.Interval) bool { return !w.Contains(i.Start) }))
	out.Rows = []local.Interval{}
	for _, i := range meter.Joined(rows, q.Step) {
		out.Rows = append(out.Rows, local.Interval{Start: i.Start, Mean: i.Power(), Energy: i.Energy, Quality: i.Quality, Measured: i.Seen.Seconds()})
	}
	return out, nil
}

// Baseline tells how an asset's baseline is found, and what it would be now.
func (v *view) Baseline(ctx context.Context, id flex.AssetID) (local.Baseline, error) {
	c, err := v.configured(id)
	if err != nil {
		return local.Baseline{}, err
	}
	out := local.Baseline{Asset: id}
	if out.Nominated, _, err = v.a.db.Nomination(ctx, id); err != nil {
		return out, fmt.Errorf("cannot read what was nominated: %w", err)
	}
	if c.Baseline == nil {
		return out, nil
	}
	out.Method, out.Fallback = c.Baseline.Method, c.Baseline.Fallback
	now, _ := v.a.wall.Now()
	b, err := v.a.meter.Try(ctx, id, flex.Window{Start: now, End: now.Add(2 * time.Hour)}, now)
	if err != nil {
		out.Failed = err.Error()
		return out, nil
	}
	out.Now = &b
	return out, nil
}

// Nominate keeps a nomination.
func (v *view) Nominate(ctx context.Context, id flex.AssetID, text []byte, by string) (local.Baseline, error) {
	c, err := v.configured(id)
	if err != nil {
		return local.Baseline{}, err
	}
	if c.Baseline == nil || c.Baseline.Method != flex.MethodNominated {
		return local.Baseline{}, flex.Refuse(flex.ReasonUnsupported, "nothing was nominated: asset %s is not held against nominations; set reference: baseline and baseline: {method: nominated}", id)
	}
	piece, err := meter.ParseNomination(text)
	if err != nil {
		return local.Baseline{}, flex.Refuse(flex.ReasonBadField, "nothing was nominated: %v", err)
	}
	now := v.a.wall.Stamp()
	piece.At, piece.By = now.At, by
	v.a.nominating.Lock()
	defer v.a.nominating.Unlock()
	nom, _, err := v.a.db.Nomination(ctx, id)
	if err != nil {
		return local.Baseline{}, fmt.Errorf("cannot read what was nominated: %w", err)
	}
	nom.Asset = id
	if nom, err = meter.Merge(nom, piece, now.At); err != nil {
		return local.Baseline{}, err
	}
	line := fmt.Sprintf("%d values of %v from %s", len(piece.Values), piece.Step, piece.Start.Format(time.RFC3339))
	if err := v.a.db.Commit(ctx, flex.Changes{Nominations: []flex.Nomination{nom}, Audit: []flex.Audit{{At: now, What: "baseline.nominated", Subject: string(id), By: by, Text: line}}}); err != nil {
		return local.Baseline{}, err
	}
	return v.Baseline(ctx, id)
}

// Unnominate drops what was nominated. What is frozen with a dispatch stays.
func (v *view) Unnominate(ctx context.Context, id flex.AssetID, by string) error {
	v.a.nominating.Lock()
	defer v.a.nominating.Unlock()
	_, ok, err := v.a.db.Nomination(ctx, id)
	if err != nil {
		return fmt.Errorf("cannot read what was nominated: %w", err)
	}
	if !ok {
		return flex.Refuse(flex.ReasonUnknownAsset, "nothing is nominated for asset %q", id)
	}
	now := v.a.wall.Stamp()
	return v.a.db.Commit(ctx, flex.Changes{Nominations: []flex.Nomination{{Asset: id}}, Audit: []flex.Audit{{At: now, What: "baseline.cleared", Subject: string(id), By: by}}})
}

// configured finds an asset of the configuration.
func (v *view) configured(id flex.AssetID) (config.Asset, error) {
	assets := v.a.conf.cfg.Assets
	i := slices.IndexFunc(assets, func(a config.Asset) bool { return a.MarketID == id })
	if i < 0 {
		return config.Asset{}, flex.Refuse(flex.ReasonUnknownAsset, "asset %q is not configured here; there are: %v", id, ours(assets))
	}
	return assets[i], nil
}
