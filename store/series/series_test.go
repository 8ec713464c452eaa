package series

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func mustOpen(t *testing.T, path string, o Options) *DB {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	db, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestTheRingKeepsTheNewest(t *testing.T) {
	db := mustOpen(t, filepath.Join(t.TempDir(), "series.db"), Options{MaxRows: 10})
	for i := range 25 {
		if _, err := db.Append(t.Context(), time.Unix(int64(i), 0), fmt.Appendf(nil, "b%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := db.Head(t.Context(), 100)
	if err != nil || len(rows) != 10 || string(rows[0].Blob) != "b15" || rows[0].Seq != 16 || rows[0].At.Unix() != 15 {
		t.Fatalf("kept %d rows from %+v, %v", len(rows), rows[0], err)
	}
	if err := db.Done(t.Context(), rows[8].Seq); err != nil {
		t.Fatal(err)
	}
	if n, err := db.Waiting(); err != nil || n != 1 {
		t.Errorf("waiting = %d, %v; want 1", n, err)
	}
}

func TestNumbersGoOnAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "series.db")
	db := mustOpen(t, path, Options{})
	first, _ := db.Append(t.Context(), time.Now(), []byte("a"))
	_ = db.Done(t.Context(), first)
	_ = db.Close()
	if next, err := mustOpen(t, path, Options{}).Append(t.Context(), time.Now(), []byte("b")); err != nil || next != first+1 {
		t.Errorf("next number = %d, %v; want %d", next, err, first+1)
	}
}

func TestADamagedFileIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "series.db")
	if err := os.WriteFile(path, []byte("not a database at all, but long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := mustOpen(t, path, Options{}).Append(t.Context(), time.Now(), []byte("a")); err != nil {
		t.Error(err)
	}
}

func TestAFullFileDropsTheOldest(t *testing.T) {
	db := mustOpen(t, filepath.Join(t.TempDir(), "series.db"), Options{MaxRows: 1000, MaxSize: 1 << 20})
	blob := make([]byte, 8000)
	for i := range 300 {
		if _, err := db.Append(t.Context(), time.Unix(int64(i), 0), blob); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
}
