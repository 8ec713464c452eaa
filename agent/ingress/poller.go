package ingress

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"flexd/agent/flex"
)

// Times of the poller.
const (
	pollEvery   = 5 * time.Minute
	pollGap     = time.Second     // between two polls, whoever asks
	pollRetry   = 5 * time.Second // first back-off after a failure
	pollTimeout = 2 * time.Minute
	pollRest    = time.Hour // the longest Retry-After that is believed
	pollAlarm   = 3         // failures in a row
	pollEager   = 3         // polls at the near pace after somebody asked for one
)

// PollerConfig says how to poll. Every is five minutes when zero.
type PollerConfig struct {
	Every time.Duration // at rest
	// Near tells whether instructions are likely now, and when that changes;
	// nil means never. NearEvery is the interval then; zero means Every.
	Near      func(now time.Time) (near bool, changes time.Time)
	NearEvery time.Duration

	Intake Lister
	Health Health
	Log    *slog.Logger
}

// Poller asks the market for instructions: the door of a site behind NAT, and
// the one that finds what the webhook lost. It is the task "poll".
type Poller struct {
	cfg   PollerConfig
	wake  chan struct{}
	ready chan struct{}
	once  sync.Once
}

// NewPoller builds a poller; nothing runs yet.
func NewPoller(cfg PollerConfig) *Poller {
	cfg.Every = orDefault(cfg.Every, pollEvery)
	cfg.NearEvery = min(orDefault(cfg.NearEvery, cfg.Every), cfg.Every)
	return &Poller{cfg: cfg, wake: make(chan struct{}, 1), ready: make(chan struct{})}
}

// Name is the task's name.
func (p *Poller) Name() string { return "poll" }

// Ready closes once the poller runs.
func (p *Poller) Ready() <-chan struct{} { return p.ready }

// Wake asks for a poll now, and for some more at the near pace: whoever asks
// has lost something.
func (p *Poller) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run polls at once, then at the interval, until ctx ends.
func (p *Poller) Run(ctx context.Context) error {
	p.once.Do(func() { close(p.ready) })
	failures, eager := 0, 0
	for ctx.Err() == nil {
		err := p.poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait, least := p.interval(time.Now(), eager > 0), pollGap
		if err == nil {
			failures = 0
			p.cfg.Health.Clear(CodePollFailed, "")
		} else {
			failures++
			wait, least = p.failed(failures, err)
		}
		if eager = max(0, eager-1); p.pause(ctx, wait, least) {
			eager = pollEager
		}
	}
	return nil
}

// interval is the time to the next poll: ±20 %, so that a fleet does not ask
// in step, and not past the instant at which instructions become likely.
func (p *Poller) interval(now time.Time, eager bool) time.Duration {
	every := p.cfg.Every
	var changes time.Time
	near := eager
	if p.cfg.Near != nil {
		soon, at := p.cfg.Near(now)
		near = near || soon
		if !soon {
			changes = at
		}
	}
	if near {
		every = p.cfg.NearEvery
	}
	wait := every*8/10 + rand.N(every*4/10+1)
	if ahead := changes.Sub(now); changes.After(now) {
		wait = min(wait, max(pollGap, ahead))
	}
	return wait
}

func (p *Poller) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	return p.cfg.Intake.Poll(ctx)
}

// failed gives the wait after a failure, and the part of it that no wake-up
// may cut: what the market asked for.
func (p *Poller) failed(failures int, err error) (wait, least time.Duration) {
	wait = min(p.cfg.Every, pollRetry<<min(failures-1, 10))
	wait += rand.N(wait/5 + 1)
	least = pollGap
	var retry *flex.RetryError
	if errors.As(err, &retry) && retry.After > 0 {
		least = max(pollGap, min(retry.After, pollRest))
		wait = max(wait, least)
	}
	p.cfg.Log.Warn("cannot poll the market", "failures", failures, "wait", wait, "error", err)
	if failures >= pollAlarm {
		p.cfg.Health.Raise(CodePollFailed, "", "polling the market for instructions fails: "+err.Error())
	}
	return wait, least
}

// pause waits; a wake-up ends it, but not before least is over. It tells
// whether somebody asked.
func (p *Poller) pause(ctx context.Context, wait, least time.Duration) bool {
	began := time.Now()
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return false
	case <-p.wake:
	}
	select {
	case <-ctx.Done():
	case <-time.After(least - time.Since(began)):
	}
	return true
}
