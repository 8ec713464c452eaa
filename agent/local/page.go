package local

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"flexd/agent/shown"
)

//go:embed page.html
var pageHTML []byte

// maxViewers bounds the live streams; a site has a handful of people.
const maxViewers = 16

// Page serves the local page: one self-contained document, read-only, fed by
// server-sent events.
type Page struct {
	listen string
	names  []string // under which it may be opened
	src    Source
	trail  *Trail
	log    *slog.Logger
	ready  chan struct{}
	once   sync.Once

	mu      sync.Mutex
	addr    string
	viewers int
}

// NewPage builds the task that serves listen (host:port), which may be opened
// by address, as localhost, by the host of listen and by names.
func NewPage(listen string, names []string, src Source, log *slog.Logger) *Page {
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		names = append(slices.Clone(names), host)
	}
	return &Page{listen: listen, names: names, src: src, trail: &Trail{}, log: log, ready: make(chan struct{})}
}

// Name names the task.
func (p *Page) Name() string { return "page" }

// Ready closes once the page can be opened.
func (p *Page) Ready() <-chan struct{} { return p.ready }

// Addr is where the page really listens, "" before Ready.
func (p *Page) Addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// Run serves until ctx ends.
func (p *Page) Run(ctx context.Context) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", p.listen)
	if err != nil {
		return fmt.Errorf("cannot open the local page: %w", err)
	}
	p.mu.Lock()
	p.addr = ln.Addr().String()
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{
		Handler:           p.Handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	p.once.Do(func() { close(p.ready) })
	var wg sync.WaitGroup
	wg.Go(func() { p.record(ctx) })
	wg.Go(func() {
		<-ctx.Done()
		_ = srv.Close() // streams never end by themselves
	})
	err = srv.Serve(ln)
	cancel()
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot serve the local page: %w", err)
}

// record keeps the trail of the chart, a point a second.
func (p *Page) record(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.trail.Add(p.src.Point())
		}
	}
}

// Handler serves the page and its data.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(pageHTML)
	})
	mux.HandleFunc("GET /api/state", func(w http.ResponseWriter, r *http.Request) {
		st, err := p.state(r.Context())
		if err != nil {
			writeError(w, http.StatusInternalServerError, err)
			return
		}
		writeJSON(w, http.StatusOK, st)
	})
	mux.HandleFunc("GET /api/live", p.live)
	return p.guard(mux)
}

// guard sets what keeps a browser honest, and refuses names that are not this
// machine's own: a foreign site must not reach the page by DNS rebinding.
func (p *Page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.ownName(r.Host) {
			http.Error(w, "open this page by its address, or list its name in local.names", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// ownName accepts addresses, localhost and the configured names. Any other,
// one without a dot or under .local too, can be pointed here by a stranger on
// the site's network.
func (p *Page) ownName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") || slices.ContainsFunc(p.names, func(name string) bool { return strings.EqualFold(name, host) })
}

// state is everything the page shows besides the chart.
type state struct {
	Status       Status       `json:"status"`
	Obligations  []Obligation `json:"obligations"`
	Instructions any          `json:"instructions"`
	Events       []Event      `json:"events"`
}

// bounds of what the page shows.
const (
	pageAhead  = 7 * 24 * time.Hour
	pageInstrs = 20
	pageEvents = 60
)

func (p *Page) state(ctx context.Context) (st state, err error) {
	if st.Status, err = p.src.Status(ctx); err != nil {
		return st, err
	}
	if st.Obligations, err = p.src.Obligations(ctx, pageAhead); err != nil {
		return st, err
	}
	instrs, err := p.src.Instructions(ctx, pageInstrs)
	if err != nil {
		return st, err
	}
	for i := range instrs { // the page needs no raw replies
		instrs[i].Record.Instruction.Raw = nil
	}
	st.Instructions = instrs
	st.Events, err = p.src.Events(ctx, pageEvents)
	return st, err
}

// enter counts a viewer in, or refuses.
func (p *Page) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.viewers >= maxViewers {
		return false
	}
	p.viewers++
	return true
}

func (p *Page) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.viewers--
}

// live streams the trail once, then a point a second and the state every two.
func (p *Page) live(w http.ResponseWriter, r *http.Request) {
	if !p.enter() {
		http.Error(w, "too many viewers, close one", http.StatusServiceUnavailable)
		return
	}
	defer p.leave()
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	ctx := r.Context()
	send := func(event string, v any) bool {
		data, err := shown.Marshal(v)
		if err != nil || rc.SetWriteDeadline(time.Now().Add(10*time.Second)) != nil {
			return false
		}
		_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data)
		return err == nil && rc.Flush() == nil
	}
	if !send("trail", p.trail.All()) {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%2 == 0 {
			if st, err := p.state(ctx); err == nil && !send("state", st) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !send("point", p.src.Point()) {
				return
			}
		}
	}
}
