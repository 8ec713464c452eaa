package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSocket is where the commands look: --socket, else this, which is
// $RUNTIME_DIRECTORY/flexd.sock under systemd, else /run/flexd/flexd.sock.
func DefaultSocket() string {
	if dir := os.Getenv("RUNTIME_DIRECTORY"); dir != "" {
		return filepath.Join(dir, "flexd.sock")
	}
	return "/run/flexd/flexd.sock"
}

// requestLimit bounds one command: a probe of a slow device is the longest.
const requestLimit = 60 * time.Second

// Socket serves the commands on a unix socket. Root and the agent's own user
// act; whoever else may open the socket (the group of the file) reads.
type Socket struct {
	path  string
	parts Parts
	log   *slog.Logger
	ready chan struct{}
	once  sync.Once
}

// Parts are those who answer the commands.
type Parts struct {
	Source      Source
	Actor       Actor
	Bench       Bench
	Answers     Answerer
	Declarer    Declarer
	Subscriber  Subscriber
	Driller     Driller
	Explainer   Explainer
	Metered     Metered
	Preflighter Preflighter
	Sampled     Sampled
	Zone        string // of the site, an IANA name
}

// NewSocket builds the task that serves path.
func NewSocket(path string, parts Parts, log *slog.Logger) *Socket {
	return &Socket{path: path, parts: parts, log: log, ready: make(chan struct{})}
}

// Name names the task.
func (s *Socket) Name() string { return "socket" }

// Ready closes once commands can connect.
func (s *Socket) Ready() <-chan struct{} { return s.ready }

// Run listens until ctx ends.
func (s *Socket) Run(ctx context.Context) error {
	ln, err := s.listen(ctx)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           s.Handler(),
		ConnContext:       withPeer,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      requestLimit + 5*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.once.Do(func() { close(s.ready) })
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			_ = srv.Close()
		}
	})
	err = srv.Serve(ln)
	if ctx.Err() != nil {
		wg.Wait()
		return nil
	}
	return fmt.Errorf("cannot serve commands on %s: %w", s.path, err)
}

// listen takes the socket over from a dead agent, but never from a living one.
func (s *Socket) listen(ctx context.Context) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o750); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the command socket: %w", err)
	}
	var d net.Dialer
	if c, err := d.DialContext(ctx, "unix", s.path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another flexd already serves %s: stop it first, or set local.socket", s.path)
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot replace the command socket: %w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", s.path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the command socket: %w", err)
	}
	if err := os.Chmod(s.path, 0o660); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("cannot set the mode of the command socket: %w", err)
	}
	return ln, nil
}

type peerKey struct{}

// withPeer keeps the peer's user id, as the kernel tells it (unix(7),
// SO_PEERCRED).
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			ctx = context.WithValue(ctx, peerKey{}, cred.Uid)
		}
	})
	return ctx
}

// peer tells who asks and whether they may act.
func peer(ctx context.Context) (name string, mayAct bool) {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return "unknown", false
	}
	name = "uid " + strconv.Itoa(int(uid))
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		name = u.Username
	}
	return name, uid == 0 || int(uid) == os.Getuid()
}

// Handler is the table of routes with their rights.
func (s *Socket) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/telemetry", s.samples) // to look is enough
	for _, rt := range slices.Concat(routes, benchRoutes) {
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, r *http.Request) {
			by, mayAct := peer(r.Context())
			if rt.right == act && !mayAct {
				writeError(w, http.StatusForbidden, fmt.Errorf("%s may look but not act: use root or the agent's own user", by))
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), requestLimit)
			defer cancel()
			out, err := rt.serve(s, r.WithContext(ctx), by)
			if err != nil {
				writeError(w, code(err), err)
				return
			}
			w.Header().Set(zoneHeader, s.parts.Zone)
			writeJSON(w, http.StatusOK, out)
		})
	}
	return mux
}
