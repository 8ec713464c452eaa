package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
	"flexd/agent/health"
)

// Plan is the charging that is planned, by the wall clock.
func (r *Runner) Plan() []allocate.Preparation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.plan)
}

func (r *Runner) setPlan(plan []allocate.Preparation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan = plan
}

// prepare plans anew, by what the batteries hold now, and announces what
// begins.
func (r *Runner) prepare(ctx context.Context, subjects []Subject) error {
	if !r.cfg.Charge {
		return nil
	}
	in, err := r.cfg.Site.Look(ctx)
	if err != nil {
		return err
	}
	r.setPlan(Precharge(in, subjects, r.Plan()))
	maps.DeleteFunc(r.told, func(c charging, _ bool) bool { return c.until <= in.Now.At.Unix() })
	for _, p := range r.Plan() {
		c := charging{p.Device, p.Until.Unix()}
		if r.told[c] || p.From.After(in.Now.At) {
			continue
		}
		if err := r.tellCharge(ctx, p, in.Now); err != nil {
			return err
		}
		r.told[c] = true
	}
	return nil
}

// tellCharge announces that a battery is charged from now on.
func (r *Runner) tellCharge(ctx context.Context, p allocate.Preparation, now flex.Stamp) error {
	text := fmt.Sprintf("%s is charged with up to %v to %v: %s", p.Device, p.Power, p.Goal, p.Text)
	body, err := json.Marshal(flex.Event{Code: "precharge", Severity: string(health.Info), Subject: p.For, Raised: true, Text: text, FactAt: now.At})
	if err != nil {
		return fmt.Errorf("encode the event of %s: %w", p.For, err)
	}
	err = r.cfg.Book.Commit(ctx, flex.Changes{
		Outbox: []flex.Message{{Stream: flex.StreamEvent, At: now.At, Clock: now.Clock, Schema: "event/1", Body: body}},
		Audit:  []flex.Audit{{At: now, What: "preflight.precharge", Subject: p.For, By: "flexd", Text: text}},
	})
	if err != nil {
		return fmt.Errorf("store the charging of %s: %w", p.Device, err)
	}
	r.cfg.Log.Info("a battery is charged before a window", "device", p.Device, "obligation", p.For, "until", p.Until.UTC().Format(time.RFC3339), "goal", p.Goal.String())
	return nil
}
