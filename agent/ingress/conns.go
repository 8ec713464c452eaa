package ingress

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// slowRead is how long a request may take to arrive before its connection is
// the first to make room: a notification is there within milliseconds.
const slowRead = time.Second

// crowd bounds the connections of a server, and among them those that send
// large bodies. When it is full, whoever sends slowly makes room, then the
// connection that has been idle or sending longest: so neither sleepers nor
// slow bodies keep the quick out. A request that has arrived whole is never
// given up for another; when there are only such, the new connection is closed
// at once. A source that has its share already is let in to be told so while
// there are places, and makes room before anyone else.
type crowd struct {
	limit     int
	perSource int                      // an address of one sender may not take every place
	shared    func(remote string) bool // tells of addresses of many

	mu    sync.Mutex
	conns map[net.Conn]*guest
	count map[string]int
}

// stage is what a connection is at.
type stage int

const (
	idle    stage = iota
	reading       // the header of a request is there, its body not yet
	handled       // it is there whole
)

type guest struct {
	source string
	state  stage
	since  time.Time
	large  bool // its body takes one of the places for large ones
	over   bool // beyond its source's share: it is only told so
}

func newCrowd(limit int, shared func(remote string) bool) *crowd {
	return &crowd{limit: limit, perSource: max(1, limit/2), shared: shared, conns: map[net.Conn]*guest{}, count: map[string]int{}}
}

// connKey leads to the connection of a request.
type connKey struct{}

// mark keeps the connection in its requests' context; it is an http.Server's
// ConnContext.
func mark(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// watch follows the server's connections; it is an http.Server's ConnState.
func (c *crowd) watch(conn net.Conn, state http.ConnState) {
	var leave net.Conn
	c.mu.Lock()
	switch state {
	case http.StateNew:
		leave = c.enter(conn)
	case http.StateActive:
		c.move(conn, reading)
	case http.StateIdle:
		c.move(conn, idle)
	case http.StateHijacked, http.StateClosed:
		c.exit(conn)
	}
	c.mu.Unlock()
	if leave != nil {
		drop(leave)
	}
}

// whole notes that the request has arrived.
func (c *crowd) whole(ctx context.Context) {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.move(conn, handled)
}

// move takes a connection to another stage. The caller holds mu.
func (c *crowd) move(conn net.Conn, to stage) {
	if g, known := c.conns[conn]; known {
		g.state, g.since, g.large = to, time.Now(), false
	}
}

// over tells whether the request's source has its share of connections already.
func (c *crowd) over(ctx context.Context) bool {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.conns[conn]
	return g != nil && g.over
}

// grow takes a place for a large body. When all are taken, the one that has
// been sending longest loses its own.
func (c *crowd) grow(ctx context.Context) {
	conn, _ := ctx.Value(connKey{}).(net.Conn)
	var slowest net.Conn
	c.mu.Lock()
	large := 0
	for other, g := range c.conns {
		if !g.large {
			continue
		}
		if large++; slowest == nil || g.since.Before(c.conns[slowest].since) {
			slowest = other
		}
	}
	if large < largeAtOnce {
		slowest = nil
	} else {
		c.exit(slowest)
	}
	if g, known := c.conns[conn]; known {
		g.large = true
	}
	c.mu.Unlock()
	if slowest != nil {
		drop(slowest)
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
	over := c.count[source] >= c.perSource && !c.shared(remote)
	if len(c.conns) >= c.limit {
		if over {
			return conn
		}
		if leave = c.leaver(time.Now()); leave == nil {
			return conn
		}
		c.exit(leave)
	}
	c.conns[conn] = &guest{source: source, since: time.Now(), over: over}
	c.count[source]++
	return leave
}

// leaver is the connection that has to make room; nil when all are handled.
// Who is only told that there are too many goes before who is slow.
func (c *crowd) leaver(now time.Time) net.Conn {
	var found net.Conn
	var worst int
	var since time.Time
	for conn, g := range c.conns {
		rank := 0
		switch {
		case g.state == handled:
			continue
		case g.over:
			rank = 2
		case g.state == reading && now.Sub(g.since) >= slowRead:
			rank = 1
		}
		if found == nil || rank > worst || rank == worst && g.since.Before(since) {
			found, worst, since = conn, rank, g.since
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
