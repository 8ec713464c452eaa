package store

import (
	"fmt"
	"os"
	"testing"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

// numbers remembers what was given, whatever file gave it.
type numbers map[string]bool

// draw takes a few numbers more and wants every one to be new.
func (given numbers) draw(t *testing.T, db *DB) {
	t.Helper()
	for range 3 {
		commit(t, db, flex.Changes{Outbox: []flex.Message{{Stream: flex.StreamAck, Body: []byte(`{}`)}}})
	}
	all, err := db.Head(t.Context(), flex.StreamAck, 100)
	if err != nil || len(all) < 3 {
		t.Fatalf("%d messages, %v", len(all), err)
	}
	for _, m := range all[len(all)-3:] {
		key := fmt.Sprintf("%s/%d", m.Epoch, m.Seq)
		if m.Epoch == "" || m.Epoch != db.Epoch() || given[key] {
			t.Fatalf("%q was given before, or is of no epoch; it is %q", key, db.Epoch())
		}
		given[key] = true
	}
}

func closed(t *testing.T, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// backedUp is a state with two generations of backups, and what came after.
func backedUp(t *testing.T) (string, numbers) {
	t.Helper()
	path, given := state(t), numbers{}
	db := mustOpen(t, path)
	for range 2 {
		given.draw(t, db)
		if err := db.Backup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	given.draw(t, db)
	closed(t, db)
	return path, given
}

// Whatever is put in the place of the state file, no number of a stream is
// given twice under one epoch.
func TestNumbersNeverRepeat(t *testing.T) {
	for _, suffix := range []string{backupSuffix, olderSuffix} {
		t.Run("the copy "+suffix+" is written over it, again and again", func(t *testing.T) {
			path, given := backedUp(t)
			backup := contents(t, path+suffix)
			for range 3 {
				if err := os.WriteFile(path, backup, 0o600); err != nil { // the same file, other contents
					t.Fatal(err)
				}
				db := mustOpen(t, path)
				given.draw(t, db)
				epoch := db.Epoch()
				closed(t, db)
				if db = mustOpen(t, path); db.Epoch() != epoch {
					t.Error("it is noticed twice")
				}
				given.draw(t, db)
				closed(t, db)
			}
		})
	}
	t.Run("it is lost, and a backup takes its place", func(t *testing.T) {
		path, given := backedUp(t)
		remove(t, path)
		given.draw(t, mustOpen(t, path))
	})
	t.Run("an older copy takes its place", func(t *testing.T) {
		path, given := backedUp(t)
		if identity(path) == "" {
			t.Skip("NOT TESTED: the file system tells no time of birth")
		}
		raw, db := contents(t, path), mustOpen(t, path)
		given.draw(t, db)
		closed(t, db)
		remove(t, path)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		given.draw(t, mustOpen(t, path))
	})
	t.Run("what was salvaged of it counts apart", func(t *testing.T) {
		path, given := backedUp(t)
		copied, err := Salvage(path, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if identity(path) != "" {
			given.draw(t, mustOpen(t, copied))
		}
	})
}

func TestAnEpochOutlastsARestart(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	epoch := db.Epoch()
	closed(t, db)
	if db = mustOpen(t, path); db.Epoch() != epoch || epoch == "" {
		t.Errorf("%q after %q", db.Epoch(), epoch)
	}
}

// A file of a release without epochs gets one when it is opened, and what it
// had waiting has that one for ever.
func TestAnOlderFileGetsAnEpoch(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		b, err := tx.Bucket(bOutbox).CreateBucketIfNotExists([]byte(flex.StreamAck))
		if err != nil {
			return err
		}
		if err := b.SetSequence(7); err != nil {
			return err
		}
		raw, err := encode(seqKey(7), flex.Message{ID: "x", Stream: flex.StreamAck, Seq: 7})
		return firstError(err, b.Put(seqKey(7), raw), tx.Bucket(bMeta).Delete(keyEpoch))
	})
	if err := firstError(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, path)
	first := db.Epoch()
	if all, err := db.Head(t.Context(), flex.StreamAck, 5); err != nil || len(all) != 1 || all[0].Epoch != first || first == "" {
		t.Fatalf("%+v of epoch %s, %v", all, first, err)
	}
	commit(t, db, flex.Changes{Assets: []flex.MarketAsset{{ID: "a"}}})
	if err := db.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := firstError(db.Close(), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, path) // the backup: another epoch, and the same for what waited
	if all, err := db.After(t.Context(), flex.StreamAck, 6, 5); err != nil || len(all) != 1 || all[0].Epoch != first || db.Epoch() == first {
		t.Errorf("%+v of epoch %s, then %s, %v", all, first, db.Epoch(), err)
	}
}
