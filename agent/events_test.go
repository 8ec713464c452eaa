package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"flexd/agent/flex"
	"flexd/agent/health"
)

// What can be stored is stored, in its order, whatever came while the store
// was busy or failed.
func TestEventsAreStoredInTheirOrder(t *testing.T) {
	e := newEvents(slog.New(slog.DiscardHandler), func() flex.Stamp { return flex.Stamp{} })
	var stored []string
	fails, n := 1, 0
	more := func(count int) {
		for range count {
			n++
			e.changed(health.Change{Alert: health.Alert{Code: fmt.Sprint(n)}, Raised: true})
		}
	}
	e.commit = func(_ context.Context, ch flex.Changes) error {
		if n < 2400 {
			more(400) // while it is busy
		}
		if fails > 0 {
			fails--
			return errors.New("no space left on device")
		}
		for _, a := range ch.Audit {
			stored = append(stored, a.Text)
		}
		return nil
	}
	more(1200)
	if err := e.flush(t.Context()); err == nil {
		t.Fatal("the failure is not told")
	}
	for len(stored) < n {
		before := len(stored)
		if err := e.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(stored) == before {
			break
		}
	}
	if len(stored) != n || !slices.IsSortedFunc(stored, func(a, b string) int { return leading(a) - leading(b) }) {
		t.Errorf("%d of %d are stored: %v", len(stored), n, stored[:5])
	}
}

func leading(s string) (n int) {
	_, _ = fmt.Sscan(s, &n)
	return n
}

// Every kind of trouble is declared once.
func TestNoItemIsDeclaredTwice(t *testing.T) {
	seen := map[string]bool{}
	for _, it := range items(true) {
		if seen[it.Code] {
			t.Errorf("%s is declared twice", it.Code)
		}
		seen[it.Code] = true
		if it.Title == "" || it.Severity == "" {
			t.Errorf("%s has no title or severity", it.Code)
		}
	}
}
