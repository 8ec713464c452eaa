package intake

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// A full disk answers 503 to the notification. Its stop acts all the same, and
// is stored as soon as anything can be.
func TestAStopActsThoughItsNotificationCannotBeStored(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.sets["u"] = []flex.Instruction{start("i2", "a"), stop("s1", "i1")}
		r.book.failPut, r.book.failNext = errors.New("disk full"), 3
		r.start(t)
		if err := r.Accept(t.Context(), body("u")); err == nil {
			t.Fatal("nothing is on disk, and the market is told that it is")
		}
		synctest.Wait()
		if r.notes.stopped() != 1 || len(r.book.kept()) != 0 {
			t.Fatalf("%d stops act, %v is on disk", r.notes.stopped(), r.book.ids())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.book.kept()) != 1 || r.book.kept()[0].Instruction.ID != "s1" || len(r.jobs) != 0 {
			t.Errorf("on disk: %v, %d jobs are left", r.book.ids(), len(r.jobs))
		}
		r.book.put(func(b *fakeBook) { b.failPut = nil })
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(r.book.kept()) != 2 || r.notes.stopped() != 1 {
			t.Errorf("sent again: %v, %d stops", r.book.ids(), r.notes.stopped())
		}
	})
}

// There is no room for anything new: the stop that came with a start is kept.
func TestAStopIsKeptWhenItsNeighboursAreNot(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.sets["u"] = []flex.Instruction{start("i2", "a"), stop("s1", "i1"), start("i3", "a")}
		r.book.noStarts = true
		r.start(t)
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.book.kept()) != 1 || r.book.kept()[0].Instruction.ID != "s1" {
			t.Errorf("on disk: %v", r.book.ids())
		}
		r.book.mu.Lock()
		r.book.noStarts = false
		r.book.mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.book.kept()) != 3 {
			t.Errorf("once there is room: %v", r.book.ids())
		}
	})
}
