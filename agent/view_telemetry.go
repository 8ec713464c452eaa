package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"flexd/agent/config"
	"flexd/agent/local"
	"flexd/agent/telemetry"
	"flexd/store/series"
)

func queryOf(q local.SampleQuery) telemetry.Query {
	return telemetry.Query{From: q.From, To: q.To, Device: q.Device}
}

// Samples gives what was measured, that in memory included.
func (v *view) Samples(ctx context.Context, q local.SampleQuery, fn func(local.Sample) error) error {
	return v.a.tele.Each(ctx, queryOf(q), func(s telemetry.Sample) error { return fn(local.Sample(s)) })
}

// Measured reads what was measured from the file of an agent that does not run.
type Measured struct {
	cfg *config.Config
	log *slog.Logger
}

// MeasuredOf is that of the site that a configuration describes.
func MeasuredOf(path string, log *slog.Logger) (*Measured, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return &Measured{cfg, log}, nil
}

// Zone is the site's.
func (m *Measured) Zone() *time.Location { return m.cfg.Site.Timezone }

// Samples gives what the file has. A kill or a power cut costs what was in
// memory then.
func (m *Measured) Samples(ctx context.Context, q local.SampleQuery, fn func(local.Sample) error) error {
	db, err := series.OpenForReading(filepath.Join(m.cfg.Data, seriesFile), m.log)
	if err != nil {
		return fmt.Errorf("no telemetry can be read in %s: %w", m.cfg.Data, err)
	}
	defer db.Close()
	return telemetry.EachOf(ctx, db, queryOf(q), m.log, func(s telemetry.Sample) error { return fn(local.Sample(s)) })
}
