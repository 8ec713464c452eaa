package trust

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Defaults of a key cache, and the pace after a failed fetch.
const (
	DefaultTTL    = 24 * time.Hour
	DefaultGrace  = 24 * time.Hour
	DefaultMinGap = 30 * time.Second

	firstRetry   = 5 * time.Second
	slowestRetry = 5 * time.Minute
	fetchTimeout = 10 * time.Second
)

// Store keeps key sets across restarts, opaque to it.
type Store interface {
	Keys(name string) ([]byte, bool, error)
	PutKeys(name string, raw []byte) error
}

// NoKeyError says that a signature cannot be judged now: there is no key, or
// none was fetched since the message came and it is too early to ask again.
type NoKeyError struct {
	After time.Duration // when the question may be asked again
	Err   error
}

// Error names the cause.
func (e *NoKeyError) Error() string { return fmt.Sprintf("no fresh key to judge with: %v", e.Err) }

// Unwrap gives the cause.
func (e *NoKeyError) Unwrap() error { return e.Err }

// CacheConfig is what a key cache needs. Zero durations take the defaults.
type CacheConfig struct {
	Name  string // in the store: one per publisher
	Store Store  // nil: memory only
	// Fetch gets the key document from where it is published.
	Fetch func(ctx context.Context) ([]byte, error)
	// Parse reads the document; nil: ParseKeys.
	Parse  func(raw []byte) ([]Key, error)
	TTL    time.Duration // fetch again when older
	Grace  time.Duration // a key no longer published is honoured for so long
	MinGap time.Duration // between fetches that failed signatures with one key id ask for
	Log    *slog.Logger
}

// KeyCache verifies with published keys that it keeps. Forged messages make
// it ask the publisher at most once per MinGap and key id, and every few
// seconds for all ids together; in between they get a NoKeyError, never a
// verdict that a key rotation could prove wrong. The gap is one of the key id
// so that a forgery with one does not hold up the rotation to another.
type KeyCache struct {
	cfg  CacheConfig
	turn chan struct{} // held by the one who fetches

	mu  sync.Mutex
	set keySet

	// Owned by whoever holds turn.
	asked     map[string]time.Time // by key id, the last fetch that a failed signature asked for
	failures  int
	notBefore time.Time // after a failed fetch
	lastErr   error
}

// NewKeyCache starts from what the store holds; damage there costs a fetch
// and nothing else.
func NewKeyCache(cfg CacheConfig) *KeyCache {
	if cfg.TTL <= 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.MinGap <= 0 {
		cfg.MinGap = DefaultMinGap
	}
	if cfg.Parse == nil {
		cfg.Parse = ParseKeys
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &KeyCache{cfg: cfg, turn: make(chan struct{}, 1), asked: map[string]time.Time{}}
	if cfg.Store == nil {
		return c
	}
	raw, found, err := cfg.Store.Keys(cfg.Name)
	if err == nil && found {
		c.set, err = decodeSet(raw)
	}
	if err != nil {
		cfg.Log.Warn("the stored keys cannot be used, they will be fetched again", "keys", cfg.Name, "error", err)
	}
	return c
}

// Verify checks a compact JWS; see VerifyForm.
func (c *KeyCache) Verify(ctx context.Context, token []byte, algs []string) ([]byte, Header, error) {
	return c.VerifyForm(ctx, Compact(token), algs)
}

// VerifyForm checks a signed message. On top of the errors of VerifyCompact
// it gives *NoKeyError; ErrSignature means that a key set asked for after
// this call began does not confirm the signature either.
func (c *KeyCache) VerifyForm(ctx context.Context, s Signed, algs []string) ([]byte, Header, error) {
	arrived := time.Now()
	msg, err := s.parse(algs)
	if err != nil {
		return nil, Header{}, err // no key would change it: nothing is fetched
	}
	set := c.current()
	if !set.fresh(arrived, c.cfg.TTL) {
		got, err := c.renew(ctx, arrived)
		if err != nil && !set.usable(arrived, c.cfg.TTL+c.cfg.Grace) {
			return nil, Header{}, err
		}
		if err == nil {
			set = got
		}
	}
	payload, h, err := msg.verify(set.keys(arrived))
	if err == nil || set.askedSince(arrived) {
		return payload, h, err
	}
	newer, cannot := c.recheck(ctx, msg.header.KeyID, arrived)
	if cannot != nil {
		// A key that came while we waited may confirm, but cannot refute: it
		// was asked for before the message came.
		if newer = c.current(); !newer.asked.After(set.asked) {
			return nil, Header{}, cannot
		}
	}
	payload, h, err = msg.verify(newer.keys(time.Now()))
	if err != nil && cannot != nil {
		return nil, Header{}, cannot
	}
	return payload, h, err
}

// Refresh fetches when the keys are missing or due, so that no message has
// to wait for it.
func (c *KeyCache) Refresh(ctx context.Context) error {
	now := time.Now()
	if c.current().fresh(now, c.cfg.TTL*9/10) {
		return nil
	}
	_, err := c.renew(ctx, now)
	return err
}

func (c *KeyCache) current() keySet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set
}

