package commission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"flexd/agent/flex"
)

// Site is what a commissioning sees.
type Site interface {
	// Busy is why the device must not be tried now: a dispatch that runs or is
	// near, a hold, a declared unavailability; nil when it may.
	Busy(id flex.DeviceID) *flex.Refusal
	Device(id flex.DeviceID) (flex.DeviceStatus, bool)
	Meter() (flex.Reading, bool)
}

// Hand asks control for a setpoint; Override is one.
type Hand interface {
	Ask(n Nudge)
	Let()
	Planned() (seen bool, lost string)
}

// Liner finds out how many connections a device serves beside ours.
type Liner interface {
	Lines(ctx context.Context, id flex.DeviceID) (Lines, error)
}

// Config is what a Runner needs. Liner and Log may be nil.
type Config struct {
	Site    Site
	Hand    Hand
	Liner   Liner
	Now     func() (time.Time, flex.ClockTrust)
	Lease   time.Duration // of control, where a target does not say
	Version string
	Log     *slog.Logger
}

// Times of a run. A step is over after its hold and takeLimit, whatever happens.
const (
	sampleEvery  = time.Second
	takeLimit    = 20 * time.Second // for the registers to hold a setpoint
	releaseLimit = time.Minute      // for the release to be proven
	meterFresh   = 10 * time.Second
	deviceFresh  = 20 * time.Second // of one that takes a request a second while it is told
	revertGrace  = 20 * time.Second // beyond the lease, before the device counts as one that stays
	linesLimit   = 30 * time.Second
	defaultLease = time.Minute
)

// ErrNotReleased tells that the device is not proven to be handed back.
// Control goes on trying for ever.
var ErrNotReleased = errors.New("the device is not proven to be handed back yet, control goes on with it")

// Order is a person's consent to try one device.
type Order struct {
	Device   flex.DeviceID
	Settings Settings
	By       string
}

// Runner carries out one commissioning at a time.
type Runner struct{ cfg Config }

// New builds a runner.
func New(cfg Config) *Runner {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Lease <= 0 {
		cfg.Lease = defaultLease
	}
	return &Runner{cfg}
}

// trial is one run.
type trial struct {
	r      *Runner
	id     flex.DeviceID
	tell   func(step, text string)
	rec    Record
	asked  bool
	revert *RevertResult
}

// Run tries the device and gives what was found, unsigned. Whatever the
// outcome, the device is handed back when it returns, or the error is
// ErrNotReleased as well. tell is called with what happens now.
func (r *Runner) Run(ctx context.Context, o Order, tell func(step, text string)) (rec Record, err error) {
	t := &trial{r: r, id: o.Device, tell: tell}
	s, err := o.Settings.checked()
	if err != nil {
		return Record{}, err
	}
	st, err := t.look(time.Now())
	if err != nil {
		return Record{}, err
	}
	steps, err := Plan(st.Plate, *st.Reading, s)
	if err != nil {
		return Record{}, err
	}
	at, trust := r.cfg.Now()
	t.rec = Record{Device: o.Device, Manufacturer: st.Plate.Manufacturer, Model: st.Plate.Model, Firmware: st.Plate.Firmware, Serial: st.Plate.Serial,
		Method: st.Plate.Method, Address: st.Endpoint, Unit: st.Unit, Rating: Rating(st.Plate), At: at.UTC(), Clock: string(trust), By: o.By,
		Version: r.cfg.Version, Percent: s.Percent, HoldMS: s.Hold.Milliseconds(), Problems: []Problem{}}
	defer func() {
		if end := t.handBack(context.WithoutCancel(ctx)); end != nil {
			rec, err = Record{}, errors.Join(err, end)
		}
	}()
	if err := t.steps(ctx, steps); err != nil {
		return Record{}, err
	}
	lines := t.lines(ctx)
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	var found []Problem
	t.rec.Measured, found = Judge(t.rec.Steps, t.revert, lines, st.Plate.Revert)
	t.rec.Problems = append(t.rec.Problems, found...)
	return t.rec, nil
}

