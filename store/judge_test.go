package store

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"flexd/agent/flex"
)

func hold(asset flex.AssetID) flex.Hold {
	return flex.Hold{Asset: asset, By: "ann", Reason: "working on it", At: flex.Stamp{At: t0, Clock: flex.ClockSynced}}
}

func holdsOf(t *testing.T, db *DB) string {
	t.Helper()
	list, err := db.Holds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, h := range list {
		out += string(h.Asset) + " by " + h.By + "; "
	}
	return out
}

// ext4 leaves a file of no length after a cut; so does a layout that was never
// written. Neither is a first start, and a hold survives both.
func TestAHoldOutlivesTheStateFile(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, path string)
		want string
	}{
		{"no length", func(t *testing.T, path string) { truncate(t, path, 0) }, "bat by ann; "},
		{"half a page", func(t *testing.T, path string) { truncate(t, path, 2048) }, "bat by ann; "},
		{"cut short", func(t *testing.T, path string) { truncate(t, path, 3*pageSize) }, "bat by ann; "},
		{"gone", func(t *testing.T, path string) { remove(t, path) }, "bat by ann; "},
		{"no layout record", func(t *testing.T, path string) {
			edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(bMeta).Delete(keyLevel) })
		}, "bat by ann; "},
		{"an empty database of others", func(t *testing.T, path string) {
			remove(t, path)
			edit(t, path, func(*bbolt.Tx) error { return nil })
		}, "bat by ann; "},
		{"the second copy gone too", func(t *testing.T, path string) { truncate(t, path, 0); remove(t, path+holdsSuffix) }, " by flexd; "},
		{"the second copy damaged too", func(t *testing.T, path string) { truncate(t, path, 0); truncate(t, path+holdsSuffix, 5) }, " by flexd; "},
		{"the hold's value alone", func(t *testing.T, path string) {
			edit(t, path, func(tx *bbolt.Tx) error {
				return tx.Bucket(bHolds).Put([]byte(holdKey("bat")), []byte(`{"v":1,"value":7}`))
			})
		}, "bat by ann; "},
		{"the hold's value and the second copy", func(t *testing.T, path string) {
			remove(t, path+holdsSuffix)
			edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(bHolds).Put([]byte(holdKey("bat")), []byte("{")) })
		}, "bat by flexd; "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := state(t)
			db := mustOpen(t, path)
			commit(t, db, flex.Changes{Holds: []flex.Hold{hold("bat")}})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			tc.harm(t, path)
			db = mustOpen(t, path)
			if got := holdsOf(t, db); got != tc.want {
				t.Errorf("held: %q, want %q", got, tc.want)
			}
			if !db.Lost() && len(db.Damaged()) == 0 {
				t.Error("nobody is told")
			}
			_ = db.Close()
			if got := holdsOf(t, mustOpen(t, path)); got != tc.want {
				t.Errorf("held after another start: %q", got)
			}
		})
	}
}

func TestAHoldThatWasEndedStaysEnded(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	commit(t, db, flex.Changes{Holds: []flex.Hold{hold("bat")}})
	commit(t, db, flex.Changes{HoldsGone: []flex.AssetID{"bat"}})
	_ = db.Close()
	truncate(t, path, 0)
	if got := holdsOf(t, mustOpen(t, path)); got != "" {
		t.Errorf("held: %q", got)
	}
}

// A passing error of the system says nothing about the file.
func TestAPassingErrorLeavesEveryFileAsItIs(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	commit(t, db, flex.Changes{Records: []flex.Record{record("i1", flex.Scheduled, t0)}})
	if err := db.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	before, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	free, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Close(free)
	for spare := range 4 { // fail at each of the first opens
		few := limit
		few.Cur = uint64(free + spare)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		db, err := Open(path, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			_ = db.Close()
			break
		}
		if spare > 2 {
			t.Errorf("with %d files to spare: %v", spare, err)
		}
	}
	if after, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); !slices.Equal(before, after) {
		t.Errorf("the folder holds %v, it held %v", after, before)
	}
	db = mustOpen(t, path)
	if _, ok, err := db.Record(t.Context(), "i1"); !ok || err != nil || db.Lost() {
		t.Errorf("the record is there: %v, %v; lost: %v", ok, err, db.Lost())
	}
}