// take waits for the turn to fetch.
func (c *KeyCache) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &NoKeyError{After: firstRetry, Err: ctx.Err()}
	}
}

// renew fetches because the keys are missing or old.
func (c *KeyCache) renew(ctx context.Context, since time.Time) (keySet, error) {
	if err := c.take(ctx); err != nil {
		return keySet{}, err
	}
	defer func() { <-c.turn }()
	if set := c.current(); set.askedSince(since) || set.fresh(time.Now(), c.cfg.TTL*9/10) {
		return set, nil // somebody else did it while we waited
	}
	return c.fetch(ctx)
}

// recheck fetches because a signature with the key id failed.
func (c *KeyCache) recheck(ctx context.Context, id string, arrived time.Time) (keySet, error) {
	if err := c.take(ctx); err != nil {
		return keySet{}, err
	}
	defer func() { <-c.turn }()
	if set := c.current(); set.askedSince(arrived) {
		return set, nil
	}
	now := time.Now()
	if wait := c.wait(id, now); wait > 0 {
		return keySet{}, &NoKeyError{After: wait, Err: errors.New("the keys were checked for another failed signature a moment ago")}
	}
	before, known := c.asked[id]
	c.asked[id] = now
	set, err := c.fetch(ctx)
	if err != nil && ctx.Err() == nil { // the pace after failures holds instead
		delete(c.asked, id)
		if known {
			c.asked[id] = before
		}
	}
	return set, err
}

// wait is how long a failed signature with the key id has to wait until the
// keys may be fetched for it. It forgets the ids whose gap is over. The caller
// holds turn.
func (c *KeyCache) wait(id string, now time.Time) time.Duration {
	var wait time.Duration
	for other, at := range c.asked {
		gap := min(firstRetry, c.cfg.MinGap)
		if other == id {
			gap = c.cfg.MinGap
		}
		wait = max(wait, at.Add(gap).Sub(now))
		if !now.Before(at.Add(c.cfg.MinGap)) {
			delete(c.asked, other)
		}
	}
	return wait
}

// fetch gets and installs a new set. The caller holds turn.
func (c *KeyCache) fetch(ctx context.Context) (keySet, error) {
	asked := time.Now()
	if wait := c.notBefore.Sub(asked); wait > 0 {
		return keySet{}, &NoKeyError{After: wait, Err: c.lastErr}
	}
	within, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	raw, err := c.cfg.Fetch(within)
	var keys []Key
	if err == nil {
		keys, err = c.cfg.Parse(raw)
	}
	if err == nil && (len(keys) == 0 || len(keys) > maxKeys) {
		err = fmt.Errorf("the key document gave %d keys, expected 1 to %d", len(keys), maxKeys)
	}
	if err != nil {
		return keySet{}, c.failed(ctx, err)
	}
	c.failures, c.notBefore, c.lastErr = 0, time.Time{}, nil
	c.mu.Lock()
	before := c.set
	next := before.replace(keys, asked, c.cfg.Grace)
	c.set = next
	c.mu.Unlock()
	if before.differs(next) {
		c.cfg.Log.Info("new keys from the publisher", "keys", c.cfg.Name, "now", len(next.now), "honoured_before", len(next.old))
	}
	c.save(next)
	return next, nil
}

// failed notes a failed fetch and sets the pace: 5 s, doubling up to 5 min.
// A caller who gave up says nothing about the publisher, but counts as one
// fetch: else whoever sends and hangs up decides how often we ask.
func (c *KeyCache) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		c.notBefore, c.lastErr = time.Now().Add(firstRetry), errors.New("the last one to ask did not wait for the keys")
		return &NoKeyError{After: firstRetry, Err: err}
	}
	wait := min(firstRetry<<min(c.failures, 16), slowestRetry)
	c.failures++
	c.notBefore, c.lastErr = time.Now().Add(wait), err
	c.cfg.Log.Warn("the keys cannot be fetched", "keys", c.cfg.Name, "error", err, "again_in", wait)
	return &NoKeyError{After: wait, Err: err}
}

func (c *KeyCache) save(set keySet) {
	if c.cfg.Store == nil {
		return
	}
	raw, err := set.encode()
	if err == nil {
		err = c.cfg.Store.PutKeys(c.cfg.Name, raw)
	}
	if err != nil {
		c.cfg.Log.Warn("the keys cannot be stored, a restart will fetch them again", "keys", c.cfg.Name, "error", err)
	}
}