// steps goes through the plan. A device that does not take or ignores its
// first setpoint is not asked for more.
func (t *trial) steps(ctx context.Context, steps []Step) error {
	var was before
	for _, s := range steps {
		t.tell(string(s.Name), s.String())
		told, samples, err := t.drive(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		switch {
		case s.Name == StepBase:
			was = settled(samples)
			if was.device.n == 0 || was.meter.n == 0 {
				return flex.Refuse(flex.ReasonDeviceUnavailable, "%s or the meter gave no power in %v", t.id, s.Hold)
			}
			continue
		case s.Name == StepRevert && !told.IsZero():
			if err := t.fallBack(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			continue
		case s.Name == StepRevert, s.Name == StepAfter:
			continue
		}
		res := JudgeStep(s, told, was, samples)
		t.rec.Steps = append(t.rec.Steps, res)
		if len(samples) > 0 {
			was = settled(samples)
		}
		if p, ok := judgeMove(res); !ok {
			t.tell(string(s.Name), p.Text)
			if p.Code == ProblemNotTaken || p.Code == ProblemIgnores || p.Code == ProblemInverted {
				return nil
			}
		}
	}
	return nil
}

// drive holds a step and samples. told is when the registers were proven to
// hold it: the step lasts from then.
func (t *trial) drive(ctx context.Context, s Step) (told time.Time, samples []Sample, err error) {
	begun := time.Now()
	end := begun.Add(s.Hold)
	limit := end.Add(takeLimit)
	if s.Order == flex.OrderNone {
		if err := t.handBack(ctx); err != nil {
			return told, nil, err
		}
		begun = time.Now()
		end = begun.Add(s.Hold)
		limit = end
	} else {
		t.ask(s, limit, false)
	}
	for {
		st, err := t.step(ctx)
		if err != nil {
			return told, samples, err
		}
		if told.IsZero() && holds(st, s) {
			told = later(st.Proof.EchoAt, begun)
			end = told.Add(s.Hold)
		}
		now := time.Now()
		samples = append(samples, t.sample(st))
		switch {
		case s.Order == flex.OrderNone && !now.Before(end), !told.IsZero() && !now.Before(end), !now.Before(limit):
			return told, samples, nil
		case told.IsZero() && s.Order != flex.OrderNone && now.Sub(begun) >= takeLimit:
			return told, samples, nil
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// holds tells whether the registers are proven to hold a step's setpoint.
func holds(st flex.DeviceStatus, s Step) bool {
	p := st.Proof
	return !p.EchoAt.IsZero() && p.Target.Order == s.Order && p.Target.Power == s.Power
}

func (t *trial) ask(s Step, until time.Time, once bool) {
	t.asked = true
	t.r.cfg.Hand.Ask(Nudge{Device: t.id, Order: s.Order, Power: s.Power, Until: until, Once: once})
}

// step waits for the next sample and makes sure that going on is right.
func (t *trial) step(ctx context.Context) (flex.DeviceStatus, error) {
	timer := time.NewTimer(sampleEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return flex.DeviceStatus{}, ctx.Err()
	case <-timer.C:
	}
	st, err := t.look(time.Now())
	if err != nil {
		return st, err
	}
	if _, lost := t.r.cfg.Hand.Planned(); lost != "" {
		return st, flex.Refuse(flex.ReasonOverlap, "the commissioning of %s gave way: %s", t.id, lost)
	}
	return st, nil
}

// look makes sure that the device may be tried, and can be seen.
func (t *trial) look(now time.Time) (flex.DeviceStatus, error) {
	if busy := t.r.cfg.Site.Busy(t.id); busy != nil {
		return flex.DeviceStatus{}, busy
	}
	st, ok := t.r.cfg.Site.Device(t.id)
	switch {
	case !ok:
		return st, flex.Refuse(flex.ReasonNotOurs, "there is no device %q; `flexd device list` lists them", t.id)
	case !st.Online || st.Reading == nil || !st.Reading.Fresh(now, deviceFresh):
		return st, flex.Refuse(flex.ReasonDeviceUnavailable, "%s cannot be read: %s", t.id, st.Error)
	case st.Reading.Status == "fault":
		return st, flex.Refuse(flex.ReasonDeviceUnavailable, "%s reports a fault %v", t.id, st.Reading.Events)
	case !t.asked && st.Held:
		return st, flex.Refuse(flex.ReasonOverlap, "%s is under control or not handed back yet", t.id)
	}
	if m, ok := t.r.cfg.Site.Meter(); !ok || m.Power == nil || !m.Fresh(now, meterFresh) {
		return st, flex.Refuse(flex.ReasonDeviceUnavailable, "the site's meter gives no power: the direction is proven there, configure site.meter or mend it")
	}
	return st, nil
}

// sample is of when the device was read: what was read before it was told
// proves nothing of what it does then.
func (t *trial) sample(st flex.DeviceStatus) Sample {
	s := Sample{At: st.Reading.At, Device: st.Reading.Power}
	if m, ok := t.r.cfg.Site.Meter(); ok {
		s.Meter = m.Power
	}
	return s
}

// fallBack stops the refresh of what stands and waits until the device lets go.
func (t *trial) fallBack(ctx context.Context, s Step) error {
	st, err := t.look(time.Now())
	if err != nil {
		return err
	}
	lease := st.Target.Revert
	if lease <= 0 {
		lease = t.r.cfg.Lease
	}
	free := t.rec.Steps[0].From
	limit := time.Now().Add(lease + revertGrace)
	t.ask(s, limit.Add(takeLimit), true)
	t.tell(string(s.Name), fmt.Sprintf("not refreshed any more: waiting for up to %v for the fall-back", lease+revertGrace))
	var samples []Sample
	refreshed := st.Proof.Refreshed
	for {
		if st, err = t.step(ctx); err != nil {
			return err
		}
		// A refresh that was on its way counts, one much later would be a mistake.
		refreshed = later(st.Proof.Refreshed, refreshed)
		now := time.Now()
		samples = append(samples, t.sample(st))
		res := JudgeRevert(s.Power, free, refreshed, lease, samples)
		if res.AfterMS != nil || !now.Before(limit) {
			t.revert = &res
			return nil
		}
	}
}

// lines asks how many connections the device serves; not to know is no failure.
func (t *trial) lines(ctx context.Context) *Lines {
	if t.r.cfg.Liner == nil {
		return nil
	}
	t.tell("lines", "how many connections the device serves")
	ctx, cancel := context.WithTimeout(ctx, linesLimit)
	defer cancel()
	l, err := t.r.cfg.Liner.Lines(ctx, t.id)
	if err != nil {
		t.r.cfg.Log.Warn("the number of connections is not known", "device", t.id, "error", err)
		return nil
	}
	return &l
}

// handBack ends the nudge and waits until the release is proven.
func (t *trial) handBack(ctx context.Context) error {
	if !t.asked {
		return nil
	}
	t.r.cfg.Hand.Let()
	t.tell("release", "handing the device back")
	limit := time.Now().Add(releaseLimit)
	tick := time.NewTicker(sampleEvery / 5)
	defer tick.Stop()
	for time.Now().Before(limit) {
		seen, _ := t.r.cfg.Hand.Planned()
		st, ok := t.r.cfg.Site.Device(t.id)
		if seen && ok && !st.Held && wantsNothing(st.Target) {
			t.asked = false
			return nil
		}
		// A dispatch that took the device over owes the release now.
		if seen && ok && len(st.Target.Dispatch) > 0 {
			t.asked = false
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return fmt.Errorf("%s: %w", t.id, ErrNotReleased)
}

func wantsNothing(t flex.Target) bool { return t.Order == flex.OrderNone || t.Order == "" }
