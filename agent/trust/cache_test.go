package trust

import (
	"context"
	"errors"
	"flexd/agent/clock/clocktest"
	"sync"
	"testing"
	"time"
)

// publisher is a key endpoint whose document can change and fail.
type publisher struct {
	mu    sync.Mutex
	doc   []byte
	err   error
	delay time.Duration
	asked int
}

func (p *publisher) fetch(ctx context.Context) ([]byte, error) {
	p.mu.Lock()
	doc, err, delay := p.doc, p.err, p.delay
	p.asked++
	p.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return doc, err
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// memory is a store that forgets nothing while the test runs.
type memory map[string][]byte

func (m memory) Keys(name string) ([]byte, bool, error) { raw, ok := m[name]; return raw, ok, nil }
func (m memory) PutKeys(name string, raw []byte) error  { m[name] = raw; return nil }

type bench struct {
	pub   *publisher
	store memory
	cache *KeyCache
}

func newBench(t *testing.T, doc []byte) *bench {
	b := &bench{pub: &publisher{doc: doc}, store: memory{}}
	b.cache = NewKeyCache(CacheConfig{Name: "m", Store: b.store, Fetch: b.pub.fetch})
	return b
}

func (b *bench) verify(t *testing.T, token []byte) error {
	t.Helper()
	_, _, err := b.cache.Verify(t.Context(), token, Algorithms())
	return err
}

func isNoKey(err error) (*NoKeyError, bool) {
	var n *NoKeyError
	return n, errors.As(err, &n)
}

func TestAForgedTokenIsCheckedWithAFreshKeyOnceAndThenNotJudged(t *testing.T) {
	k := makeKeys()
	good, forged := sign(t, "ES256", k.p256, "", "{}"), sign(t, "RS256", k.rsa, "", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		if err := b.verify(t, good); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := b.verify(t, forged); !errors.Is(err, ErrSignature) || b.pub.count() != 2 {
			t.Fatalf("first forgery: %v after %d fetches", err, b.pub.count())
		}
		for range 290 { // 29 seconds, less than the gap
			time.Sleep(100 * time.Millisecond)
			n, ok := isNoKey(b.verify(t, forged))
			if !ok || n.After <= 0 || n.After > DefaultMinGap {
				t.Fatalf("later forgery: %v", n)
			}
		}
		if err := b.verify(t, good); err != nil || b.pub.count() != 2 {
			t.Fatalf("good one among forgeries: %v after %d fetches", err, b.pub.count())
		}
		time.Sleep(DefaultMinGap)
		if err := b.verify(t, forged); !errors.Is(err, ErrSignature) || b.pub.count() != 3 {
			t.Fatalf("forgery after the gap: %v after %d fetches", err, b.pub.count())
		}
	})
}

func TestForbiddenAndMalformedTokensFetchNothing(t *testing.T) {
	b := newBench(t, nil)
	for _, token := range []string{"", "x.y", b64(`{"alg":"none"}`) + ".e30.", b64(`{"alg":"HS256"}`) + ".e30.QUFB"} {
		if err := b.verify(t, []byte(token)); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrForbidden) {
			t.Errorf("%q: %v", token, err)
		}
	}
	if b.pub.count() != 0 {
		t.Errorf("%d fetches", b.pub.count())
	}
}

func TestRotationHonoursTheOldKeyForItsGrace(t *testing.T) {
	k := makeKeys()
	before, after := sign(t, "ES256", k.p256, "", "{}"), sign(t, "ES384", k.p384, "", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		if err := b.verify(t, before); err != nil {
			t.Fatal(err)
		}
		b.pub.doc = pemOf(t, &k.p384.PublicKey)
		time.Sleep(time.Hour)
		if err := b.verify(t, after); err != nil {
			t.Fatalf("signed with the new key: %v", err)
		}
		again := NewKeyCache(CacheConfig{Name: "m", Store: b.store, Fetch: b.pub.fetch})
		for name, c := range map[string]*KeyCache{"same process": b.cache, "after a restart": again} {
			if _, _, err := c.Verify(t.Context(), before, Algorithms()); err != nil {
				t.Fatalf("old key within its grace, %s: %v", name, err)
			}
		}
		time.Sleep(DefaultGrace)
		if err := b.verify(t, before); !errors.Is(err, ErrSignature) {
			t.Fatalf("old key after its grace: %v", err)
		}
	})
}

