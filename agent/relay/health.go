package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// health is the relay's own listener, for a balancer and a collector of
// metrics; it is not for the internet.
type health struct {
	listen  string
	link    *link
	count   *counts
	started time.Time
	open    func() bool // the webhook takes requests

	mu   sync.Mutex
	addr net.Addr
}

// listener opens the address; a socket file left behind makes room.
func (h *health) listener() (net.Listener, error) {
	network, address := "tcp", h.listen
	if path, ok := strings.CutPrefix(h.listen, "unix:"); ok {
		network, address = "unix", path
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("cannot take over the health socket: %w", err)
			}
		}
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for health on %q: %w", h.listen, err)
	}
	h.mu.Lock()
	h.addr = l.Addr()
	h.mu.Unlock()
	return l, nil
}

// run serves until ctx ends.
func (h *health) run(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", h.healthz)
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		h.count.write(w, h.link, h.started)
	})
	srv := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("health on %s ended: %w", h.listen, err)
	case <-ctx.Done():
	}
	_ = srv.Close() // whoever asks now hears nothing, which says it
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("health on %s ended: %w", h.listen, err)
	}
	return nil
}

// healthz is 200 only while the broker is connected.
func (h *health) healthz(w http.ResponseWriter, _ *http.Request) {
	connected, since, last := h.link.status()
	if connected {
		say(w, http.StatusOK, "connected since "+since.UTC().Format(time.RFC3339))
		return
	}
	say(w, http.StatusServiceUnavailable, "not connected since "+since.UTC().Format(time.RFC3339)+": "+last)
}

// readyz is 200 while requests can be answered 2xx: for the balancer.
func (h *health) readyz(w http.ResponseWriter, _ *http.Request) {
	connected, _, _ := h.link.status()
	switch {
	case !h.open():
		say(w, http.StatusServiceUnavailable, "the webhook is not open")
	case !connected:
		say(w, http.StatusServiceUnavailable, "the broker is not connected")
	case h.link.unproven() == len(h.link.order):
		say(w, http.StatusServiceUnavailable, "no topic is proven")
	case len(h.link.queue) == cap(h.link.queue):
		say(w, http.StatusServiceUnavailable, "the queue is full")
	default:
		say(w, http.StatusOK, "ready")
	}
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // whoever hangs up has the status
}
