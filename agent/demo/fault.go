package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Fault is a way in which the market answers badly.
type Fault struct {
	Status  int               // answered instead; 0: answer well
	Header  map[string]string // of the answer, good or bad, such as Retry-After
	Body    string            // with Status; empty: the usual error
	Latency time.Duration     // before the answer, good or bad
	Drop    bool              // close the connection without an answer
	Times   int               // how many requests it strikes; 0: until healed
	// Only strikes the requests for which it is true; nil: all.
	Only func(*http.Request) bool

	// The answer is a good one, and is spoilt on the way.
	Alter func(*http.Request, []byte) []byte // the body becomes another, under a length that fits
	Cut   bool                               // half of the body under the length of the whole, then the connection is closed
	Drip  time.Duration                      // pause after every drop of the body

	// Answer answers instead, in whatever way.
	Answer http.HandlerFunc
}

// drop is how many bytes of a dripping body come at a time.
const drop = 8

// bent is what is wrong with the market's clock and tokens.
type bent struct {
	clock atomic.Int64 // time.Duration
	life  atomic.Int64 // time.Duration; 0: as configured
}

// now is the market's clock.
func (m *Market) now() time.Time { return m.cfg.Now().Add(time.Duration(m.bent.clock.Load())) }

// life is how long a new bearer token lives.
func (m *Market) life() time.Duration {
	if d := time.Duration(m.bent.life.Load()); d != 0 {
		return d
	}
	return m.cfg.TokenLife
}

// ShiftClock puts the market's clock ahead, or behind when negative: what it
// signs and what it lets expire go by that.
func (m *Market) ShiftClock(by time.Duration) { m.bent.clock.Store(int64(by)) }

// SetTokenLife is how long the bearer tokens from now on live; a negative one
// has ended when it is issued, 0 is what was configured.
func (m *Market) SetTokenLife(d time.Duration) { m.bent.life.Store(int64(d)) }

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

// strike finds the fault for a request and counts it down.
func (m *Market) strike(r *http.Request) Fault {
	best := ""
	var found *Fault
	for prefix, f := range m.faults {
		if strings.HasPrefix(r.URL.Path, prefix) && (f.Only == nil || f.Only(r)) && (found == nil || len(prefix) > len(best)) {
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

// apply spoils the answer; true when nothing is left to answer.
func (f Fault) apply(w http.ResponseWriter, r *http.Request) (done bool) {
	if f.Latency > 0 && pause(r.Context(), f.Latency) != nil {
		return true
	}
	if f.Drop {
		hangUp(w)
		return true
	}
	for k, v := range f.Header {
		w.Header().Set(k, v)
	}
	if f.Answer != nil {
		f.Answer(w, r)
		return true
	}
	if f.Status == 0 {
		return false
	}
	if f.Body == "" {
		fail(w, f.Status, http.StatusText(f.Status))
		return true
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body))
	return true
}

// spoils tells whether a good answer has to be held up.
func (f Fault) spoils() bool { return f.Alter != nil || f.Cut || f.Drip > 0 }

// held is an answer that was written and not yet sent.
type held struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newHeld() *held { return &held{header: http.Header{}, status: http.StatusOK} }

// Header is what will be sent before the body.
func (h *held) Header() http.Header { return h.header }

// WriteHeader sets the status.
func (h *held) WriteHeader(status int) { h.status = status }

// Write adds to the body.
func (h *held) Write(p []byte) (int, error) { return h.body.Write(p) }

// deliver sends a good answer in a bad way.
func (f Fault) deliver(w http.ResponseWriter, r *http.Request, good *held) {
	body := good.body.Bytes()
	if f.Alter != nil {
		body = f.Alter(r, body)
	}
	for k, v := range good.header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(good.status)
	if f.Cut {
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush() // the client has gone: as good as cut
		hangUp(w)
		return
	}
	f.drip(r.Context(), w, body)
}

// drip sends the body drop by drop.
func (f Fault) drip(ctx context.Context, w http.ResponseWriter, body []byte) {
	step := len(body)
	if f.Drip > 0 {
		step = drop
	}
	for len(body) > 0 {
		n := min(step, len(body))
		if _, err := w.Write(body[:n]); err != nil {
			return
		}
		body = body[n:]
		if f.Drip > 0 && (http.NewResponseController(w).Flush() != nil || pause(ctx, f.Drip) != nil) {
			return
		}
	}
}

// hangUp ends a connection without an answer, in the one way that net/http
// offers.
func hangUp(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close()
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
