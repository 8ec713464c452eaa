package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/agent/preflight"
	"flexd/store"
)

// preflightKey is where the latest check of each window is kept.
const preflightKey = "preflight"

func (a *Agent) buildPreflight() {
	a.checks = preflight.New(preflight.Config{Leads: a.conf.cfg.Preflight.Leads, Charge: a.conf.cfg.Preflight.Precharge, Site: flight{a}, Book: flightBook{a.ledger()},
		Stamp: a.wall.Stamp, Health: a.health, Log: a.log})
}

// preparations are what the checks plan, by the clock that control goes by.
func (a *Agent) preparations() []allocate.Preparation {
	plan := a.checks.Plan()
	if len(plan) == 0 {
		return nil
	}
	_, ahead := a.wall.Both()
	for i := range plan {
		plan[i].From, plan[i].Until = plan[i].From.Add(-ahead), plan[i].Until.Add(-ahead)
	}
	return plan
}

// flightBook keeps the checks over restarts. There is at most one for each
// window within the longest lead.
type flightBook struct{ ledger }

// LoadPreflights gives the checks that are kept.
func (b flightBook) LoadPreflights() ([]flex.Preflight, error) {
	raw, ok, err := b.Setting(preflightKey)
	if err != nil || !ok {
		return nil, err
	}
	var list []flex.Preflight
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("the pre-flight checks are damaged: %w", err)
	}
	return list, nil
}

// PutPreflights keeps the checks.
func (b flightBook) PutPreflights(list []flex.Preflight) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("cannot encode the pre-flight checks: %w", err)
	}
	return b.PutSetting(preflightKey, raw)
}

// flight is the site as the pre-flight checks see it.
type flight struct{ a *Agent }

// Upcoming are the service windows and instructions that are not over and
// begin by to, by start; instructions that have begun are followed by control.
func (f flight) Upcoming(ctx context.Context, now, to time.Time) ([]preflight.Subject, error) {
	return f.subjects(ctx, now, to, func(ob flex.Obligation) []flex.Window {
		ws, err := dispatch.Windows(ob, now, to)
		if err != nil {
			return nil // `flexd obligations` and the admission say so
		}
		return ws
	})
}

// next are the window that is open or comes next of every obligation, and
// every instruction that has not begun.
func (f flight) next(ctx context.Context, now time.Time) ([]preflight.Subject, error) {
	return f.subjects(ctx, now, time.Time{}, func(ob flex.Obligation) []flex.Window {
		if w, ok := dispatch.NextWindow(ob, now); ok {
			return []flex.Window{w}
		}
		return nil
	})
}

// subjects lists obligations by the windows given, and instructions that begin
// after now and by to; a zero to is for ever.
func (f flight) subjects(ctx context.Context, now, to time.Time, windows func(flex.Obligation) []flex.Window) ([]preflight.Subject, error) {
	obs, err := f.a.db.Obligations(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the obligations: %w", err)
	}
	known, err := f.a.db.Assets(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the assets: %w", err)
	}
	recs, err := f.records(ctx)
	if err != nil {
		return nil, err
	}
	var out []preflight.Subject
	for _, ob := range obs {
		mine := slices.DeleteFunc(ours(f.a.conf.cfg.Assets), func(id flex.AssetID) bool { return !slices.Contains(ob.Assets, id) })
		if len(mine) == 0 || !ob.GoneAt.IsZero() {
			continue
		}
		use := flex.UseEvent
		if contracts(f.a.conf.cfg.Market.Contracts)(ob.ID, ob.Competition).Emergency {
			use = flex.UseEmergency
		}
		for _, w := range windows(ob) {
			left := w
			if left.Start.Before(now) {
				left.Start = now
			}
			shares, run, why := dispatch.Expect(ob, left, known, mine)
			out = append(out, preflight.Subject{Kind: flex.PreflightObligation, ID: string(ob.ID), Obligation: ob.ID, Operator: ob.Operator,
				Window: w, Run: run, Shares: shares, Use: use, Problem: why})
		}
	}
	for _, r := range recs {
		if w := r.Window; !w.Start.After(now) || !to.IsZero() && w.Start.After(to) {
			continue
		}
		out = append(out, preflight.Subject{Kind: flex.PreflightInstruction, ID: string(r.ID), Obligation: r.Obligation, Operator: r.Instruction.Operator,
			Window: r.Window, Run: r.Window.Duration(), Shares: r.Shares, Use: r.Dispatch().Use, Baselines: r.Baselines})
	}
	slices.SortFunc(out, func(x, y preflight.Subject) int {
		return cmp.Or(x.Window.Start.Compare(y.Window.Start), cmp.Compare(x.Kind+x.ID, y.Kind+y.ID))
	})
	return out, nil
}

