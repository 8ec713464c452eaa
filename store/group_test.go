package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// Many at once, some of them impossible: each hears its own outcome, and every
// good one is there.
func TestNeighboursInAGroupDoNotShareTheirErrors(t *testing.T) {
	db := mustOpen(t, state(t))
	var wg sync.WaitGroup
	release := make(chan struct{})
	wg.Go(func() { // one that leads long enough for the others to gather
		_ = db.update(t.Context(), deciding, func(*bbolt.Tx) error { <-release; return nil })
	})
	for !db.group.waiting() {
		time.Sleep(time.Millisecond)
	}
	for i := range 40 {
		wg.Go(func() {
			name := fmt.Sprint("t", i)
			switch {
			case i%10 == 3:
				err := db.Commit(t.Context(), flex.Changes{Records: []flex.Record{record(name, flex.Admitted, t0)}, Tombstones: []flex.Tombstone{{ID: ""}}})
				if err == nil {
					t.Error("a nameless tombstone was stored")
				}
			case i%10 == 7:
				defer func() {
					if r := recover(); r != "poison" {
						t.Errorf("%s: recovered %v", name, r)
					}
				}()
				_ = db.update(t.Context(), deciding, func(*bbolt.Tx) error { panic("poison") })
			case i%2 == 0:
				fresh, err := db.PutNotice(t.Context(), flex.Notice{ID: flex.NotificationID(fmt.Sprint(i % 4))}, nil, flex.Changes{Tombstones: []flex.Tombstone{{ID: "x"}}})
				if err != nil || !fresh && i < 0 {
					t.Error(err)
				}
			default:
				if err := db.Commit(t.Context(), flex.Changes{Tombstones: []flex.Tombstone{{ID: flex.InstructionID(name)}}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	close(release)
	wg.Wait()
	for i := range 40 {
		_, ok, err := db.Tombstone(t.Context(), flex.InstructionID(fmt.Sprint("t", i)))
		_, half, _ := db.Record(t.Context(), flex.InstructionID(fmt.Sprint("t", i)))
		if want := i%2 == 1 && i%10 != 3 && i%10 != 7; err != nil || ok != want || half {
			t.Errorf("t%d: stored %v, want %v (%v); half of it: %v", i, ok, want, err, half)
		}
	}
	notices := 0
	for i := range 4 {
		n, ok, _ := db.Notice(flex.NotificationID(fmt.Sprint(i)))
		if ok {
			notices += n.Seen
		}
	}
	if notices != 20 {
		t.Errorf("%d of 20 deliveries are counted", notices)
	}
}

func TestAGroupSharesOneSync(t *testing.T) {
	db := mustOpen(t, state(t))
	release := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.update(t.Context(), deciding, func(*bbolt.Tx) error { <-release; return nil })
	})
	for !db.group.waiting() {
		time.Sleep(time.Millisecond)
	}
	txs := make([]int, 30)
	for i := range txs {
		wg.Go(func() {
			if err := db.update(t.Context(), deciding, func(tx *bbolt.Tx) error { txs[i] = tx.ID(); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	for queued := 0; queued < len(txs); {
		db.group.mu.Lock()
		queued = len(db.group.queue)
		db.group.mu.Unlock()
	}
	close(release)
	wg.Wait()
	if slices.Min(txs) != slices.Max(txs) || txs[0] == 0 {
		t.Errorf("written in transactions %v", txs)
	}
	if err := db.update(t.Context(), deciding, func(*bbolt.Tx) error { return errors.New("no") }); err == nil {
		t.Error("an error was lost")
	}
}

// What the notification's door waits for, at 500 a second.
func BenchmarkNoticesAt500(b *testing.B) {
	db := benchOpen(b)
	raw := make([]byte, 1500)
	const rate = 500
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	began := time.Now()
	for i := range b.N {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / rate)))
		wg.Go(func() {
			n := flex.Notice{ID: flex.NotificationID(fmt.Sprintf("%036d", i)), State: flex.NoticeVerified, Received: t0}
			from := time.Now()
			_, err := db.PutNotice(b.Context(), n, raw, flex.Changes{Audit: []flex.Audit{{What: "notice.verified", Text: "by webhook"}},
				Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{"state":"notified"}`)}, {Stream: flex.StreamAck, Body: []byte(`{"state":"verified"}`)}}})
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			took = append(took, time.Since(from))
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
