package modbustest

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a client and a real server and mistreats one request at
// a time. What it does not mistreat passes byte for byte.
type Proxy struct {
	// Delay is used by Late and Split. Set it before the first request.
	Delay time.Duration

	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	down     bool
	only     bool          // one connection at a time
	idle     time.Duration // after which a connection is closed; 0: never
	plan     []planned
	conns    map[net.Conn]struct{}
	accepted int
	peak     int
	seen     []Seen
	hits     int
	held     []held
}

// planned is a fault for the nth request of a kind from now.
type planned struct {
	fault  Fault
	holds  bool // the request is kept on its way, by keeper
	keeper Keeper
	writes bool // counts writes only, else every request
	after  int  // requests of the kind that pass before
}

// NewProxy starts a proxy in front of target; it ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("test proxy cannot listen: %v", err)
	}
	p := &Proxy{target: target, listener: ln, conns: map[net.Conn]struct{}{}, Delay: 100 * time.Millisecond}
	p.wg.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

// Addr is the proxy's host and port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// OnWrite plans a fault for the nth write from now, counted from 1.
func (p *Proxy) OnWrite(n int, f Fault) { p.add(planned{fault: f, writes: true, after: n - 1}) }

// OnRequest plans a fault for the nth request from now, counted from 1.
func (p *Proxy) OnRequest(n int, f Fault) { p.add(planned{fault: f, after: n - 1}) }

func (p *Proxy) add(x planned) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = append(p.plan, x)
}

// ServeOne serves one connection at a time, as many inverters do: another is
// closed at once.
func (p *Proxy) ServeOne() { p.mu.Lock(); defer p.mu.Unlock(); p.only = true }

// CloseIdle closes a connection on which nothing is asked for so long.
func (p *Proxy) CloseIdle(after time.Duration) { p.mu.Lock(); defer p.mu.Unlock(); p.idle = after }

// Down ends every connection and refuses new ones: nothing that a client says
// from now on is heard.
func (p *Proxy) Down() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Idle is what CloseIdle was told.
func (p *Proxy) Idle() time.Duration { p.mu.Lock(); defer p.mu.Unlock(); return p.idle }

// Hits counts the requests mistreated so far.
func (p *Proxy) Hits() int { p.mu.Lock(); defer p.mu.Unlock(); return p.hits }

// Open is the number of connections open now.
func (p *Proxy) Open() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.conns) }

// Peak is the largest number of connections that were open at a time.
func (p *Proxy) Peak() int { p.mu.Lock(); defer p.mu.Unlock(); return p.peak }

// Accepted is the number of connections accepted so far.
func (p *Proxy) Accepted() int { p.mu.Lock(); defer p.mu.Unlock(); return p.accepted }

// Seen lists the requests received so far.
func (p *Proxy) Seen() []Seen { p.mu.Lock(); defer p.mu.Unlock(); return slices.Clone(p.seen) }

func (p *Proxy) stop() {
	p.Down()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.down || p.only && len(p.conns) > 0 {
			p.mu.Unlock()
			c.Close()
			continue
		}
		p.accepted++
		n := p.accepted
		p.conns[c] = struct{}{}
		p.peak = max(p.peak, len(p.conns))
		p.mu.Unlock()
		p.wg.Go(func() { p.serve(c, n) })
	}
}

func (p *Proxy) serve(c net.Conn, n int) {
	defer func() {
		c.Close()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}()
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer up.Close()
	for {
		if idle := p.Idle(); idle > 0 {
			_ = c.SetReadDeadline(time.Now().Add(idle))
		}
		request, err := readFrame(c)
		if err != nil {
			p.ended(n, err)
			return
		}
		q := parse(request)
		q.At, q.Conn = time.Now(), n
		due := p.note(q)
		if p.keep(n, request, due) {
			continue
		}
		if due.fault == None {
			answer, err := pass(up, request)
			if err != nil || !send(c, answer) {
				return
			}
			continue
		}
		if !mistreat(c, q, due.fault, p.Delay, func(Seen) []byte { return pdu(up, request) }) {
			return
		}
	}
}

// note files the request and takes what is planned for it, if anything is.
func (p *Proxy) note(q Seen) planned {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, q)
	isWrite := q.Func == 6 || q.Func == 16
	for i := range p.plan {
		x := &p.plan[i]
		if x.writes && !isWrite {
			continue
		}
		if x.after > 0 {
			x.after--
			continue
		}
		due := *x
		p.plan = slices.Delete(p.plan, i, i+1)
		p.hits++
		return due
	}
	return planned{}
}

// pass hands a request on and reads the answer.
func pass(up net.Conn, request []byte) ([]byte, error) {
	if _, err := up.Write(request); err != nil {
		return nil, err
	}
	header := make([]byte, 6)
	if _, err := io.ReadFull(up, header); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(header[4:]))
	if _, err := io.ReadFull(up, body); err != nil {
		return nil, err
	}
	return append(header, body...), nil
}

// pdu is the answer without its header; a server that is gone fails.
func pdu(up net.Conn, request []byte) []byte {
	answer, err := pass(up, request)
	if err != nil || len(answer) < 9 {
		return []byte{request[7] | 0x80, 4}
	}
	return answer[7:]
}