// records are the instructions that may still be carried out; rehearsals are
// none.
func (f flight) records(ctx context.Context) ([]flex.Record, error) {
	recs, err := f.a.db.Records(ctx, store.RecordQuery{Open: true})
	if err != nil {
		return nil, fmt.Errorf("cannot read the instructions: %w", err)
	}
	return slices.DeleteFunc(recs, func(r flex.Record) bool {
		return r.Instruction.Test || !r.StopAt.IsZero() || r.State.Final() || r.State == flex.Active || r.Window.Open()
	}), nil
}

// Look is the site now, whatever is judged.
func (f flight) Look(ctx context.Context) (preflight.Input, error) {
	a := f.a
	st := a.wall.State()
	in := preflight.Input{Now: a.wall.Stamp(), ClockWhy: st.Why, Site: a.control.Site(), Status: a.control.Status(),
		Margin: a.conf.cfg.Preflight.Margin, Zone: a.conf.cfg.Site.Timezone, Plan: a.checks.Plan()}
	if site := a.conf.cfg.Site; site.ImportLimit+site.ExportLimit > 0 {
		in.Meter = site.Meter
	}
	for _, l := range (&view{a}).links() {
		in.Links = append(in.Links, preflight.Link{Name: l.Name, OK: l.OK, Text: l.Text})
	}
	var err error
	if in.Away, err = a.db.Unavailable(ctx); err != nil {
		return in, fmt.Errorf("cannot read the declarations: %w", err)
	}
	return in, nil
}

// Judge looks at everything that a window needs, now.
func (f flight) Judge(ctx context.Context, s preflight.Subject) (flex.Preflight, error) {
	a := f.a
	in, err := f.Look(ctx)
	if err != nil {
		return flex.Preflight{}, err
	}
	without, err := f.same(ctx, s)
	if err != nil {
		return flex.Preflight{}, err
	}
	if err := f.baselines(ctx, &s, in.Now.At); err != nil {
		return flex.Preflight{}, err
	}
	d := flex.Dispatch{ID: flex.InstructionID(s.ID), Shares: s.Shares, Window: s.Window, Use: s.Use, Baselines: s.Baselines}
	if d.Window.Start.Before(in.Now.At) {
		d.Window.Start = in.Now.At
	}
	d.Window.End = d.Window.Start.Add(s.Run)
	_, ahead := a.wall.Both() // control goes by a clock that is never stepped
	in.Foresight = a.control.ForeseeBeside(d.Put(-ahead), without)
	if f := &in.Foresight; !f.From.IsZero() {
		f.From = f.From.Round(0).Add(ahead)
	}
	return preflight.Judge(in, s), nil
}

// baselines finds what a call of an obligation that came now would be held
// against; those of an instruction are frozen with it.
func (f flight) baselines(ctx context.Context, s *preflight.Subject, now time.Time) error {
	if s.Kind != flex.PreflightObligation {
		return nil
	}
	for _, a := range f.a.conf.cfg.Assets {
		if a.Baseline == nil || !slices.ContainsFunc(s.Shares, func(sh flex.AssetShare) bool { return sh.Asset == a.MarketID }) {
			continue
		}
		b, err := f.a.meter.Try(ctx, a.MarketID, s.Window, now)
		switch {
		case err == nil:
			s.Baselines = append(s.Baselines, b)
		case ctx.Err() != nil:
			return ctx.Err()
		case a.Baseline.Fallback == "refuse" && s.Problem == nil:
			s.Problem = flex.Refuse(flex.ReasonNoBaseline, "an instruction that came now would be refused: asset %s has no baseline by %s: %v", a.MarketID, a.Baseline.Method, err)
		}
	}
	return nil
}

// same are the instructions that call what is judged: the obligation's own
// within its window are not counted beside it.
func (f flight) same(ctx context.Context, s preflight.Subject) (out []flex.InstructionID, err error) {
	recs, err := f.a.db.Records(ctx, store.RecordQuery{Open: true})
	if err != nil {
		return nil, fmt.Errorf("cannot read the instructions: %w", err)
	}
	for _, r := range recs {
		if string(r.ID) == s.ID || s.Kind == flex.PreflightObligation && r.Obligation == s.Obligation && r.Window.Overlaps(s.Window) {
			out = append(out, r.ID)
		}
	}
	return out, nil
}

// Preflight judges every window to come now.
func (v *view) Preflight(ctx context.Context) ([]flex.Preflight, error) {
	f := flight{v.a}
	now, _ := v.a.wall.Now()
	subjects, err := f.next(ctx, now)
	if err != nil {
		return nil, err
	}
	out := make([]flex.Preflight, 0, len(subjects))
	for _, s := range subjects {
		p, err := f.Judge(ctx, s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// checked are the latest checks that are kept, by subject, of the nearest
// window each.
func (v *view) checked(kind string) map[string]*flex.Preflight {
	out := map[string]*flex.Preflight{}
	for _, p := range v.a.checks.Latest() {
		if p.Kind == kind && out[p.ID] == nil {
			out[p.ID] = &p
		}
	}
	return out
}
