package ingress

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// crowd bounds the connections of a server. When it is full, the connection
// that has been idle longest makes room, so that sleepers keep nobody out;
// when none is idle, the new one is closed at once.
type crowd struct {
	limit     int
	perSource int                      // an address of one sender may not take every place
	shared    func(remote string) bool // tells of addresses of many

	mu    sync.Mutex
	conns map[net.Conn]*guest
	count map[string]int
}

type guest struct {
	source string
	idle   bool
	since  time.Time
}

func newCrowd(limit int, shared func(remote string) bool) *crowd {
	return &crowd{limit: limit, perSource: max(1, limit/2), shared: shared, conns: map[net.Conn]*guest{}, count: map[string]int{}}
}

// watch follows the server's connections; it is an http.Server's ConnState.
func (c *crowd) watch(conn net.Conn, state http.ConnState) {
	var leave net.Conn
	c.mu.Lock()
	switch state {
	case http.StateNew:
		leave = c.enter(conn)
	case http.StateActive, http.StateIdle:
		if g, known := c.conns[conn]; known {
			g.idle, g.since = state == http.StateIdle, time.Now()
		}
	case http.StateHijacked, http.StateClosed:
		c.exit(conn)
	}
	c.mu.Unlock()
	if leave != nil {
		drop(leave)
	}
}

// drop closes the socket below TLS: a farewell could wait for the peer. The
// server notices and reports the connection closed.
func drop(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
}

// enter admits a connection and gives the one that has to go, if any.
func (c *crowd) enter(conn net.Conn) (leave net.Conn) {
	remote := conn.RemoteAddr().String()
	_, source := sourceOf(remote)
	if c.count[source] >= c.perSource && !c.shared(remote) {
		return conn
	}
	if len(c.conns) >= c.limit {
		if leave = c.sleeper(); leave == nil {
			return conn
		}
		c.exit(leave)
	}
	c.conns[conn] = &guest{source: source, idle: true, since: time.Now()}
	c.count[source]++
	return leave
}

// sleeper is the connection that has been idle longest.
func (c *crowd) sleeper() net.Conn {
	var found net.Conn
	var since time.Time
	for conn, g := range c.conns {
		if g.idle && (found == nil || g.since.Before(since)) {
			found, since = conn, g.since
		}
	}
	return found
}

func (c *crowd) exit(conn net.Conn) {
	g, known := c.conns[conn]
	if !known {
		return
	}
	delete(c.conns, conn)
	if c.count[g.source]--; c.count[g.source] <= 0 {
		delete(c.count, g.source)
	}
}
