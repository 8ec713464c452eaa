package clock_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
)

// alarms are what is raised.
type alarms struct {
	mu sync.Mutex
	on map[string]string
}

func (a *alarms) Raise(code, _, text string) { a.mu.Lock(); a.on[code] = text; a.mu.Unlock() }
func (a *alarms) Clear(code, _ string)       { a.mu.Lock(); delete(a.on, code); a.mu.Unlock() }

func (a *alarms) of(code string) string { a.mu.Lock(); defer a.mu.Unlock(); return a.on[code] }

func TestAWrongClockAndItsStepsAreToldOf(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		src, h, log := clocktest.New(false), &alarms{on: map[string]string{}}, &bytes.Buffer{}
		floor := time.Now().Add(-time.Hour)
		src.Set(time.Unix(0, 0))
		w := clock.New(src, floor)
		go func() { _ = w.Watch(t.Context(), h, slog.New(slog.NewTextHandler(log, nil))) }()
		synctest.Wait()
		if text := h.of(clock.CodeWrong); !strings.Contains(text, "1970-01-01") || !strings.Contains(text, floor.UTC().Format(time.RFC3339)) {
			t.Errorf("at 1970 it says %q", text)
		}
		src.Set(time.Now())
		time.Sleep(time.Minute)
		synctest.Wait()
		if text := h.of(clock.CodeWrong); text != "" {
			t.Errorf("put right it says %q", text)
		}
		if n := strings.Count(log.String(), "was stepped"); n != 1 {
			t.Errorf("one step was told of %d times:\n%s", n, log)
		}
	})
}
