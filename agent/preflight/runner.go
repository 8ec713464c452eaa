package preflight

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/agent/shown"
)

// CodeAtRisk is the health item of a window at risk, by obligation or
// instruction.
const CodeAtRisk = "at_risk"

// Items declares the alarms that this room raises.
func Items() []health.Item {
	return []health.Item{{Code: CodeAtRisk, Severity: health.Warning, Title: "A window to come is at risk"}}
}

// The pace of the Runner. Devices and links get settle to be reached after a
// start; what is at risk is looked at again every again, and is well when
// wellAfter looks in a row say so.
const (
	settle    = 20 * time.Second
	lookEvery = 30 * time.Second
	again     = time.Minute
	wellAfter = 2
	mostKept  = 500 // windows; the nearest count
	// chargeAhead is how far ahead charging is planned at least.
	chargeAhead = 24 * time.Hour
)

// Site tells what is to come and judges it.
type Site interface {
	// Upcoming are the windows that are not over and begin by to, by start.
	Upcoming(ctx context.Context, now, to time.Time) ([]Subject, error)
	Judge(ctx context.Context, s Subject) (flex.Preflight, error)
	// Look is the site now, whatever is judged.
	Look(ctx context.Context) (Input, error)
}

// Book keeps the latest check of each window over restarts.
type Book interface {
	LoadPreflights() ([]flex.Preflight, error)
	PutPreflights([]flex.Preflight) error
	Commit(ctx context.Context, ch flex.Changes) error
}

// Health takes alarms.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}

// Config is what the Runner needs.
type Config struct {
	Leads  []time.Duration // before a start; none: nothing is checked by itself
	Charge bool            // batteries are charged before a window that they would not do for
	Site   Site
	Book   Book
	Stamp  func() flex.Stamp
	Health Health
	Log    *slog.Logger
}

// Runner makes every check once per lead and window, whatever restarts lie in
// between.
type Runner struct {
	cfg  Config
	wake chan struct{}

	mu   sync.Mutex
	kept map[key]*kept
	plan []allocate.Preparation

	// Of Run alone.
	raised map[string]bool   // subjects at risk
	told   map[charging]bool // charging that was announced
}

// charging names a charge of a device before a window.
type charging struct {
	device flex.DeviceID
	until  int64
}

// kept is the latest check of a window.
type kept struct {
	p      flex.Preflight
	looked time.Time // again, since it is at risk
	well   int       // looks in a row that found nothing
}

// New builds a Runner.
func New(cfg Config) *Runner {
	return &Runner{cfg: cfg, wake: make(chan struct{}, 1), kept: map[key]*kept{}, raised: map[string]bool{}, told: map[charging]bool{}}
}

// Name names the task.
func (r *Runner) Name() string { return "preflight" }

// Wake asks for a look soon. It never blocks.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Latest are the checks that are kept, by start of the window.
func (r *Runner) Latest() []flex.Preflight {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]flex.Preflight, 0, len(r.kept))
	for _, k := range r.kept {
		out = append(out, k.p)
	}
	slices.SortFunc(out, func(a, b flex.Preflight) int {
		return cmp.Or(a.Window.Start.Compare(b.Window.Start), cmp.Compare(a.Kind+a.ID, b.Kind+b.ID))
	})
	return out
}

// Run checks until ctx ends.
func (r *Runner) Run(ctx context.Context) error {
	if len(r.cfg.Leads) == 0 && !r.cfg.Charge {
		<-ctx.Done()
		return nil
	}
	list, err := r.cfg.Book.LoadPreflights()
	if err != nil {
		r.cfg.Log.Error("cannot read the pre-flight checks: they are made anew", "error", err)
	}
	r.mu.Lock()
	for _, p := range list {
		r.kept[of(p)] = &kept{p: p}
	}
	r.mu.Unlock()
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for first := true; ; first = false {
		wake := r.wake
		if first {
			wake = nil // devices and links are not reached yet
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-wake:
		}
		wait, err := r.look(ctx)
		if err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("cannot make the pre-flight checks, trying again", "error", err)
		}
		timer.Reset(wait)
	}
}

// look makes what is due and gives the time until the next look.
func (r *Runner) look(ctx context.Context) (time.Duration, error) {
	now := r.cfg.Stamp()
	if now.Clock == flex.ClockUntrusted {
		r.setPlan(nil)
		return lookEvery, nil // nobody knows how far a window is: the clock has its own alarm
	}
	farthest := time.Duration(0)
	for _, l := range r.cfg.Leads {
		farthest = max(farthest, l)
	}
	if r.cfg.Charge {
		farthest = max(farthest, chargeAhead)
	}
	subjects, err := r.cfg.Site.Upcoming(ctx, now.At, now.At.Add(farthest+lookEvery))
	if err != nil {
		return lookEvery, err
	}
	subjects = subjects[:min(len(subjects), mostKept)]
	if err := r.prepare(ctx, subjects); err != nil {
		return lookEvery, err
	}
	wait, changed, live := lookEvery, false, map[key]bool{}
	for _, s := range subjects {
		k := keyOf(s.Kind, s.ID, s.Window.Start)
		live[k] = true
		did, err := r.check(ctx, k, s, now.At)
		if err != nil {
			return lookEvery, err
		}
		changed = changed || did
		if next := nextDue(r.cfg.Leads, s.Window.Start, now.At); !next.IsZero() {
			wait = min(wait, max(time.Second, next.Sub(now.At)))
		}
	}
	changed = r.forget(live, now.At) || changed
	r.alarms(live)
	if changed {
		return wait, r.cfg.Book.PutPreflights(r.Latest())
	}
	return wait, nil
}

