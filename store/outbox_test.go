package store

import (
	"fmt"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// acks commits n acknowledgements.
func acks(t *testing.T, db *DB, n int) {
	t.Helper()
	for range n {
		commit(t, db, flex.Changes{Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{}`)}}})
	}
}

// stored counts the rows of a stream that lie in the file, and the changes
// written so far.
func stored(t *testing.T, db *DB, stream flex.Stream) (rows, txs int) {
	t.Helper()
	err := db.bolt.View(func(tx *bbolt.Tx) error {
		rows, txs = tx.Bucket(bOutbox).Bucket([]byte(stream)).Stats().KeyN, tx.ID()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows, txs
}

func done(t *testing.T, db *DB, stream flex.Stream, upto uint64) {
	t.Helper()
	if err := db.Done(t.Context(), stream, upto); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsSentIsDeletedInCompany(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		db := mustOpen(t, state(t))
		acks(t, db, 5)
		_, before := stored(t, db, flex.StreamAck)
		done(t, db, flex.StreamAck, 3)
		head, _ := db.Head(t.Context(), flex.StreamAck, 10)
		waiting, _ := db.Waiting(flex.StreamAck)
		if rows, txs := stored(t, db, flex.StreamAck); rows != 5 || txs != before || waiting != 2 || len(head) != 2 || head[0].Seq != 4 {
			t.Errorf("%d rows after %d changes, %d wait: %v", rows, txs-before, waiting, head)
		}
		acks(t, db, 1)
		if rows, txs := stored(t, db, flex.StreamAck); rows != 3 || txs != before+1 {
			t.Errorf("%d rows after %d changes: not deleted with another change", rows, txs-before)
		}
		done(t, db, flex.StreamAck, 1<<62) // of what there is
		db.outbox.mu.Lock()
		upto := db.outbox.upto[flex.StreamAck]
		db.outbox.mu.Unlock()
		if upto != 6 {
			t.Errorf("all up to %d are sent", upto)
		}
		time.Sleep(2 * doneWithin)
		if rows, txs := stored(t, db, flex.StreamAck); rows != 0 || txs != before+2 {
			t.Errorf("%d rows after %d changes: not deleted by itself", rows, txs-before)
		}
		acks(t, db, 1)
		if head, _ := db.Head(t.Context(), flex.StreamAck, 10); len(head) != 1 {
			t.Errorf("%v: a message of later counts as sent", head)
		}
		time.Sleep(2 * doneWithin)
		if _, txs := stored(t, db, flex.StreamAck); txs != before+3 {
			t.Errorf("%d changes: written although nothing was to be deleted", txs-before)
		}
	})
}

// A fault of what is sent is no fault of what is decided.
func TestADeletionThatFailsStaysToBeDone(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		db := mustOpen(t, state(t))
		acks(t, db, 2)
		_ = db.bolt.Update(func(tx *bbolt.Tx) error { // a row that cannot be deleted
			_, err := tx.Bucket(bOutbox).Bucket([]byte(flex.StreamAck)).CreateBucket(seqKey(0))
			return err
		})
		done(t, db, flex.StreamAck, 2)
		commit(t, db, flex.Changes{Records: []flex.Record{{ID: "i", State: flex.Scheduled}}})
		if head, _ := db.Head(t.Context(), flex.StreamAck, 10); len(head) != 0 {
			t.Errorf("sent again: %v", head)
		}
		time.Sleep(3 * doneWithin / 2) // by itself it fails as well
		_ = db.bolt.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket(bOutbox).Bucket([]byte(flex.StreamAck)).DeleteBucket(seqKey(0))
		})
		time.Sleep(2 * doneWithin)
		if rows, _ := stored(t, db, flex.StreamAck); rows != 0 {
			t.Errorf("%d rows", rows)
		}
	})
}

func TestSentEventsAreNotCountedAsFolded(t *testing.T) {
	db := mustOpen(t, state(t))
	event := func(n int) flex.Changes {
		return flex.Changes{Outbox: []flex.Message{{Stream: flex.StreamEvent, Body: fmt.Appendf(nil, `{"code":"c","subject":"s%d"}`, n)}}}
	}
	for i := range db.mostEvents() + 1 {
		commit(t, db, event(i))
	}
	done(t, db, flex.StreamEvent, 2) // s0, s1
	db.outbox.timer.Stop()
	err := db.bolt.Update(func(tx *bbolt.Tx) error { return db.applyOutbox(tx, event(0)) })
	if err != nil {
		t.Fatal(err)
	}
	head, err := db.Head(t.Context(), flex.StreamEvent, 1<<20)
	if err != nil || len(head) != db.mostEvents() || string(head[len(head)-1].Body) != `{"code":"c","subject":"s0"}` {
		t.Errorf("%v, %d of %d wait, the last %s", err, len(head), db.mostEvents(), head[len(head)-1].Body)
	}
}

// Much that was sent is deleted in portions: whoever commits waits for no more.
func TestMuchThatIsSentGoesInPortions(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		db := mustOpen(t, state(t))
		many := flex.Changes{}
		for range 2*doneMost + 10 {
			many.Outbox = append(many.Outbox, flex.Message{Stream: flex.StreamAck, Body: []byte(`{}`)})
		}
		commit(t, db, many)
		done(t, db, flex.StreamAck, 1<<62)
		for _, left := range []int{doneMost + 11, 12, 3} {
			acks(t, db, 1)
			if rows, _ := stored(t, db, flex.StreamAck); rows != left {
				t.Errorf("%d rows, want %d", rows, left)
			}
		}
		many.Outbox = many.Outbox[:2*doneMost]
		commit(t, db, many)
		done(t, db, flex.StreamAck, 1<<62)
		time.Sleep(doneWithin + 100*time.Millisecond)
		if rows, _ := stored(t, db, flex.StreamAck); rows != 0 {
			t.Errorf("%d rows", rows)
		}
		commit(t, db, many)
		done(t, db, flex.StreamAck, 1<<62)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if rows, _ := stored(t, mustOpen(t, db.path), flex.StreamAck); rows != 0 {
			t.Errorf("%d rows after closing", rows)
		}
	})
}
