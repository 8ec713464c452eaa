package intake

import (
	"sync"
	"time"

	"flexd/agent/flex"
)

// Bounds of what is remembered of forgers.
const (
	forgerFor   = 30 * time.Second // trust asks the publisher as often
	mostForgers = 256
)

// forgers are the sources whose signature was refuted with keys that were
// fetched for it. What comes from one of them shortly after and fails again is
// refused as well: no publisher is asked anew for each of a flood, and a flood
// must be told by its answers and its count, not as if it could not be judged.
type forgers struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

// judged gives the verdict on what failed. An address that several share
// proves nothing about any of them.
func (f *forgers) judged(env flex.Envelope, err error, now time.Time) error {
	refusal, _ := flex.RefusalOf(err)
	if refusal == nil || env.Shared || env.Source == "" {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if refusal.Reason == flex.ReasonSignatureInvalid {
		f.note(env.Source, now)
		return err
	}
	if at, known := f.seen[env.Source]; refusal.Reason == flex.ReasonNoKey && known && now.Sub(at) < forgerFor {
		return flex.Refuse(flex.ReasonSignatureInvalid, "the signature does not hold, as another from the same source did not when the keys were fetched anew")
	}
	return err
}

// note remembers a source; the oldest make room. The lock is held.
func (f *forgers) note(source string, now time.Time) {
	if f.seen == nil {
		f.seen = map[string]time.Time{}
	}
	if _, known := f.seen[source]; !known && len(f.seen) >= mostForgers {
		oldest := ""
		for s, at := range f.seen {
			if oldest == "" || at.Before(f.seen[oldest]) {
				oldest = s
			}
		}
		delete(f.seen, oldest)
	}
	f.seen[source] = now
}
