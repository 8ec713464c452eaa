package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/config"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/store"
)

// mostADay is what an idle site with ten devices at 1 Hz may write to its files:
// 15 MB less what the file system adds for itself.
const mostADay = 12_000_000

// idle is what of an agent writes while nothing happens, on a clock of the
// bubble's.
func idle(t *testing.T, dir string) *Agent {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(filepath.Join(dir, stateFile), store.Options{Log: log, Now: time.Now})
	must(t, err)
	cfg := &config.Config{Data: dir, Market: config.Market{KeepRaw: 90 * 24 * time.Hour}, MQTT: &config.MQTT{Telemetry: time.Minute},
		Site: config.Site{ID: "whole", Timezone: time.UTC, Meter: "d0"}}
	for n := range 3 {
		cfg.Assets = append(cfg.Assets, config.Asset{MarketID: flex.AssetID(fmt.Sprintf("asset-%d", n)), Meter: "d0", Devices: []flex.DeviceID{"d1"}})
	}
	a := &Agent{log: log, db: db, wall: clock.New(clocktest.New(true), time.Time{}), health: health.New(items(false), func(health.Change) {}),
		board: dispatch.NewBoard(), conf: loaded{cfg: cfg}, started: time.Now()}
	must(t, a.takeSession())
	a.buildTelemetry()
	must(t, a.buildMeter())
	a.buildWhy()
	return a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnIdleSiteIsCheapForItsCard counts every page that is written in six
// hours, with the fleet taking what it is sent.
func TestAnIdleSiteIsCheapForItsCard(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		a := idle(t, t.TempDir())
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, run := range []func(context.Context) error{a.tele.Run, a.meter.Run, a.upkeep,
			func(ctx context.Context) error { return a.why.Run(ctx, whyShelf{a.whyDB}, a.tellWhy) }} {
			wg.Go(func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		plan, soc := allocate.Plan{}, flex.Percent(5000)
		for n := range 10 {
			plan.Targets = append(plan.Targets, flex.Target{Device: flex.DeviceID(fmt.Sprintf("d%d", n))})
		}
		hours := 6
		for second := range hours * 3600 {
			for n := range 10 {
				w := flex.Watts(3000 + 50*rand.NormFloat64())
				a.reading(flex.Reading{Device: flex.DeviceID(fmt.Sprintf("d%d", n)), At: time.Now().Add(time.Duration(rand.IntN(20)) * time.Millisecond), Power: &w, SoC: &soc})
			}
			a.why.Note(time.Now(), plan)
			if second%60 == 1 { // as soon as it is woken
				list, err := a.tele.After(ctx, 0, 100)
				must(t, err)
				for _, m := range list {
					a.tele.Done(m.Seq)
				}
			}
			time.Sleep(time.Second)
		}
		total := int64(0)
		for _, f := range (&view{a}).files(time.Since(a.started)) {
			t.Logf("%-16s %8d bytes, %8d written, %8d a day", f.Name, f.Size, f.Written, f.PerDay)
			total += f.PerDay
		}
		t.Logf("together %d bytes a day, %d commits to state.db", total, store.WearOf(a.db).Commits)
		if total > mostADay || total == 0 {
			t.Errorf("%d bytes a day, at most %d", total, mostADay)
		}
		stop()
		wg.Wait()
		must(t, a.tele.Close())
		must(t, a.whyDB.Close())
		must(t, a.db.Close())
	})
}
