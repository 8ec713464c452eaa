package relay

import (
	"net/netip"
	"sync"
	"time"
)

// maxSources bounds the table.
const maxSources = 4096

// sources limits the requests of each sender: a bucket that refills.
type sources struct {
	rate float64 // a second, and half the size of the bucket; 0: no limit

	mu  sync.Mutex
	all map[netip.Prefix]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

func newSources(perSecond int) *sources {
	return &sources{rate: float64(perSecond), all: map[netip.Prefix]bucket{}}
}

// allow takes one from the sender's bucket.
func (s *sources) allow(source string, now time.Time) bool {
	if s.rate == 0 {
		return true
	}
	key := network(source)
	s.mu.Lock()
	defer s.mu.Unlock()
	b, known := s.all[key]
	if !known {
		if len(s.all) >= maxSources {
			s.drop(now)
		}
		b = bucket{left: 2 * s.rate, at: now}
	}
	if since := now.Sub(b.at); since > 0 {
		b.left, b.at = min(2*s.rate, b.left+since.Seconds()*s.rate), now
	}
	ok := b.left >= 1
	if ok {
		b.left--
	}
	s.all[key] = b
	return ok
}

// drop forgets every sender whose bucket is full again. When that is not
// enough an eighth of the others goes, whichever they are: a stranger with many
// addresses must not make each request cost a look at the whole table.
func (s *sources) drop(now time.Time) {
	for key, b := range s.all {
		if b.left+now.Sub(b.at).Seconds()*s.rate >= 2*s.rate {
			delete(s.all, key)
		}
	}
	over := len(s.all) - maxSources*7/8
	for key := range s.all {
		if over <= 0 {
			return
		}
		delete(s.all, key)
		over--
	}
}

// network is what a sender counts as: its address, or for IPv6 its /64, which
// one customer holds as a whole (RFC 6177). An unknown one shares a bucket.
func network(source string) netip.Prefix {
	addr, err := netip.ParseAddr(source)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := addr.Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