func TestAGraceShorterThanTheTTLEndsByItself(t *testing.T) {
	k := makeKeys()
	before, after := sign(t, "ES256", k.p256, "", "{}"), sign(t, "ES384", k.p384, "", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		b.cache.cfg.Grace = time.Hour
		if err := b.verify(t, before); err != nil {
			t.Fatal(err)
		}
		b.pub.doc = pemOf(t, &k.p384.PublicKey)
		time.Sleep(time.Second)
		if err := b.verify(t, after); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		if err := b.verify(t, before); err != nil {
			t.Fatalf("within the grace: %v", err)
		}
		time.Sleep(time.Minute)
		if err := b.verify(t, before); !errors.Is(err, ErrSignature) {
			t.Fatalf("after the grace: %v", err)
		}
	})
}

func TestStartWithoutThePublisher(t *testing.T) {
	k := makeKeys()
	good, forged := sign(t, "ES256", k.p256, "", "{}"), sign(t, "RS256", k.rsa, "", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		if err := b.verify(t, good); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Hour) // older than the TTL
		down := &publisher{err: errors.New("no route to host")}
		again := NewKeyCache(CacheConfig{Name: "m", Store: b.store, Fetch: down.fetch})
		if _, _, err := again.Verify(t.Context(), good, Algorithms()); err != nil {
			t.Fatalf("good one from the stored key: %v", err)
		}
		if _, _, err := again.Verify(t.Context(), forged, Algorithms()); !errors.As(err, new(*NoKeyError)) {
			t.Fatalf("forged one while nobody can tell: %v", err)
		}
		time.Sleep(20 * time.Hour) // older than TTL and grace
		if _, _, err := again.Verify(t.Context(), good, Algorithms()); !errors.As(err, new(*NoKeyError)) {
			t.Fatalf("a key from days ago: %v", err)
		}
	})
}

func TestAFailingPublisherIsAskedAtASlowingPace(t *testing.T) {
	k := makeKeys()
	good := sign(t, "ES256", k.p256, "", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.pub.err = errors.New("503")
		for range 3600 {
			if _, ok := isNoKey(b.verify(t, good)); !ok {
				t.Fatal("judged without a key")
			}
			time.Sleep(time.Second)
		}
		if n := b.pub.count(); n < 5 || n > 25 {
			t.Fatalf("%d fetches in an hour", n)
		}
		b.pub.err, b.pub.doc = nil, pemOf(t, &k.p256.PublicKey)
		time.Sleep(slowestRetry)
		if err := b.verify(t, good); err != nil {
			t.Fatalf("after the publisher came back: %v", err)
		}
	})
}

func TestManyAtOnceShareOneFetch(t *testing.T) {
	k := makeKeys()
	good := sign(t, "ES256", k.p256, "", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		b.pub.delay = time.Second
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := b.verify(t, good); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if b.pub.count() != 1 {
			t.Errorf("%d fetches", b.pub.count())
		}
	})
}

func TestWhoSendsAndHangsUpDoesNotDecideHowOftenTheKeysAreFetched(t *testing.T) {
	k := makeKeys()
	good, forged := sign(t, "ES256", k.p256, "", "{}"), sign(t, "RS256", k.rsa, "", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		b.pub.delay = 100 * time.Millisecond
		hangUp := func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, _, err := b.cache.Verify(ctx, forged, Algorithms()); !errors.As(err, new(*NoKeyError)) {
				t.Fatalf("hung up: %v", err)
			}
		}
		for range 1000 { // ten seconds without any key yet
			hangUp()
			time.Sleep(9 * time.Millisecond)
		}
		if n := b.pub.count(); n > 3 {
			t.Errorf("%d fetches in 10 s without a key", n)
		}
		time.Sleep(firstRetry)
		if err := b.verify(t, good); err != nil {
			t.Fatalf("after the pause: %v", err)
		}
		before := b.pub.count()
		for range 3000 { // 27 seconds, less than the gap
			time.Sleep(9 * time.Millisecond)
			hangUp()
		}
		if n := b.pub.count() - before; n != 1 {
			t.Errorf("%d fetches within the gap", n)
		}
		if err := b.verify(t, good); err != nil {
			t.Errorf("a good one meanwhile: %v", err)
		}
	})
}

func TestDamagedStoredKeysCostOnlyAFetch(t *testing.T) {
	k := makeKeys()
	for _, raw := range []string{"", "{", `{"v":9}`, `{"v":1,"keys":[{"pkix":"AAAA"}]}`} {
		pub := &publisher{doc: pemOf(t, &k.p256.PublicKey)}
		c := NewKeyCache(CacheConfig{Name: "m", Store: memory{"m": []byte(raw)}, Fetch: pub.fetch})
		if _, _, err := c.Verify(t.Context(), sign(t, "ES256", k.p256, "", "{}"), Algorithms()); err != nil || pub.count() != 1 {
			t.Errorf("%q: %v after %d fetches", raw, err, pub.count())
		}
	}
}
