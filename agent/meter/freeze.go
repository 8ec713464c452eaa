package meter

import (
	"context"
	"fmt"
	"time"

	"flexd/agent/flex"
)

// Baseline is what the asset's dispatch in a window is held against, as of the
// notice; false where the asset counts from zero. A refusal says why there is
// none.
func (m *Meter) Baseline(ctx context.Context, id flex.AssetID, w flex.Window, notice time.Time) (flex.Baseline, bool, error) {
	g := m.ruled(id)
	if g == nil {
		return flex.Baseline{}, false, nil
	}
	b, err := m.freeze(ctx, g, Question{Asset: id, Window: w, Notice: notice})
	return b, true, err
}

// ruled is the asset if it has a baseline.
func (m *Meter) ruled(id flex.AssetID) *gather {
	for _, g := range m.assets {
		if g.ID == id && g.Rule != nil {
			return g
		}
	}
	return nil
}

// Try is Baseline without consequences: nothing is raised.
func (m *Meter) Try(ctx context.Context, id flex.AssetID, w flex.Window, notice time.Time) (flex.Baseline, error) {
	g := m.ruled(id)
	if g == nil {
		return flex.Baseline{}, flex.Refuse(flex.ReasonNoBaseline, "asset %s counts from zero", id)
	}
	return m.by(ctx, g.Rule.Method, g, Question{Asset: id, Window: w, Notice: notice})
}

// freeze computes by the rule, or by its fallback, aloud.
func (m *Meter) freeze(ctx context.Context, g *gather, q Question) (flex.Baseline, error) {
	if q.Window.Open() {
		return flex.Baseline{}, flex.Refuse(flex.ReasonNoBaseline, "no baseline of %s: the window has no end", g.ID)
	}
	b, err := m.by(ctx, g.Rule.Method, g, q)
	if err == nil {
		m.told(g, time.Time{})
		m.cfg.Health.Clear(CodeBaseline, string(g.ID))
		return b, nil
	}
	m.told(g, q.Window.End)
	text := fmt.Sprintf("asset %s has no baseline by %s for %v: %v", g.ID, g.Rule.Method, q.Window, err)
	if g.Rule.Fallback != FallbackRefuse {
		if b, ferr := m.by(ctx, g.Rule.Fallback, g, q); ferr == nil {
			m.cfg.Health.Raise(CodeBaseline, string(g.ID), text+"; "+g.Rule.Fallback+" is taken instead")
			b.Detail = join(b.Detail, "instead of "+g.Rule.Method+": "+err.Error())
			return b, nil
		}
	}
	m.cfg.Health.Raise(CodeBaseline, string(g.ID), text+"; the dispatch is refused")
	return flex.Baseline{}, flex.Refuse(flex.ReasonNoBaseline, "%s", text)
}

func (m *Meter) by(ctx context.Context, method string, g *gather, q Question) (flex.Baseline, error) {
	switch method {
	case flex.MethodZero:
		return Zero(q, ""), nil
	case flex.MethodNominated: // without the lock: whoever has a reading never waits for a disk
		nom, _, err := m.cfg.Shelf.Nomination(ctx, g.ID)
		if err != nil {
			return flex.Baseline{}, fmt.Errorf("cannot read what was nominated: %w", err)
		}
		return Nominated(q, nom)
	}
	now, trust := m.cfg.Wall.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if trust != flex.ClockUntrusted {
		m.collect(now)
	}
	switch method {
	case flex.MethodRecent:
		return Recent(q, g.minutes, g.Rule.span(), m.disturbed(g.ID, q.known(), false))
	case flex.MethodTenOfTen:
		return TenOfTen(q, g.days, *g.Rule, m.cfg.Zone, m.disturbed(g.ID, q.known(), true))
	}
	return flex.Baseline{}, fmt.Errorf("method %q is not known", method)
}

// told notes until when the alarm of a missing baseline stands.
func (m *Meter) told(g *gather, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g.missing = until
}

// endAlarms clears the alarms of baselines whose windows are over; mu is held.
func (m *Meter) endAlarms(now time.Time) {
	for _, g := range m.assets {
		if !g.missing.IsZero() && !now.Before(g.missing) {
			g.missing = time.Time{}
			m.cfg.Health.Clear(CodeBaseline, string(g.ID))
		}
	}
}

// span is that of a recent mean, also as a fallback.
func (r *Rule) span() time.Duration {
	if r.Span == 0 {
		return halfHour
	}
	return r.Span
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
