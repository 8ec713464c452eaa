package run

import (
	"context"
	"errors"
	"flexd/agent/clock/clocktest"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type notes struct {
	mu     sync.Mutex
	raised []string
}

func (n *notes) Raise(code, subject, _ string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.raised = append(n.raised, code+" "+subject)
}
func (n *notes) Clear(string, string) {}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestVitalFailureEndsTheGroup(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		g := NewGroup(quiet(), &notes{})
		boom := errors.New("boom")
		g.Vital(Func("control", func(ctx context.Context) error { <-ctx.Done(); return nil }))
		g.Vital(Func("dispatch", func(context.Context) error { time.Sleep(time.Second); return boom }))
		var failed *VitalError
		if err := g.Run(t.Context()); !errors.As(err, &failed) || failed.Task != "dispatch" || !errors.Is(err, boom) {
			t.Errorf("Run = %v, want the vital error of dispatch", err)
		}
	})
}

func TestVitalPanicIsAnError(t *testing.T) {
	g := NewGroup(quiet(), &notes{})
	g.Vital(Func("control", func(context.Context) error { panic("boom") }))
	var failed *VitalError
	if err := g.Run(t.Context()); !errors.As(err, &failed) {
		t.Errorf("Run = %v, want a vital error", err)
	}
}

func TestAuxiliaryRestartsWithBackoff(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		h := &notes{}
		g := NewGroup(quiet(), h)
		starts := 0
		g.Auxiliary(Func("fleet", func(context.Context) error { starts++; return errors.New("no broker") }))
		g.Vital(Func("control", func(ctx context.Context) error { <-ctx.Done(); return nil }))
		if err := g.Run(ctx); err != nil {
			t.Fatalf("Run = %v, want nil after the context ended", err)
		}
		if starts < 3 || starts > 6 {
			t.Errorf("started %d times in 30 s, want 3 to 6 with doubling back-off from 1 s", starts)
		}
		if len(h.raised) == 0 || h.raised[0] != "task_failed fleet" {
			t.Errorf("raised %v, want task_failed fleet", h.raised)
		}
	})
}

func TestReadyWaitsForEveryVitalTask(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		slow := &funcTask{name: "slow", ready: make(chan struct{})}
		slow.fn = func(ctx context.Context) error { <-ctx.Done(); return nil }
		slow.once.Do(func() {}) // ready is closed by the test
		g := NewGroup(quiet(), &notes{})
		g.Vital(Func("quick", func(ctx context.Context) error { <-ctx.Done(); return nil }), slow)
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		select {
		case <-g.Ready():
			t.Error("ready although one vital task is not")
		default:
		}
		close(slow.ready)
		<-g.Ready()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestBeatAges(t *testing.T) {
	var b Beat
	now := time.Now()
	if b.Alive(now, time.Second) {
		t.Error("alive before the first cycle")
	}
	b.Done(now)
	if !b.Alive(now.Add(900*time.Millisecond), time.Second) || b.Alive(now.Add(time.Second), time.Second) {
		t.Error("a beat lives for less than its limit")
	}
}
