package store

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
)

func benchOpen(b *testing.B) *DB {
	b.Helper()
	db, err := Open(filepath.Join(b.TempDir(), "state.db"), Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return db
}

// How long a commit takes while 10,000 instructions leave the state file: with
// the card's syncs, and without them, which is how long ours wait for ours.
func BenchmarkCommitBesideUpkeep(b *testing.B) {
	for _, tc := range []struct {
		name       string
		sync, tend bool
	}{{"synced", true, true}, {"synced, no upkeep", true, false}, {"unsynced", false, true}} {
		b.Run(tc.name, func(b *testing.B) {
			db := benchOpen(b)
			db.bolt.NoSync = true
			for i := range 10_000 {
				life(b, db, fmt.Sprint("i", i), t0.Add(-20*day))
			}
			deliver(b, db)
			db.bolt.NoSync = !tc.sync
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 2)
			go func() {
				if tc.tend {
					done <- db.Upkeep(ctx, t0, Keep{Raw: 90 * day})
				}
				done <- nil
			}()
			var took []time.Duration
			for b.Loop() {
				from := time.Now()
				if err := db.Commit(b.Context(), flex.Changes{JournalOpen: []flex.JournalEntry{{Device: "d"}}}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(from))
				time.Sleep(2 * time.Millisecond)
			}
			left := keysOf(b, db)["inbox"]
			cancel()
			<-done
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*999/1000].Microseconds())/1000, "p99.9-ms")
			b.ReportMetric(float64(left), "left")
		})
	}
}
