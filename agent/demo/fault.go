package demo

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// Fault is a way in which the market answers badly.
type Fault struct {
	Status  int               // answered instead; 0: answer well
	Header  map[string]string // with Status, such as Retry-After
	Body    string            // with Status; empty: the usual error
	Latency time.Duration     // before the answer, good or bad
	Drop    bool              // close the connection without an answer
	Times   int               // how many requests it strikes; 0: until healed
}

// SetFault spoils every address that begins with prefix; the longest prefix
// counts. Fault{} heals it.
func (m *Market) SetFault(prefix string, f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults[prefix] = &f
}

// Hide leaves the last n instructions out of every set, as a market does that
// notifies before it has written everything down.
func (m *Market) Hide(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hidden = n
}

// RevokeTokens makes every bearer token issued so far worthless.
func (m *Market) RevokeTokens() error {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("cannot make the token key: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.secret = secret
	return nil
}

// strike finds the fault for a path and counts it down.
func (m *Market) strike(path string) Fault {
	best := ""
	var found *Fault
	for prefix, f := range m.faults {
		if strings.HasPrefix(path, prefix) && (found == nil || len(prefix) > len(best)) {
			best, found = prefix, f
		}
	}
	if found == nil {
		return Fault{}
	}
	f := *found
	if found.Times > 0 {
		if found.Times--; found.Times == 0 {
			delete(m.faults, best)
		}
	}
	return f
}
