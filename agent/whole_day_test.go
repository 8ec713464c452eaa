package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock/clocktest"
	"flexd/agent/control"
	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/drivers/drivertest/makers"
	"flexd/drivers/sunspec"
	"flexd/store"
)

// oneBoard holds the dispatches of a test.
type oneBoard struct {
	mu  sync.Mutex
	all []flex.Dispatch
}

func (b *oneBoard) Running() (out []flex.Dispatch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.all {
		if time.Now().Before(d.Window.End) {
			out = append(out, d)
		}
	}
	return out
}
func (b *oneBoard) Holds() []flex.Hold { return nil }
func (b *oneBoard) StoreFailing() bool { return false }
func (b *oneBoard) OnChange(func())    {}

// Many dispatches in a day on one hybrid: all are affordable, all are given in
// full, none leaves the way to its target, and the device's memory is spared.
func TestManyDispatchesInADayOnOneHybrid(t *testing.T) {
	const dispatches = 66
	clocktest.Bubble(t, func(t *testing.T) {
		p := makers.NewSunSpec(time.Now, makers.SunSpecKind{Base: 40000, Rates: true, PctSF: -2, Rated: 10_000, Charge: 5000, Discharge: 5000,
			Energy: 20_000, Level: 60, Ramp: 2500, Delay: 300 * time.Millisecond, Renew: 500 * time.Millisecond,
			Modules: []string{"MPPT 1", "MPPT 2", "StCha 3", "StDisCha 4"},
			Sun:     func(time.Time) float64 { return 2000 }, Own: func(time.Time, makers.Watts) float64 { return -500 }})
		found := p.Owner()
		dev, err := sunspec.New(sunspec.Config{ID: "hy", Endpoint: "hy:502", Unit: 1, Role: flex.RoleHybrid, Bus: p})
		must(t, err)
		db, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
		must(t, err)
		defer func() { must(t, db.Close()) }()
		board, alarms := &oneBoard{}, map[string]bool{}
		var mu sync.Mutex
		tracker := health.New(append(control.Items(), health.Item{Code: allocate.AlarmMeterSign}, health.Item{Code: allocate.AlarmMeterLost}),
			func(c health.Change) { mu.Lock(); alarms[fmt.Sprint(c)] = true; mu.Unlock() })
		c := control.New(control.Config{Devices: []control.Device{dev}, Settings: []control.DeviceSettings{{ID: "hy", Role: flex.RoleHybrid}},
			Assets: []allocate.Asset{{ID: yearAsset, Devices: []flex.DeviceID{"hy"}, Control: allocate.Setpoint}}, Decide: allocate.Decide,
			Board: board, Journal: db, Stamp: func() flex.Stamp { return flex.Stamp{At: time.Now()} }, Health: tracker})
		ctx, cancel := context.WithCancel(t.Context())
		must(t, c.Recover(ctx))
		var wg sync.WaitGroup
		wg.Go(func() { _ = c.Run(ctx) })
		<-c.Ready()
		time.Sleep(5 * time.Second)
		for n := range dispatches {
			target := flex.Watts([]float64{3500, 1000, 4000}[n%3])
			start := time.Now().Add(10 * time.Second).Truncate(time.Second)
			d := flex.Dispatch{ID: flex.InstructionID(fmt.Sprintf("i%d", n)), Window: flex.Window{Start: start, End: start.Add(20 * time.Second)},
				Shares: []flex.AssetShare{{Asset: yearAsset, Power: target}}}
			if why := c.Afford(d); why != nil {
				t.Fatalf("dispatch %d: %v", n, why)
			}
			board.mu.Lock()
			board.all = append(board.all, d)
			board.mu.Unlock()
			var seen flex.Progress
			for time.Now().Before(d.Window.End.Add(5 * time.Second)) {
				if time.Now().Before(d.Window.End) {
					seen = c.Progress()[d.ID]
				}
				low, high := math.Min(1500, float64(target))-10, math.Max(1500, float64(target))+10
				if w := p.Watts(); w.AC < low || w.AC > high {
					t.Fatalf("dispatch %d of %v: %+v", n, target, w)
				}
				time.Sleep(500 * time.Millisecond)
			}
			if seen.DeliverAt.IsZero() || seen.ActingAt.IsZero() || p.Point(124, 5) != 0 {
				t.Fatalf("dispatch %d: %+v, alarms %v", n, seen, alarms)
			}
		}
		if len(alarms) > 0 {
			t.Errorf("alarms %v", alarms)
		}
		worn := 0
		for _, w := range c.Status()[0].Wear {
			worn = max(worn, w.N)
		}
		if worn == 0 || worn > 50 {
			t.Errorf("a register was written %d times", worn)
		}
		now := p.Owner()
		at := p.At(124, 15)
		if now[at] == found[at] {
			t.Error("the reversion time was put back each time")
		}
		now[at] = found[at]
		if !maps.Equal(now, found) {
			t.Errorf("found %v, now %v", found, now)
		}
		cancel()
		wg.Wait()
	})
}
