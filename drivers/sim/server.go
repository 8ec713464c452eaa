package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// maxConns bounds the connections of one server.
const maxConns = 64

// ServerConfig describes a listener. The zero value listens on a free port of
// the loopback address.
type ServerConfig struct {
	// Addr is host:port; empty means 127.0.0.1:0.
	Addr string
	// OneConnection closes every further connection while one is open.
	OneConnection bool
	// Latency passes before each answer.
	Latency time.Duration
}

// Server is one Modbus/TCP listener with one or more units behind it.
type Server struct {
	plant *Plant
	cfg   ServerConfig
	addr  string // fixed once bound
	wake  chan struct{}

	mu       sync.Mutex
	listener net.Listener // nil while down
	units    map[byte]*Device
	conns    map[net.Conn]bool
	fault    Fault
	latency  time.Duration
	accepted int
	requests int
	over     bool // run has ended for good
}

// newServer binds the listener, so that the address is known before Run.
func newServer(p *Plant, cfg ServerConfig) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for modbus: %w", err)
	}
	return &Server{plant: p, cfg: cfg, addr: l.Addr().String(), wake: make(chan struct{}, 1), listener: l,
		units: map[byte]*Device{}, conns: map[net.Conn]bool{}, latency: cfg.Latency}, nil
}

// Addr is where it listens, host:port, also while it is down.
func (s *Server) Addr() string { return s.addr }

// SetFault makes the server ill from the next request on; Fault{} heals it.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// SetLatency changes the time before each answer.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// Connections counts those open now.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Accepted counts the connections ever accepted.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Requests counts the requests received, answered or not.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Down stops listening and drops every connection, like a power cut of the
// network card: what the device was told stays in force.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	for c := range s.conns {
		c.Close()
	}
}

// Up listens again on the same address.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return fmt.Errorf("cannot listen for modbus again: the plant has ended")
	}
	if s.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("cannot listen for modbus again: %w", err)
	}
	s.listener = l
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// Restart is Down, a while, and Up.
func (s *Server) Restart(ctx context.Context, away time.Duration) error {
	s.Down()
	if err := pause(ctx, away); err != nil {
		return err
	}
	return s.Up()
}

// run accepts until ctx ends, through downs and ups, and waits for every
// connection.
func (s *Server) run(ctx context.Context) {
	var open sync.WaitGroup
	defer open.Wait()
	defer s.end()
	stop := context.AfterFunc(ctx, s.Down)
	defer stop()
	for ctx.Err() == nil {
		s.mu.Lock()
		l := s.listener
		s.mu.Unlock()
		if l == nil {
			select {
			case <-ctx.Done():
			case <-s.wake:
			}
			continue
		}
		c, err := l.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) && pause(ctx, 10*time.Millisecond) != nil {
				return
			}
			continue
		}
		if !s.admit(c, l) {
			c.Close()
			continue
		}
		open.Go(func() {
			s.converse(ctx, c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// end takes the server down for good.
func (s *Server) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.Down()
}

// admit registers a connection unless there are too many, or the listener it
// came from is gone.
func (s *Server) admit(c net.Conn, from net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != from || len(s.conns) >= maxConns || s.cfg.OneConnection && len(s.conns) > 0 {
		return false
	}
	s.conns[c] = true
	s.accepted++
	return true
}

// converse answers requests in order until the connection ends.
func (s *Server) converse(ctx context.Context, c net.Conn) {
	head := make([]byte, headerSize)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		transaction, unit, size, err := header(head)
		if err != nil {
			return
		}
		pdu := make([]byte, size)
		if _, err := io.ReadFull(c, pdu); err != nil {
			return
		}
		if !s.reply(ctx, c, transaction, unit, pdu) {
			return
		}
	}
}

// reply executes one request and answers it as the fault of the hour allows.
// It returns false when the connection is over.
func (s *Server) reply(ctx context.Context, c net.Conn, transaction uint16, unit byte, pdu []byte) bool {
	r, exception := parsePDU(unit, pdu)
	device, fault, latency := s.meet(unit, r.write())
	switch fault.Ill {
	case Deaf:
		return true
	case Reset:
		abort(c)
		return false
	case Refuse:
		exception = fault.Code
		if exception == 0 {
			exception = ExceptionBusy
		}
	case Well, Late, Mute, ResetAfter, CloseAfter, Half, WrongTransaction, Short:
	}
	var out []byte
	switch {
	case device == nil:
		out = answer(r, nil, ExceptionTarget)
	case exception != 0:
		out = answer(r, nil, exception)
	default:
		out = device.serve(r, s.plant.now())
	}
	if fault.Ill == Late {
		latency += fault.Delay
	}
	if pause(ctx, latency) != nil {
		return false
	}
	return send(c, fault.Ill, transaction, unit, out)
}

// send answers, well or ill.
func send(c net.Conn, ill Ill, transaction uint16, unit byte, pdu []byte) bool {
	switch ill {
	case Mute:
		return true
	case ResetAfter:
		abort(c)
		return false
	case Half:
		out := frame(transaction, unit, pdu)
		_, _ = c.Write(out[:len(out)/2]) // the connection ends either way
		return false
	case WrongTransaction:
		transaction += 7
	case Short:
		if len(pdu) >= 4 && pdu[0] <= funcReadInput {
			pdu = pdu[:len(pdu)-2]
			pdu[1] -= 2
		}
	case Well, Late, Deaf, Reset, CloseAfter, Refuse:
	}
	_, err := c.Write(frame(transaction, unit, pdu))
	return err == nil && ill != CloseAfter
}

// meet counts a request and finds who must answer it, and how badly.
func (s *Server) meet(unit byte, write bool) (*Device, Fault, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	f := s.fault
	if !f.strikes(unit, write) {
		return s.units[unit], Fault{}, s.latency
	}
	if f.Times > 0 {
		if s.fault.Times--; s.fault.Times == 0 {
			s.fault = Fault{}
		}
	}
	return s.units[unit], f, s.latency
}

// abort closes with a reset instead of a farewell.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // if it fails the peer sees a close, an ill as well
	}
	c.Close()
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
