package agent

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"flexd/agent/flex"
	"flexd/agent/health"
)

// A store that is stuck for long: of each item the newest change stays, and
// the diary says how many are gone.
func TestChangesFoldWhileTheStoreIsStuck(t *testing.T) {
	e := newEvents(slog.New(slog.DiscardHandler), func() flex.Stamp { return flex.Stamp{} })
	stuck := true
	var stored flex.Changes
	e.commit = func(_ context.Context, ch flex.Changes) error {
		if stuck {
			return errors.New("full")
		}
		stored = ch
		return nil
	}
	for n := range 5000 {
		e.changed(health.Change{Alert: health.Alert{Code: "c", Subject: strconv.Itoa(n % 30), Text: strconv.Itoa(n)}})
		if n%700 == 0 && e.flush(t.Context()) == nil {
			t.Fatal("a stuck store took something")
		}
	}
	stuck = false
	if err := e.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(stored.Outbox); n < 30 || n > maxPending || !strings.HasPrefix(stored.Audit[0].Text, strconv.Itoa(5000-n)+" changes") {
		t.Errorf("%d events, %q", n, stored.Audit[0].Text)
	}
	if last := string(stored.Outbox[len(stored.Outbox)-1].Body); !strings.Contains(last, `"4999"`) {
		t.Errorf("the last is %s", last)
	}
}
