package trust

import (
	"errors"
	"flexd/agent/clock/clocktest"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func (p *publisher) publish(doc []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doc = doc
}

func TestAKeyRotatedMidBurstJudgesNobodyWrongly(t *testing.T) {
	k := makeKeys()
	before, after := sign(t, "ES256", k.p256, "old", "{}"), sign(t, "ES384", k.p384, "new", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		b.pub.delay = 50 * time.Millisecond
		if err := b.verify(t, before); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		var wg sync.WaitGroup
		for i := range 1000 { // one each millisecond; the key changes in the middle
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				token := before
				switch {
				case i == 500:
					b.pub.publish(pemOf(t, &k.p384.PublicKey))
					return
				case i > 500 && i%2 == 0: // some that were signed before are still on their way
					token = after
				}
				if err := b.verify(t, token); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := b.pub.count(); n != 2 {
			t.Errorf("%d fetches, want one at first and one for the rotation", n)
		}
	})
}

func TestForgeriesAroundARotationDelayGoodOnesAndCondemnNone(t *testing.T) {
	k := makeKeys()
	before, after := sign(t, "ES256", k.p256, "", "{}"), sign(t, "ES384", k.p384, "", "{}")
	forged := sign(t, "RS256", k.otherRSA, "", "{}")
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		b.pub.delay = 20 * time.Millisecond
		var wg sync.WaitGroup
		var late, condemned atomic.Int64
		for i := range 900 { // ten minutes and a half
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 700 * time.Millisecond)
				if i == 300 {
					b.pub.publish(pemOf(t, &k.p384.PublicKey))
				}
				token, good := before, true
				switch {
				case i%3 == 0:
					token, good = forged, false
				case i > 300:
					token = after
				}
				err := b.verify(t, token)
				switch _, cannot := isNoKey(err); {
				case err == nil && !good:
					t.Errorf("message %d is forged and was accepted", i)
				case err == nil:
				case cannot && good:
					late.Add(1)
				case good:
					t.Errorf("message %d is good: %v", i, err)
				case errors.Is(err, ErrSignature):
					condemned.Add(1)
				}
			})
		}
		wg.Wait()
		if n := b.pub.count(); n > 24 { // 630 s at 30 s, the first one and the rotation
			t.Errorf("%d fetches in ten minutes", n)
		}
		if condemned.Load() == 0 || late.Load() == 0 {
			t.Errorf("%d forgeries condemned and %d good ones put off: the test tests nothing", condemned.Load(), late.Load())
		}
	})
}

func TestOneOfSeveralKeysIsFoundByItsID(t *testing.T) {
	k := makeKeys()
	doc := []byte(mustJSON(t, map[string]any{"keys": []any{
		map[string]any{"id": "a", "public_key": string(pemOf(t, &k.otherRSA.PublicKey))},
		map[string]any{"id": "b", "public_key": string(pemOf(t, &k.rsa.PublicKey))},
	}}))
	b := newBench(t, doc)
	for _, kid := range []string{"b", "a", "", "c"} { // the id is a hint, the signature decides
		if err := b.verify(t, sign(t, "PS256", k.rsa, kid, "{}")); err != nil {
			t.Errorf("kid %q: %v", kid, err)
		}
	}
	if b.pub.count() != 1 {
		t.Errorf("%d fetches", b.pub.count())
	}
}

func TestTheCacheVerifiesEveryFormAndReadsKeysAsItIsTold(t *testing.T) {
	k := makeKeys()
	pub := &publisher{doc: []byte(mustJSON(t, map[string]any{"x": map[string]any{"y": string(pemOf(t, &k.p256.PublicKey))}}))}
	c := NewKeyCache(CacheConfig{Name: "m", Fetch: pub.fetch, Parse: func(raw []byte) ([]Key, error) { return ParseKeysAs(raw, FormatPEM, "/x/y") }})
	for name, s := range forms(sign(t, "ES256", k.p256, "", `{"a":1}`)) {
		if payload, _, err := c.VerifyForm(t.Context(), s, Algorithms()); err != nil || string(payload) != `{"a":1}` {
			t.Errorf("%s: %q %v", name, payload, err)
		}
	}
	for name, parse := range map[string]func([]byte) ([]Key, error){
		"none": func([]byte) ([]Key, error) { return nil, nil },
		"many": func([]byte) ([]Key, error) { return make([]Key, maxKeys+1), nil },
		"fail": func([]byte) ([]Key, error) { return nil, fmt.Errorf("no") },
	} {
		c := NewKeyCache(CacheConfig{Name: "m", Fetch: pub.fetch, Parse: parse})
		if _, _, err := c.Verify(t.Context(), sign(t, "ES256", k.p256, "", "{}"), Algorithms()); !errors.As(err, new(*NoKeyError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key that was rotated while somebody forges is asked for at once when the
// header names it, and half a minute later when it does not.
func TestOneForgeryDoesNotHoldUpARotation(t *testing.T) {
	k := makeKeys()
	for _, tc := range []struct {
		name, kid, forgedKid string
		within               time.Duration
	}{
		{"a new id is asked for of its own", "new", "old", firstRetry},
		{"no id waits for the gap", "", "", 30 * time.Second},
		{"an id that was forged as well waits for the gap", "new", "new", 30 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before, after := sign(t, "ES256", k.p256, "old", "{}"), sign(t, "ES384", k.p384, tc.kid, "{}")
			forged := sign(t, "RS256", k.otherRSA, tc.forgedKid, "{}")
			clocktest.Bubble(t, func(t *testing.T) {
				b := newBench(t, pemOf(t, &k.p256.PublicKey))
				if err := b.verify(t, before); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				if err := b.verify(t, forged); !errors.Is(err, ErrSignature) {
					t.Fatalf("forged: %v", err)
				}
				b.pub.publish(pemOf(t, &k.p384.PublicKey))
				began := time.Now()
				for b.verify(t, after) != nil {
					_ = b.verify(t, forged)
					time.Sleep(time.Second)
				}
				if late := time.Since(began); late > tc.within {
					t.Errorf("verified %v after the rotation, want %v at most", late, tc.within)
				}
			})
		})
	}
}

// Whoever makes up ids does not decide how often the publisher is asked, nor
// how much is remembered of it.
func TestMadeUpIDsAreBoundedTogether(t *testing.T) {
	k := makeKeys()
	clocktest.Bubble(t, func(t *testing.T) {
		b := newBench(t, pemOf(t, &k.p256.PublicKey))
		for i := range 600 { // ten minutes
			_ = b.verify(t, sign(t, "ES384", k.p384, fmt.Sprint(i), "{}"))
			time.Sleep(time.Second)
		}
		if n, most := b.pub.count(), int(10*time.Minute/firstRetry)+2; n > most {
			t.Errorf("%d fetches in ten minutes, want %d at most", n, most)
		}
		if n, most := len(b.cache.asked), int(DefaultMinGap/firstRetry)+1; n > most {
			t.Errorf("%d ids remembered, want %d at most", n, most)
		}
	})
}
