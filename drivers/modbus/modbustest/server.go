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

// Seen is one request as the server received it.
type Seen struct {
	At     time.Time
	Conn   int // connections counted from 1
	Txid   uint16
	Unit   byte
	Func   byte
	Addr   uint16
	Count  int
	Values []uint16 // writes
}

// Server serves one register image to any unit.
type Server struct {
	// Delay is used by Late and Split. Set it before the first request.
	Delay time.Duration
	// MaxConns closes every connection beyond so many; 0 is no bound.
	MaxConns int

	addr string
	wg   sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	regs     map[uint16]uint16
	faults   []Fault
	conns    map[net.Conn]struct{}
	accepted int
	refused  int
	first    time.Time
	seen     []Seen
}

// New starts a server on a free loopback port; it ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	return At(t, "127.0.0.1:0")
}

// At starts a server at an address of this machine; it ends with the test.
func At(t testing.TB, addr string) *Server {
	t.Helper()
	s := &Server{
		addr:  addr,
		regs:  map[uint16]uint16{},
		conns: map[net.Conn]struct{}{},
		Delay: 100 * time.Millisecond,
	}
	s.Start(t)
	t.Cleanup(s.Stop)
	return s
}

// Start listens again, on the same port, after Stop.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatalf("test server cannot listen: %v", err)
	}
	s.mu.Lock()
	s.listener, s.addr = ln, ln.Addr().String()
	s.mu.Unlock()
	s.wg.Add(1)
	go s.accept(ln)
}

// Stop closes the listener and every connection, and waits.
func (s *Server) Stop() {
	s.mu.Lock()
	s.listener.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Addr is the server's host and port.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Set fills registers from addr on.
func (s *Server) Set(addr uint16, values ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range values {
		s.regs[addr+uint16(i)] = v
	}
}

// Get returns n registers from addr on.
func (s *Server) Get(addr uint16, n int) []uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]uint16, n)
	for i := range out {
		out[i] = s.regs[addr+uint16(i)]
	}
	return out
}

// Next queues faults for the requests to come, one each.
func (s *Server) Next(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Open is the number of connections open now; Accepted counts them all.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Accepted is the number of connections accepted so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Refused is the number of connections closed because of MaxConns.
func (s *Server) Refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// FirstAccept is when the first connection came.
func (s *Server) FirstAccept() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// HangUp closes every open connection and waits until they are gone; the
// server goes on.
func (s *Server) HangUp() {
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	for s.Open() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// Push sends bytes that nobody asked for on every open connection.
func (s *Server) Push(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Write(b)
	}
}

// Seen lists the requests received so far.
func (s *Server) Seen() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *Server) accept(ln net.Listener) {
	defer s.wg.Done()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.accepted == 0 {
			s.first = time.Now()
		}
		s.accepted++
		n := s.accepted
		if s.MaxConns > 0 && len(s.conns) >= s.MaxConns {
			s.refused++
			s.mu.Unlock()
			c.Close()
			continue
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Add(1)
		go s.serve(c, n)
	}
}

func (s *Server) serve(c net.Conn, n int) {
	defer s.wg.Done()
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	for {
		frame, err := readFrame(c)
		if err != nil {
			return
		}
		if !s.handle(c, n, frame) {
			return
		}
	}
}

func readFrame(r io.Reader) ([]byte, error) {
	header := make([]byte, 6)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint16(header[4:]))
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	if len(body) < 6 {
		return nil, io.ErrUnexpectedEOF
	}
	return append(header, body...), nil
}

// handle answers one request and reports whether the connection goes on.
func (s *Server) handle(c net.Conn, n int, frame []byte) bool {
	q := parse(frame)
	q.At, q.Conn = time.Now(), n
	s.mu.Lock()
	s.seen = append(s.seen, q)
	fault := None
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	return mistreat(c, q, fault, s.Delay, s.execute)
}

func parse(frame []byte) Seen {
	q := Seen{
		Txid: binary.BigEndian.Uint16(frame),
		Unit: frame[6],
		Func: frame[7],
		Addr: binary.BigEndian.Uint16(frame[8:]),
	}
	last := binary.BigEndian.Uint16(frame[10:])
	switch q.Func {
	case 6:
		q.Count, q.Values = 1, []uint16{last}
	case 16:
		q.Count = int(last)
		for i := 13; i+1 < len(frame); i += 2 {
			q.Values = append(q.Values, binary.BigEndian.Uint16(frame[i:]))
		}
	default:
		q.Count = int(last)
	}
	return q
}
