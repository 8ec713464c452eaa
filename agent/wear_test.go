package agent

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/store"
)

func TestCountsOfWearSurviveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	opened := func() wearBook {
		db, err := store.Open(path, store.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return wearBook{db}
	}
	w := opened()
	add := func(device flex.DeviceID, register, day string, n int) {
		if err := w.Add(t.Context(), []flex.Wear{{Device: device, Register: register, Day: day, N: n, Limit: 100}}); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := w.Load(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("%v, %v", list, err)
	}
	add("a", "x (1)", "2026-03-01", 5)
	add("a", "x (1)", "2026-03-02", 1)
	add("a", "x (1)", "2026-03-02", 2)
	add("b", "x (1)", "2026-03-02", 7)
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	w = opened()
	list, err := w.Load(t.Context())
	if err != nil || len(list) != 2 || list[0].N != 3 || list[1].N != 7 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := w.db.PutSetting(wearKey, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Load(t.Context()); err == nil {
		t.Error("damaged counts count as none")
	}
}
