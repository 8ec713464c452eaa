package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func segmentFile(t *testing.T, frames int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history-2026-11.seg")
	for i := range frames {
		if err := appendFrame(path, []string{fmt.Sprint("b/", i)}, []entry{{Bucket: "b", Key: fmt.Append(nil, i), Value: fmt.Appendf(nil, `{"n":%d,"s":"<a>"}`, i)}}); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func readSegment(t *testing.T, path string) (values []string, harm int) {
	t.Helper()
	s, err := openSegment(path, func(int64, error) { harm++ })
	if err != nil {
		t.Fatal(err)
	}
	defer s.f.Close()
	list, err := s.frames()
	if err != nil {
		t.Fatal(err)
	}
	for _, fr := range list {
		entries, err := s.entries(fr)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			values = append(values, string(e.Key)+string(e.Value))
		}
	}
	return values, harm
}

// A cut at any byte of the last frame loses that frame alone, and what is
// appended after it is found.
func TestATornEndOfTheArchiveHarmsNothing(t *testing.T) {
	path := segmentFile(t, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(segmentFile(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	for n := len(two) + 1; n < len(whole); n++ {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if v, harm := readSegment(t, path); len(v) != 2 || harm != 0 {
			t.Fatalf("cut at %d: %v, %d times harm", n, v, harm)
		}
		if err := appendFrame(path, []string{"b/9"}, []entry{{Bucket: "b", Key: []byte("9"), Value: []byte("9")}}); err != nil {
			t.Fatal(err)
		}
		if v, _ := readSegment(t, path); len(v) != 3 || v[2] != "99" {
			t.Fatalf("cut at %d and written on: %v", n, v)
		}
	}
}

// One bit of any byte: a value is as it was, or its lack is told.
func TestOneFlippedBitOfTheArchiveIsNeverSilent(t *testing.T) {
	path := segmentFile(t, 3)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := readSegment(t, path)
	for at := range good {
		bad := bytes.Clone(good)
		bad[at] ^= 1 << (at % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got, harm := readSegment(t, path)
		last := len(got) == 2 && got[0] == want[0] && got[1] == want[1] // as if it had been cut
		if harm == 0 && fmt.Sprint(got) != fmt.Sprint(want) && !last {
			t.Errorf("byte %d: silently %v", at, got)
		}
	}
}

// Whoever looks for what is damaged in the archive is told, and goes on.
func TestADamagedArchiveIsToldAndPassedOver(t *testing.T) {
	path := state(t)
	db := mustOpen(t, path)
	for i := range 3 {
		life(t, db, fmt.Sprint("i", i), t0.Add(-20*day))
		deliver(t, db)
		tend(t, db, t0)
	}
	file := db.archive.path(kindHistory, t0)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw[frameHead+200] ^= 4
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	db, err = Open(path, Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := range 3 {
		if r, ok, err := db.Record(t.Context(), record(fmt.Sprint("i", i), "", t0).ID); !ok || err != nil || r.State != "completed" {
			t.Errorf("i%d: %v %v %+v", i, ok, err, r)
		}
	}
	if len(db.Damaged()) == 0 {
		t.Error("nobody is told of the damage")
	}
}
