package relay

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"flexd/agent/clock"
	"flexd/agent/ingress"
	"flexd/agent/run"
)

// Options are what a relay needs besides its configuration.
type Options struct {
	Log *slog.Logger
	// Resolve gives the path of a credential; it is not asked for files.
	Resolve func(credential string) (string, error)
	// Listener is used in place of the configured address when it is given.
	Listener net.Listener
	// Built is when the program was built: the broker's certificate is judged
	// no earlier, so that a machine which starts in 1970 reaches it.
	Built time.Time
}

// Relay is one relay. It is the task "relay".
type Relay struct {
	id      string
	cfg     *Config
	log     *slog.Logger
	link    *link
	hook    *ingress.Webhook
	health  *health
	serving atomic.Bool
	beat    run.Beat
	ready   chan struct{}
}

// New builds a relay with an id of its own; nothing listens yet.
func New(cfg *Config, o Options) (*Relay, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	paths, err := resolve(o.Resolve, cfg.Webhook.Cert, cfg.Webhook.Key, cfg.Broker.CA, cfg.Broker.Cert, cfg.Broker.Key)
	if err != nil {
		return nil, err
	}
	c := newCounts(o.Log)
	r := &Relay{id: ulid.Make().String(), cfg: cfg, log: o.Log, ready: make(chan struct{})}
	r.link = newLink(r.id, cfg, files{paths[2], paths[3], paths[4], clock.New(&clock.System{}, o.Built).Certificates}, o.Log, c, func() { r.beat.Done(time.Now()) })
	sources := newSources(cfg.Limits.PerSource)
	routes := map[string]ingress.Intake{}
	for _, route := range cfg.Routes {
		routes[route.Path] = &door{route: route, limits: cfg.Limits, link: r.link, sources: sources, count: c}
	}
	r.hook = ingress.NewWebhook(ingress.WebhookConfig{Listen: cfg.Webhook.Listen, Listener: o.Listener, Routes: routes,
		CertFile: paths[0], KeyFile: paths[1], TrustedProxies: cfg.Webhook.TrustedProxies, Signed: ingress.HoldsJWS,
		Health: c, Log: o.Log, PerSecond: cfg.Limits.PerSecond})
	r.health = &health{listen: cfg.Health, link: r.link, count: c, started: time.Now(), open: r.serving.Load}
	return r, nil
}

func resolve(credential func(string) (string, error), secrets ...Secret) ([]string, error) {
	out := make([]string, len(secrets))
	for i, s := range secrets {
		out[i] = s.File
		if s.Credential == "" {
			continue
		}
		path, err := credential(s.Credential)
		if err != nil {
			return nil, fmt.Errorf("cannot find a credential of the relay: %w", err)
		}
		out[i] = path
	}
	return out, nil
}

// Ready closes once the webhook listens. The broker may come later: until then
// every answer is 503.
func (r *Relay) Ready() <-chan struct{} { return r.ready }

// ID names this start of this relay.
func (r *Relay) ID() string { return r.id }

// Addr is where the webhook listens, HealthAddr where health and metrics are.
func (r *Relay) Addr() net.Addr { return r.hook.Addr() }

// HealthAddr is nil before it listens, and when it is off.
func (r *Relay) HealthAddr() net.Addr {
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	return r.health.addr
}

// stuck is how long the link's loop may take for one round: connecting is
// bounded by 20 s, one packet to the socket by 5 s.
const stuck = 40 * time.Second

// Alive tells whether the link's loop goes round, broker or not: a watchdog is
// fed for that alone.
func (r *Relay) Alive(now time.Time) bool { return r.beat.Alive(now, stuck) }

// Run serves until ctx ends: then first the webhook ends, with what is under
// way, and after it the connection to the broker.
func (r *Relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 2)
	n := 0
	if r.cfg.Health != "" {
		l, err := r.health.listener()
		if err != nil {
			stop()
			return err
		}
		n++
		go func() { ended <- r.health.run(behind, l) }()
	}
	n++
	go func() { r.link.run(behind); ended <- nil }()
	hooked := make(chan error, 1)
	go func() { hooked <- r.hook.Run(ctx) }()
	err := r.watch(ctx, hooked, ended)
	r.serving.Store(false)
	cancel()
	if herr := <-hooked; err == nil {
		err = herr
	}
	stop()
	for range n {
		if eerr := <-ended; err == nil {
			err = eerr
		}
	}
	return err
}

// watch waits for the end, or for a part that fails.
func (r *Relay) watch(ctx context.Context, hooked, ended chan error) error {
	ready := r.hook.Ready()
	for {
		select {
		case <-ready:
			ready = nil
			r.serving.Store(true)
			close(r.ready)
		case err := <-hooked:
			hooked <- nil
			return err
		case err := <-ended:
			ended <- nil
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
