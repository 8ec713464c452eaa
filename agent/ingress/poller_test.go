package ingress

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

type fakeLister struct {
	mu    sync.Mutex
	err   error
	polls []time.Time
}

func (f *fakeLister) Poll(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.polls = append(f.polls, time.Now())
	return f.err
}

func (f *fakeLister) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.polls)
}

func (f *fakeLister) answer(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func TestPoller(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		l, h := &fakeLister{}, &fakeHealth{}
		p := NewPoller(PollerConfig{Intake: l, Health: h, Log: quiet()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		if l.count() != 1 {
			t.Fatalf("%d polls at the start, want one at once", l.count())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := l.count(); n < 10 || n > 16 {
			t.Errorf("%d polls in an hour, want one in 5 min ± 20 %%", n)
		}
		before := l.count()
		p.Wake()
		time.Sleep(2 * pollGap)
		synctest.Wait()
		if l.count() != before+1 {
			t.Errorf("a wake-up made %d polls", l.count()-before)
		}

		l.answer(&flex.RetryError{After: 20 * time.Minute, Err: errors.New("429")})
		time.Sleep(7 * time.Minute)
		synctest.Wait()
		before = l.count()
		p.Wake()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if l.count() != before {
			t.Errorf("%d polls within Retry-After", l.count()-before)
		}

		l.answer(errors.New("no route"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if !h.has(CodePollFailed) {
			t.Error("repeated failures raise nothing")
		}
		l.answer(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if h.has(CodePollFailed) {
			t.Error("success clears nothing")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