// One bit of any page: what is read afterwards is what was written, or is
// known to be missing.
func TestOneFlippedBitIsNeverSilent(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	for i := range 12 {
		id := strings.Repeat("x", i+1)
		commit(t, db, flex.Changes{Records: []flex.Record{record(id, flex.Completed, t0)}, Audit: []flex.Audit{{What: id}}, JournalOpen: []flex.JournalEntry{{Device: flex.DeviceID(id)}}, Holds: []flex.Hold{hold(flex.AssetID(id))},
			Offers: []flex.Offer{{Instruction: flex.Instruction{ID: flex.InstructionID(id)}, Received: flex.Stamp{At: t0}}}, Decided: []uint64{uint64(i)},
			Notices: []flex.Notice{{ID: flex.NotificationID(id), State: flex.NoticeVerified}}})
	}
	before := dump(t, db)
	commit(t, db, flex.Changes{Audit: []flex.Audit{{What: "the last"}}})
	want := dump(t, db)
	_ = db.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for page := 0; page < len(good)/pageSize; page++ {
		for n := range 14 {
			at := page*pageSize + (n*293+page*37)%pageSize
			dir := t.TempDir()
			harmed := filepath.Join(dir, "state.db")
			bad := bytes.Clone(good)
			bad[at] ^= 1 << (n % 8)
			if err := os.WriteFile(harmed, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := Open(harmed, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
			if err != nil {
				t.Fatalf("byte %d: %v", at, err)
			}
			opened++
			commit(t, db, flex.Changes{Audit: []flex.Audit{{What: "goes on"}}})
			got := dump(t, db)
			// A header that is not whole is what a cut in mid-commit leaves: the other one counts.
			torn := page < 2 && got == before+"goes on\n"
			if !torn && !db.Lost() && len(db.Damaged()) == 0 && got != want+"goes on\n" {
				t.Errorf("byte %d of page %d: silently changed:\n%s", at%pageSize, page, difference(got, want))
			}
			_ = db.Close()
		}
	}
	t.Logf("%d files with a flipped bit", opened)
}

// dump is all that a running agent reads.
func dump(t *testing.T, db *DB) string {
	t.Helper()
	records, err1 := db.Records(t.Context(), RecordQuery{})
	journal, err2 := db.Journal(t.Context())
	undecided, err3 := db.Undecided(t.Context(), nil)
	audit, err4 := db.Audit(t.Context(), time.Time{}, 0)
	notices, err5 := db.OpenNotices(t.Context())
	if err := firstError(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal([]any{records, journal, undecided, notices})
	if err != nil {
		t.Fatal(err)
	}
	out := string(raw) + holdsOf(t, db) + "\n"
	for _, a := range audit {
		out += a.What + "\n"
	}
	return out
}

func difference(a, b string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return a[max(0, i-60):min(len(a), i+60)]
}

func TestABackupCostsWhatChanged(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	for range 200 {
		commit(t, db, flex.Changes{Audit: []flex.Audit{{What: strings.Repeat("x", 2000)}}})
	}
	backup := func() os.FileInfo {
		t.Helper()
		if err := db.Backup(t.Context()); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path + backupSuffix)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := backup()
	if again := backup(); !os.SameFile(first, again) {
		t.Error("a backup was taken though nothing changed")
	}
	commit(t, db, flex.Changes{Records: []flex.Record{record("i1", flex.Scheduled, t0)}})
	if second := backup(); os.SameFile(first, second) {
		t.Error("no second generation")
	}
	_ = db.Close()

	truncate(t, path, 0)
	truncate(t, path+backupSuffix, 5*pageSize)
	db = mustOpen(t, path)
	if audit, err := db.Audit(t.Context(), time.Time{}, 0); err != nil || len(audit) != 200 || !db.Lost() {
		t.Errorf("of the older generation: %d lines, %v, lost %v", len(audit), err, db.Lost())
	}
}

func TestOneUnreadableRecordIsSetAsideAlone(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	commit(t, db, flex.Changes{Records: []flex.Record{record("i1", flex.Scheduled, t0), record("i2", flex.Scheduled, t0)}})
	_ = db.Close()
	edit(t, path, func(tx *bbolt.Tx) error {
		raw := bytes.Clone(tx.Bucket(bRecords).Get([]byte("i1")))
		return tx.Bucket(bRecords).Put([]byte("i1"), bytes.Replace(raw, []byte("scheduled"), []byte("schedulef"), 1))
	})
	db = mustOpen(t, path)
	list, err := db.Records(t.Context(), RecordQuery{})
	if err != nil || len(list) != 1 || list[0].ID != "i2" || db.Lost() {
		t.Errorf("%v, %v, lost %v", list, err, db.Lost())
	}
	if d := db.Damaged(); len(d) != 1 || d[0].Bucket != "dispatches" || d[0].Key != "i1" {
		t.Errorf("%+v", d)
	}
}

func TestAJournalEntryThatCannotBeReadCountsAsLost(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	commit(t, db, flex.Changes{JournalOpen: []flex.JournalEntry{{Device: "bat1"}}})
	_ = db.Close()
	edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket(bJournal).Put([]byte("bat1"), []byte(`{"v":1,"value":[]}`)) })
	if db := mustOpen(t, path); !db.Lost() {
		t.Error("a device may be under control, and nobody is told")
	}
}

// A file of an older release has no index of open notices.
func TestOpenNoticesOfAnOlderFileAreFound(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	commit(t, db, flex.Changes{Notices: []flex.Notice{{ID: "open", State: flex.NoticeVerified}, {ID: "done", State: flex.NoticeFetched}}})
	_ = db.Close()
	edit(t, path, func(tx *bbolt.Tx) error {
		var l layout
		if err := decode(keyLevel, tx.Bucket(bMeta).Get(keyLevel), &l); err != nil {
			return err
		}
		l.Buckets = slices.DeleteFunc(l.Buckets, func(b string) bool { return b == string(bOpenNotices) })
		raw, err := encode(keyLevel, l)
		return firstError(err, tx.Bucket(bMeta).Put(keyLevel, raw), tx.DeleteBucket(bOpenNotices))
	})
	if list, err := mustOpen(t, path).OpenNotices(t.Context()); err != nil || len(list) != 1 || list[0].ID != "open" {
		t.Errorf("%+v, %v", list, err)
	}
}

func truncate(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// edit changes a file as nobody of ours does.
func edit(t *testing.T, path string, fn func(*bbolt.Tx) error) {
	t.Helper()
	b, err := bbolt.Open(path, 0o600, options(DefaultMaxSize))
	if err != nil {
		t.Fatal(err)
	}
	if err := firstError(b.Update(fn), b.Close()); err != nil {
		t.Fatal(err)
	}
}
