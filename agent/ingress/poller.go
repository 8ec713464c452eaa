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
)

// PollerConfig says how to poll. Every is five minutes when zero.
type PollerConfig struct {
	Every  time.Duration
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
	return &Poller{cfg: cfg, wake: make(chan struct{}, 1), ready: make(chan struct{})}
}

// Name is the task's name.
func (p *Poller) Name() string { return "poll" }

// Ready closes once the poller runs.
func (p *Poller) Ready() <-chan struct{} { return p.ready }

// Wake asks for a poll now.
func (p *Poller) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run polls at once, then at the interval, until ctx ends.
func (p *Poller) Run(ctx context.Context) error {
	p.once.Do(func() { close(p.ready) })
	failures := 0
	for ctx.Err() == nil {
		err := p.poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// ±20 %, so that a fleet does not ask in step.
		wait, least := p.cfg.Every*8/10+rand.N(p.cfg.Every*4/10+1), pollGap
		if err == nil {
			failures = 0
			p.cfg.Health.Clear(CodePollFailed, "")
		} else {
			failures++
			wait, least = p.failed(failures, err)
		}
		p.pause(ctx, wait, least)
	}
	return nil
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

// pause waits; a wake-up ends it, but not before least is over.
func (p *Poller) pause(ctx context.Context, wait, least time.Duration) {
	began := time.Now()
	select {
	case <-ctx.Done():
		return
	case <-time.After(wait):
		return
	case <-p.wake:
	}
	select {
	case <-ctx.Done():
	case <-time.After(least - time.Since(began)):
	}
}
