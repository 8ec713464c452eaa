package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"flexd/agent/flex"
	"flexd/agent/ingress"
)

// retryAfter is what a sender is told to wait when the broker is away.
const retryAfter = 5 * time.Second

// door is one path: it publishes what is posted there to its topics.
type door struct {
	route   Route
	limits  Limits
	link    *link
	sources *sources
	count   *counts
}

// Accept publishes one request to every topic of the route, at the same time,
// and returns nil once the broker has acknowledged all of them.
func (d *door) Accept(ctx context.Context, env flex.Envelope) error {
	if len(env.Body) > d.limits.MaxBody {
		d.count.requests[tooLarge].Add(1)
		return flex.Refuse(flex.ReasonTooLarge, "the body is larger than %d bytes", d.limits.MaxBody)
	}
	if !env.Shared && !d.sources.allow(env.Source, env.Received) {
		d.count.requests[tooMany].Add(1)
		return &flex.RetryError{After: time.Second, Err: errors.New("too many requests of one source")}
	}
	ctx, cancel := context.WithTimeout(ctx, d.limits.Timeout)
	defer cancel()
	out := ingress.RelayEnvelope{At: env.Received, Method: "POST", Path: d.route.Path, Header: env.Header, Source: env.Source, Body: env.Body}
	answers := make(chan error, len(d.route.Topics))
	for _, name := range d.route.Topics[1:] {
		go func() { answers <- d.link.publish(ctx, name, out) }()
	}
	answers <- d.link.publish(ctx, d.route.Topics[0], out)
	var failed error
	for range d.route.Topics {
		if err := <-answers; err != nil {
			failed = err
		}
	}
	d.count.requests[outcomeOf(failed)].Add(1)
	if failed != nil {
		return &flex.RetryError{After: retryAfter, Err: fmt.Errorf("not published: %w", failed)}
	}
	return nil
}

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return accepted
	case errors.Is(err, errUnproven):
		return unprovenTopic
	case errors.Is(err, errFull):
		return queueFull
	case errors.Is(err, errTime):
		return noAnswer
	default:
		return brokerAway
	}
}