// check judges a window when a lead is due, or when it is at risk, and tells
// whether something is to be kept.
func (r *Runner) check(ctx context.Context, k key, s Subject, now time.Time) (bool, error) {
	r.mu.Lock()
	old := r.kept[k]
	r.mu.Unlock()
	var made time.Duration
	if old != nil {
		made = old.p.Lead
	}
	lead, isDue := due(r.cfg.Leads, s.Window.Start, now, made)
	switch {
	case isDue:
	case old == nil || old.p.Result != flex.PreflightAtRisk || now.Sub(old.looked) < again:
		return false, nil
	}
	p, err := r.cfg.Site.Judge(ctx, s)
	if err != nil {
		return false, fmt.Errorf("check %s %s: %w", s.Kind, s.ID, err)
	}
	next := &kept{p: p, looked: now}
	if !isDue {
		return r.lookedAgain(ctx, k, old, next)
	}
	next.p.Lead = lead
	if err := r.say(ctx, next.p, fmt.Sprintf("check due %v before", lead)); err != nil {
		return false, err
	}
	r.put(k, next)
	return true, nil
}

// lookedAgain takes over what a look at a window at risk has found; that it is
// well is believed, and said, after a second look.
func (r *Runner) lookedAgain(ctx context.Context, k key, old, next *kept) (bool, error) {
	next.p.Lead = old.p.Lead
	if next.p.Result == flex.PreflightAtRisk {
		r.put(k, next)
		return false, nil
	}
	if next.well = old.well + 1; next.well < wellAfter {
		next.p = old.p
		r.put(k, next)
		return false, nil
	}
	if err := r.say(ctx, next.p, "looked at again"); err != nil {
		return false, err
	}
	r.put(k, next)
	return true, nil
}

func (r *Runner) put(k key, v *kept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[k] = v
}

// forget drops windows that are over, and those that are no longer to come.
func (r *Runner) forget(live map[key]bool, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.kept)
	maps.DeleteFunc(r.kept, func(k key, v *kept) bool { return !live[k] || !now.Before(v.p.Window.End) })
	return len(r.kept) != n
}

// alarms raises what is at risk, one item per subject, and clears the rest.
func (r *Runner) alarms(live map[key]bool) {
	found := map[string]string{}
	for _, p := range r.Latest() {
		if _, nearer := found[p.ID]; p.Result == flex.PreflightAtRisk && live[of(p)] && !nearer {
			found[p.ID] = Text(p)
		}
	}
	for id, text := range found {
		r.cfg.Health.Raise(CodeAtRisk, id, text)
		r.raised[id] = true
	}
	for id := range r.raised {
		if _, still := found[id]; !still {
			r.cfg.Health.Clear(CodeAtRisk, id)
			delete(r.raised, id)
		}
	}
}

// say announces a check and puts it into the diary.
func (r *Runner) say(ctx context.Context, p flex.Preflight, when string) error {
	detail, err := shown.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the check of %s: %w", p.ID, err)
	}
	text := when + ": " + Text(p)
	sev := health.Info
	if p.Result == flex.PreflightAtRisk {
		sev = health.Warning
	}
	body, err := json.Marshal(flex.Event{Code: "preflight", Severity: string(sev), Subject: p.ID, Raised: p.Result == flex.PreflightAtRisk, Text: text, FactAt: p.At.At})
	if err != nil {
		return fmt.Errorf("encode the event of %s: %w", p.ID, err)
	}
	err = r.cfg.Book.Commit(ctx, flex.Changes{
		Outbox: []flex.Message{{Stream: flex.StreamEvent, At: p.At.At, Clock: p.At.Clock, Schema: "event/1", Body: body}},
		Audit:  []flex.Audit{{At: p.At, What: "preflight." + p.Result, Subject: p.ID, By: "flexd", Text: text, Detail: detail}},
	})
	if err != nil {
		return fmt.Errorf("store the check of %s: %w", p.ID, err)
	}
	r.cfg.Log.Info("pre-flight check", "kind", p.Kind, "id", p.ID, "result", p.Result, "text", text)
	return nil
}

// Text is a check in one line for people.
func Text(p flex.Preflight) string {
	out := fmt.Sprintf("%s %s, %v: %s", p.Kind, p.ID, p.Window, strings.ReplaceAll(p.Result, "_", " "))
	parts := make([]string, 0, len(p.Reasons))
	for _, c := range p.Reasons {
		parts = append(parts, c.Text)
	}
	if len(parts) > 0 {
		out += ": " + strings.Join(parts, "; ")
	}
	return out
}
