package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"flexd/agent/ingress"
)

// Errors of a publish; all of them are worth another try.
var (
	errAway     = errors.New("the broker is not connected")
	errFull     = errors.New("too many envelopes wait for the broker")
	errUnproven = errors.New("the broker has not shown that it passes on what is published")
	errTime     = errors.New("the broker did not acknowledge in time")
)

// maxWaiting bounds the bytes of the bodies that wait for the broker, however
// many there are.
const maxWaiting = 16 << 20

// times of the link. Tests shorten them.
type times struct {
	connect   time.Duration // TCP, TLS and CONNACK together
	write     time.Duration // one packet to the socket
	keepAlive time.Duration
	beat      time.Duration // each topic hears the relay's count
	canary    time.Duration // for what was published to come back
	reprove   time.Duration // unproven topics are tried again
	tick      time.Duration
	pauseMin  time.Duration
	pauseMax  time.Duration
	clean     time.Duration // a connection that held this long resets the back-off
}

func defaults() times {
	return times{connect: 15 * time.Second, write: 5 * time.Second, keepAlive: 30 * time.Second, beat: 30 * time.Second,
		canary: 10 * time.Second, reprove: time.Minute, tick: time.Second,
		pauseMin: time.Second, pauseMax: 30 * time.Second, clean: 30 * time.Second}
}

// topic is one place that envelopes go to.
type topic struct {
	name   string
	seq    uint64 // of the last post that was published
	beat   time.Time
	proven bool
}

// post is one envelope for one topic on its way.
type post struct {
	ctx   context.Context
	topic *topic
	env   ingress.RelayEnvelope
	done  chan error // holds one
}

// link carries posts to the broker on one connection after another. What was
// not acknowledged on the connection it was published on has failed: the sender
// posts it again.
type link struct {
	id     string
	broker Broker
	files  files
	limits Limits
	times  times
	log    *slog.Logger
	count  *counts
	alive  func()
	topics map[string]*topic
	order  []*topic

	mu        sync.Mutex
	connected bool
	present   *session // while connected
	since     time.Time
	lastError string
	waiting   int // bytes
	queue     chan *post
}

func newLink(id string, cfg *Config, f files, log *slog.Logger, c *counts, alive func()) *link {
	l := &link{id: id, broker: cfg.Broker, files: f, limits: cfg.Limits, times: defaults(), log: log, count: c, alive: alive,
		topics: map[string]*topic{}, since: time.Now(), queue: make(chan *post, cfg.Limits.Queue)}
	for _, r := range cfg.Routes {
		for _, name := range r.Topics {
			if l.topics[name] == nil {
				l.topics[name] = &topic{name: name}
				l.order = append(l.order, l.topics[name])
			}
		}
	}
	return l
}

// publish puts one envelope on a topic and waits for the broker's word.
func (l *link) publish(ctx context.Context, name string, env ingress.RelayEnvelope) error {
	p, err := l.enqueue(ctx, name, env)
	if err != nil {
		return err
	}
	defer l.release(len(env.Body))
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return errTime
	}
}

// enqueue refuses what cannot be published soon, rather than hold it.
func (l *link) enqueue(ctx context.Context, name string, env ingress.RelayEnvelope) (*post, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[name]
	switch {
	case t == nil:
		return nil, fmt.Errorf("topic %q is not configured", name)
	case !l.connected:
		return nil, errAway
	case !t.proven:
		return nil, errUnproven
	case l.waiting+len(env.Body) > maxWaiting:
		return nil, errFull
	}
	p := &post{ctx: ctx, topic: t, env: env, done: make(chan error, 1)}
	select {
	case l.queue <- p:
		l.waiting += len(env.Body)
		return p, nil
	default:
		return nil, errFull
	}
}

func (l *link) release(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting -= n
}

// status tells whether posts can go out.
func (l *link) status() (connected bool, since time.Time, lastError string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connected, l.since, l.lastError
}

// unproven counts the topics that nothing has come back from.
func (l *link) unproven() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, t := range l.order {
		if !t.proven {
			n++
		}
	}
	return n
}

// run keeps a connection until ctx ends.
func (l *link) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		err := l.connection(ctx)
		l.down(err)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= l.times.clean {
			failures = 0
		}
		wait := l.pause(failures)
		l.log.Warn("the broker is not connected", "broker", l.broker.URL, "error", err, "retry_in", wait)
		l.rest(ctx, wait)
	}
}

// rest waits, and shows that it does so alive.
func (l *link) rest(ctx context.Context, wait time.Duration) {
	until, tick := time.NewTimer(wait), time.NewTicker(l.times.tick)
	defer until.Stop()
	defer tick.Stop()
	for {
		l.alive()
		select {
		case <-ctx.Done():
			return
		case <-until.C:
			return
		case <-tick.C:
		}
	}
}

// pause is full jitter under a ceiling that doubles: relays that lost their
// broker at one instant come back spread.
func (l *link) pause(failures int) time.Duration {
	ceiling := l.times.pauseMin << min(failures, 16)
	return rand.N(min(ceiling, l.times.pauseMax)) + time.Millisecond
}

// up opens the queue.
func (l *link) up(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connected, l.present, l.since, l.lastError = true, s, time.Now(), ""
	for i, t := range l.order {
		// Spread over the interval, so that many topics beat evenly.
		t.beat = l.since.Add(l.times.beat * time.Duration(i) / time.Duration(len(l.order)))
	}
	l.count.connections.Add(1)
}

// down closes the queue and fails what is left in it. The order matters: once
// it is closed nothing more comes in.
func (l *link) down(err error) {
	l.mu.Lock()
	if l.connected {
		l.connected, l.since = false, time.Now()
	}
	l.present = nil
	if err != nil {
		l.lastError = err.Error()
	}
	for _, t := range l.order {
		t.proven = false
	}
	l.mu.Unlock()
	for {
		select {
		case p := <-l.queue:
			p.done <- errAway
		default:
			return
		}
	}
}
