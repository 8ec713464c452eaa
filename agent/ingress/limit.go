package ingress

import (
	"net/netip"
	"sync"
	"time"
)

// maxSources bounds the table of sources; the one that failed longest ago
// makes room.
const maxSources = 1024

// failures counts what was not authentic, per source: a bucket that refills
// with time. Once it is empty the source has to wait.
type failures struct {
	rate  float64 // per second, and the size of the bucket
	limit int

	mu      sync.Mutex
	sources map[netip.Prefix]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

func newFailures(perSecond int) *failures {
	return &failures{rate: float64(perSecond), limit: maxSources, sources: map[netip.Prefix]bucket{}}
}

// blocked tells whether the source has used up its failures.
func (f *failures) blocked(src netip.Prefix, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, known := f.sources[src]
	return known && f.refill(b, now).left < 1
}

// note counts one failure of the source.
func (f *failures) note(src netip.Prefix, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, known := f.sources[src]
	if !known {
		if len(f.sources) >= f.limit {
			f.drop(now)
		}
		b = bucket{left: f.rate, at: now}
	}
	b = f.refill(b, now)
	b.left = max(0, b.left-1)
	f.sources[src] = b
}

func (f *failures) refill(b bucket, now time.Time) bucket {
	if since := now.Sub(b.at); since > 0 {
		b.left = min(f.rate, b.left+since.Seconds()*f.rate)
		b.at = now
	}
	return b
}

// drop forgets every source whose bucket is full again, else the oldest one.
func (f *failures) drop(now time.Time) {
	var oldest netip.Prefix
	var at time.Time
	before := len(f.sources)
	for src, b := range f.sources {
		if f.refill(b, now).left >= f.rate {
			delete(f.sources, src)
			continue
		}
		if at.IsZero() || b.at.Before(at) {
			oldest, at = src, b.at
		}
	}
	if len(f.sources) == before {
		delete(f.sources, oldest)
	}
}

// sourceOf is the network that a peer counts as: its address, or for IPv6 its
// /64, which one customer holds as a whole (RFC 6177).
func sourceOf(remote string) (netip.Prefix, string) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}, ""
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}, addr.String()
	}
	return p, addr.String()
}
