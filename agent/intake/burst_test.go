package intake

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// Five thousand notifications within a minute, on a disk that is slower than
// they come: a stop in between acts at once, and everything that was accepted
// is fetched and kept.
func TestFiveThousandNotificationsInAMinute(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		all := 5000
		if underRace {
			all = 1500 // of the same pace; the detector makes each of them dear
		}
		r := newRig(nil)
		r.market.count, r.market.serve = 1, true
		r.book.slow = 15 * time.Millisecond
		r.start(t)
		most := 0
		for n := range all {
			u := fmt.Sprintf("u%04d", n)
			if n == all*9/10 {
				r.market.offer("stop", stop("s1", "of-u0001"))
				u = "stop"
			}
			go func() {
				if err := r.Accept(t.Context(), body(u)); err != nil {
					t.Error(err)
				}
			}()
			time.Sleep(time.Minute / 5000)
			if u == "stop" && r.notes.stopped() != 1 {
				t.Error("the stop waits behind the burst")
			}
			r.mu.Lock()
			most = max(most, r.settling)
			if len(r.jobs) > maxJobs {
				t.Fatalf("%d jobs", len(r.jobs))
			}
			r.mu.Unlock()
		}
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if most != maxSettling {
			t.Errorf("at most %d replies waited for the disk: the bound of %d was not reached or not kept", most, maxSettling)
		}
		if got := len(r.book.ids()); got != all {
			t.Errorf("%d of %d instructions are kept", got, all)
		}
		if open, _ := r.book.OpenNotices(t.Context()); len(open) != 0 {
			t.Errorf("%d notices are open", len(open))
		}
	})
}

// More notices than are worked on in memory: none is lost, and one that is
// new finds a place although thousands are kept against repetitions.
func TestMoreNoticesThanPlaces(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count, r.market.serve = 1, true
		r.start(t)
		for n := range maxJobs + 100 {
			if err := r.Accept(t.Context(), body(fmt.Sprintf("u%04d", n))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		r.market.offer("stop", stop("s1", "of-u0001"))
		if err := r.Accept(t.Context(), body("stop")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r.notes.stopped() != 1 {
			t.Error("the stop finds no place")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(r.book.ids()); got != maxJobs+101 {
			t.Errorf("%d instructions are kept", got)
		}
	})
}

// tenThousand are instructions of which every so many is ours.
func tenThousand(ours int) []flex.Instruction {
	list := make([]flex.Instruction, 10_000)
	for n := range list {
		list[n] = start(fmt.Sprintf("i%d", n), "a")
		if n%ours > 0 {
			list[n].Assets, list[n].Obligation = []flex.AssetID{"foreign"}, "ob2"
		}
	}
	return list
}

func TestTenThousandInstructionsInOneReply(t *testing.T) {
	r := newRig(nil)
	list := tenThousand(10)
	r.market.sets["list"] = list
	if err := r.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.book.offers) != 1000 || r.book.commits > 10 || len(r.book.audit) > maxDropped+1 {
		t.Errorf("%d offers in %d commits, %d lines", len(r.book.offers), r.book.commits, len(r.book.audit))
	}
	if r.book.scans != 3 {
		t.Errorf("the catalogue was read %d times, want each part once", r.book.scans)
	}
	if r.book.looks > 3*len(list) {
		t.Errorf("%d looks at offers for %d instructions", r.book.looks, len(list))
	}
	commits := r.book.commits
	for range 3 {
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r.book.commits != commits {
		t.Errorf("%d commits for what is known", r.book.commits-commits)
	}
}

// A list of ten thousand of ours, all known, costs no write with every poll.
func TestALongListIsNotWrittenAnewWithEveryPoll(t *testing.T) {
	r := newRig(nil)
	r.market.sets["list"] = tenThousand(1)
	if err := r.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.rebuild(nil)
	commits := 0
	for n := range 3 {
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			commits = r.book.commits
		}
	}
	if r.book.commits != commits || len(r.book.offers) != 10_000 {
		t.Errorf("%d commits for what is known, %d offers", r.book.commits-commits, len(r.book.offers))
	}
}

func BenchmarkPollTenThousandForOthers(b *testing.B) { benchmarkPoll(b, 10_000) }
func BenchmarkPollTenThousandForUs(b *testing.B)     { benchmarkPoll(b, 1) }

// benchmarkPoll measures the first look at a long list, and the heap it holds.
func benchmarkPoll(b *testing.B, ours int) {
	list := tenThousand(ours)
	b.ReportAllocs()
	for b.Loop() {
		r := newRig(nil)
		r.market.sets["list"] = list
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if err := r.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/(1<<20), "MiB-held")
		runtime.KeepAlive(r)
	}
}
