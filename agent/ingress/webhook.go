package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of the webhook, when the configuration does not say otherwise.
const (
	maxBody       = 1 << 20
	maxHeader     = 16 << 10
	maxHeaders    = 64
	smallBody     = 64 << 10 // bodies up to here need no place among the large
	largeAtOnce   = 16
	maxConns      = 256
	perSecond     = 1000
	failPerSecond = 10
	headerTime    = 5 * time.Second
	readTime      = 15 * time.Second
	handleTime    = 25 * time.Second
	writeTime     = 45 * time.Second // counted from the end of the header
	idleTime      = 60 * time.Second
	shutdownTime  = 5 * time.Second
)

// WebhookConfig says how to serve. Health and Log are mandatory, and so are
// Listen or Listener, and Path with Intake or Routes; zero bounds mean the
// defaults.
type WebhookConfig struct {
	Listen   string       // host:port
	Listener net.Listener // opened before; it is used first
	Path     string       // exact, and leads to Intake
	// Routes are exact paths and whom they lead to, besides Path.
	Routes map[string]Intake
	// TrustedProxies are the networks whose word on a request's source counts.
	TrustedProxies []netip.Prefix
	// CertFile and KeyFile are PEM; both empty: plain, behind a proxy.
	CertFile, KeyFile string
	// Signed tells whether headers alone hold a signed notification: then a post
	// with an empty body is no ping. May be nil.
	Signed func(http.Header) bool
	Intake Intake
	Health Health
	Log    *slog.Logger

	MaxConns      int
	PerSecond     int           // requests over all
	FailPerSecond int           // failures of one source
	ReadTime      time.Duration // header and body together
	CertCheck     time.Duration
}

// Webhook is the server that the market posts to. It is the task "webhook".
type Webhook struct {
	cfg     WebhookConfig
	log     *slog.Logger
	routes  map[string]Intake
	rate    *rate.Limiter
	fails   *failures
	shared  func(remote string) bool
	pingKey []byte
	crowd   *crowd
	ready   chan struct{}
	once    sync.Once

	mu    sync.Mutex
	given net.Listener
	addr  net.Addr
}

// NewWebhook builds a server; nothing listens yet.
func NewWebhook(cfg WebhookConfig) *Webhook {
	cfg.MaxConns = orDefault(cfg.MaxConns, maxConns)
	cfg.PerSecond = orDefault(cfg.PerSecond, perSecond)
	cfg.FailPerSecond = orDefault(cfg.FailPerSecond, failPerSecond)
	cfg.ReadTime = orDefault(cfg.ReadTime, readTime)
	cfg.CertCheck = orDefault(cfg.CertCheck, certCheck)
	routes := map[string]Intake{}
	if cfg.Intake != nil {
		routes[cfg.Path] = cfg.Intake
	}
	maps.Copy(routes, cfg.Routes)
	shared := sharedBy(cfg.TrustedProxies, cfg.CertFile != "")
	return &Webhook{
		cfg:     cfg,
		log:     cfg.Log,
		routes:  routes,
		rate:    rate.NewLimiter(rate.Limit(cfg.PerSecond), cfg.PerSecond),
		fails:   newFailures(cfg.FailPerSecond),
		shared:  shared,
		crowd:   newCrowd(cfg.MaxConns, shared),
		pingKey: newPingKey(),
		ready:   make(chan struct{}),
		given:   cfg.Listener,
	}
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Name is the task's name.
func (w *Webhook) Name() string { return "webhook" }

// Ready closes once the server listens.
func (w *Webhook) Ready() <-chan struct{} { return w.ready }

// Addr is where the server listens; nil before it does.
func (w *Webhook) Addr() net.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addr
}

// Run serves until ctx ends, then lets requests under way finish for at most
// five seconds.
func (w *Webhook) Run(ctx context.Context) error {
	listener, cert, err := w.listen()
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watch, enough := context.WithCancel(ctx)
	defer enough()
	if cert != nil {
		watching.Go(func() { cert.watch(watch) })
	}
	srv := &http.Server{
		Handler:           http.HandlerFunc(w.serve),
		ReadHeaderTimeout: min(headerTime, w.cfg.ReadTime),
		ReadTimeout:       w.cfg.ReadTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       mark,
		ConnState:         w.crowd.watch,
		// What the library has to say (handshakes of scanners) is noise here.
		ErrorLog:    slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		// HTTP/1.1 alone: one request per connection at a time keeps the
		// bounds on memory plain.
		Protocols: new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	w.once.Do(func() { close(w.ready) })
	w.log.Info("webhook open", "listen", listener.Addr(), "paths", slices.Sorted(maps.Keys(w.routes)), "tls", w.cfg.CertFile != "")
	select {
	case err := <-served:
		_ = srv.Close()
		return fmt.Errorf("webhook on %s ended: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		w.log.Warn("webhook requests were cut off at the end", "error", err)
		_ = srv.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("webhook on %s ended: %w", listener.Addr(), err)
	}
	return nil
}

// listen opens the door. A listener that was given serves once; after a
// failure the address is opened anew.
func (w *Webhook) listen() (net.Listener, *certificate, error) {
	var cert *certificate
	if w.cfg.CertFile != "" {
		cert = &certificate{certFile: w.cfg.CertFile, keyFile: w.cfg.KeyFile, check: w.cfg.CertCheck, health: w.cfg.Health, log: w.log}
		if err := cert.open(); err != nil {
			w.cfg.Health.Raise(CodeCertificate, "", err.Error())
			return nil, nil, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	listener := w.given
	w.given = nil
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", w.cfg.Listen); err != nil {
			return nil, nil, fmt.Errorf("cannot listen for the webhook on %q: %w", w.cfg.Listen, err)
		}
	}
	w.addr = listener.Addr()
	if cert != nil {
		listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get, NextProtos: []string{"http/1.1"}})
	}
	return listener, cert, nil
}
