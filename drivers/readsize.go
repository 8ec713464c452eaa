package drivers

import (
	"sync"
	"time"

	"flexd/drivers/modbus"
)

// readSize is what is known of how many registers a device answers at once.
type readSize struct {
	mu    sync.Mutex
	good  uint16 // the longest read that was answered
	most  uint16 // none longer is tried
	piece uint16 // a longer one is made of these
	// innocents failed whatever their length: they are not suspected again soon.
	innocents map[modbusRead]time.Time
}

type modbusRead struct {
	unit, fn    byte
	addr, count uint16
}

const (
	protocolMost = 125 // registers in one read (Modbus V1.1b3, 6.3)
	// innocence is how long a read that failed for another reason than its
	// length is not tried in pieces.
	innocence = 10 * time.Minute
)

// bound sets what the configuration says; 0: nothing.
func (s *readSize) bound(most int) {
	s.most, s.innocents = protocolMost, map[modbusRead]time.Time{}
	if most > 0 {
		s.most = uint16(most)
	}
	s.piece = s.most
}

func (s *readSize) limits() (most, piece uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most, s.piece
}

// took notes a read that was answered.
func (s *readSize) took(n uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.good = max(s.good, n)
	s.piece = max(s.piece, s.good)
}

// suspect tells whether the length may be why a read failed.
func (s *readSize) suspect(r modbus.Request, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.Count > max(s.good, 1) && now.After(s.innocents[key(r)])
}

func (s *readSize) innocent(r modbus.Request, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.innocents[key(r)] = now.Add(innocence)
}

// start is the length to begin with: one that was answered before, or 1.
func (s *readSize) start(n uint16) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(1, min(s.good, n/2))
}

func (s *readSize) learned(good, most uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.good, s.piece, s.most = max(s.good, good), good, min(s.most, most)
}

func key(r modbus.Request) modbusRead { return modbusRead{r.Unit, r.Func, r.Addr, r.Count} }
