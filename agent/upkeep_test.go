package agent

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/config"
	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/store"
)

// A clock that nobody disciplines jumps years ahead: neither may that time be
// stored for ever, nor what is kept be thrown away by it.
func TestUpkeepStoresNoTimeThatIsNotProven(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		db, err := store.Open(filepath.Join(dir, stateFile), store.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		src := clocktest.New(true)
		start := func() *Agent {
			a := &Agent{log: slog.New(slog.DiscardHandler), db: db, wall: clock.New(src, time.Time{}), health: health.New(nil, nil),
				conf: loaded{cfg: &config.Config{Data: dir, Market: config.Market{KeepRaw: 90 * 24 * time.Hour}}}}
			if err := a.takeSession(); err != nil {
				t.Fatal(err)
			}
			return a
		}
		a := start()
		stored := func() time.Time {
			n, err := number(db, settingFloor)
			if err != nil {
				t.Fatal(err)
			}
			return time.Unix(int64(n), 0)
		}
		first := time.Now().Truncate(time.Second)
		if a.maintain(t.Context()); !stored().Equal(first) {
			t.Errorf("synchronised: stored %s, want now, %s", stored(), first)
		}
		if err := db.Commit(t.Context(), flex.Changes{Audit: []flex.Audit{{At: a.wall.Stamp(), What: "kept"}}}); err != nil {
			t.Fatal(err)
		}
		src.Sync(false)
		src.Step(9 * 365 * 24 * time.Hour)
		time.Sleep(time.Hour)
		if a.maintain(t.Context()); !stored().Equal(first.Add(time.Hour)) {
			t.Errorf("after a jump in holdover: stored %s, want an hour after %s", stored(), first)
		}
		if list, err := db.Audit(t.Context(), time.Time{}, 10); err != nil || len(list) != 1 {
			t.Errorf("after the jump %d lines of the diary are left, want 1 (%v)", len(list), err)
		}
		src.Step(-9 * 365 * 24 * time.Hour)
		src.Sync(true)
		src.Reboot("boot-2")
		if _, trust := start().wall.Now(); trust != flex.ClockSynced {
			t.Errorf("the right time is %s after the restart", trust)
		}
	})
}
