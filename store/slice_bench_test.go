package store

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"
)

// What one transaction of upkeep costs, by the processor's time: a decision
// waits for one of them at most.
func BenchmarkUpkeepTransaction(b *testing.B) {
	db := benchOpen(b)
	db.bolt.NoSync, db.upkeep.pause = true, 0
	s := &sweep{db: db, now: t0, keep: Keep{Raw: 90 * day}, after: window, sent: t0, moved: map[string]int{}}
	st := s.steps()[0]
	for i := range 10_000 {
		life(b, db, fmt.Sprint("i", i), t0.Add(-20*day))
	}
	deliver(b, db)
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	var took []time.Duration
	var next []byte
	for b.Loop() {
		_, list, err := s.gather(st, next, nil)
		if err != nil || len(list) == 0 {
			b.Fatal("nothing is left", err)
		}
		for some := range slices.Chunk(list, st.take) {
			from := spent()
			if err := s.remove(b.Context(), st, some); err != nil {
				b.Fatal(err)
			}
			took = append(took, spent()-from)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(len(took)), "transactions")
}
