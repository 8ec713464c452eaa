package agent_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/control"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/store"
)

// The site of the simulated year.
const (
	yearAsset  flex.AssetID = "asset"
	exportMost              = 12 * flex.Kilowatt
	importMost              = 15 * flex.Kilowatt
	reserve                 = 0.2
)

// world is a site for a year: the plant, the disk that survives, and the
// process that comes and goes.
type world struct {
	t      *testing.T
	dir    string
	plant  *house
	clock  *clocktest.Source
	clocks int      // dispatches that could meet a step of it
	proc   *process // nil while it is down
	up     time.Time
	down   time.Time
	inbox  []flex.Offer // what the market has said while nobody listened
	asks   map[flex.InstructionID]*asking
	held   time.Time // a person holds the site since then; zero: nobody
	rows   map[string]*row
	scene  string // what is played

	calm  map[flex.DeviceID]time.Time // a device may be under control until then
	over  time.Time                   // the site is beyond its limits since then
	tally tally
}

// asking is what the market wants, by the test's own book.
type asking struct {
	flex.Window
	kind  string
	power flex.Watts
	fault string
	wh    float64 // what the asset gave within the window
}

// tally is what came of the year.
type tally struct {
	ticks, kills, stops, steps, broken int
}

// process is one life of the agent's deciding and controlling parts.
type process struct {
	db     *store.DB
	wall   *clock.Wall
	board  *dispatch.Board
	engine *dispatch.Engine
	ctrl   *control.Controller
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// book is the store as the deciding rooms need it.
type book struct{ *store.DB }

func (b book) OpenRecords(ctx context.Context) ([]flex.Record, error) {
	return b.Records(ctx, store.RecordQuery{Open: true})
}

func (b book) OwedAnswers(ctx context.Context) ([]flex.Record, error) {
	return b.Records(ctx, store.RecordQuery{Owed: true})
}

// everythingKnown takes every alarm; the year judges by the plant.
func everythingKnown() *health.Tracker {
	return health.New(append(append(dispatch.Items(), control.Items()...), health.Item{Code: allocate.AlarmMeterSign, Severity: health.Alarm},
		health.Item{Code: allocate.AlarmMeterLost, Severity: health.Alarm}), func(health.Change) {})
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), plant: &house{at: time.Now()}, clock: clocktest.New(true), asks: map[flex.InstructionID]*asking{}, calm: map[flex.DeviceID]time.Time{}}
	add := func(c cell) {
		c.house = w.plant
		w.plant.cells = append(w.plant.cells, &c)
	}
	add(cell{id: "bat1", role: flex.RoleStorage, rating: 10_000, energy: 20_000, soc: 0.7, ramp: 5000})
	add(cell{id: "bat2", role: flex.RoleStorage, rating: 5_000, energy: 13_000, soc: 0.7, ramp: 1000})
	add(cell{id: "pv1", role: flex.RolePV, rating: 6_000, ramp: 2000})
	add(cell{id: "grid", role: flex.RoleMeter})
	return w
}

func (w *world) cell(id flex.DeviceID) *cell {
	for _, c := range w.plant.cells {
		if c.id == id {
			return c
		}
	}
	return nil
}

// start brings the process to life on the disk that is there.
func (w *world) start() {
	db, err := store.Open(filepath.Join(w.dir, "state.db"), store.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	wall := clock.New(w.clock, time.Time{})
	p := &process{db: db, wall: wall, board: dispatch.NewBoard()}
	alarms := everythingKnown()
	var devices []control.Device
	var settings []control.DeviceSettings
	for _, c := range w.plant.cells {
		devices = append(devices, c)
		s := control.DeviceSettings{ID: c.id, Role: c.role}
		if c.role == flex.RoleStorage {
			s.ReserveSoC = flex.Percent(reserve * 10_000)
		}
		settings = append(settings, s)
	}
	p.ctrl = control.New(control.Config{Devices: devices, Settings: settings, Board: p.board, Journal: db, Decide: allocate.Decide,
		Assets:      []allocate.Asset{{ID: yearAsset, Devices: []flex.DeviceID{"bat1", "bat2"}, Control: allocate.Setpoint}},
		ExportLimit: exportMost, ImportLimit: importMost, Meter: "grid", Stamp: wall.Stamp, Steady: wall.Steady, Health: alarms, OnChange: func() { p.engine.Wake() }})
	p.engine = dispatch.NewEngine(dispatch.Config{Board: p.board, Ledger: book{db}, Progress: p.ctrl, Wall: wall, Health: alarms,
		Log: slog.New(slog.DiscardHandler), Foresee: p.ctrl.Foresee, Assets: []flex.AssetID{yearAsset}})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	if err := p.engine.Recover(ctx); err != nil {
		w.t.Fatal(err)
	}
	soon, done := context.WithTimeout(ctx, 5*time.Second)
	_ = p.ctrl.Recover(soon) // what is left is retried for ever
	done()
	for _, run := range []func(context.Context) error{p.ctrl.Run, p.engine.Run} {
		p.wg.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Errorf("%v: %v", time.Now().UTC(), err)
			}
		})
	}
	<-p.engine.Ready()
	<-p.ctrl.Ready()
	w.proc, w.up = p, time.Now()
	for _, o := range w.inbox {
		w.offer(o)
	}
	w.inbox = nil
}

// kill ends the process as a power cut of the computer does: nothing is
// released, nothing is said.
func (w *world) kill() {
	w.proc.cancel()
	w.proc.wg.Wait()
	w.close()
	w.tally.kills++
}

// stop ends it in order.
func (w *world) stop() {
	ctx, done := context.WithTimeout(context.Background(), 30*time.Second)
	defer done()
	_ = w.proc.ctrl.Shutdown(ctx, true) // a device that is away stays owed
	w.proc.cancel()
	w.proc.wg.Wait()
	w.close()
	w.tally.stops++
}

func (w *world) close() {
	if err := w.proc.db.Close(); err != nil {
		w.t.Errorf("%v: %v", time.Now().UTC(), err)
	}
	w.proc, w.down = nil, time.Now()
}

// say brings what the market says to the site: now, or when it is there again.
func (w *world) say(o flex.Offer) {
	if w.proc == nil {
		w.inbox = append(w.inbox, o)
		return
	}
	w.offer(o)
}

func (w *world) offer(o flex.Offer) {
	o.Received = w.proc.wall.Stamp()
	if err := w.proc.db.Commit(context.Background(), flex.Changes{Offers: []flex.Offer{o}}); err != nil {
		w.t.Errorf("%v: %v", time.Now().UTC(), err)
	}
	w.proc.engine.Wake()
}

// record is what the site's book says of an instruction.
func (w *world) record(id flex.InstructionID) flex.Record {
	r, _, err := w.proc.db.Record(context.Background(), id)
	if err != nil {
		w.t.Errorf("%s: %v", id, err)
	}
	return r
}

// wanted tells whether anybody asks at an instant, by the test's own book.
func (w *world) wanted(at time.Time) (a *asking) {
	for _, x := range w.asks {
		if x.Contains(at) {
			return x
		}
	}
	return nil
}

// tick checks what must hold at every second.
func (w *world) tick() {
	w.tally.ticks++
	now := time.Now().UTC()
	asks := w.wanted(now)
	w.plant.look(func() {
		for _, c := range w.plant.cells {
			w.checkCell(c, asks, now)
			if asks != nil && c.energy > 0 {
				asks.wh += c.power / 3600
			}
		}
		grid := w.plant.grid()
		// What the devices cause counts; a house may draw what it likes.
		forced := w.cell("bat1").told != nil || w.cell("bat2").told != nil
		beyond := grid > float64(exportMost)+400 || grid < -float64(importMost)-400
		switch {
		case !forced || !beyond || w.proc == nil:
			w.over = time.Time{}
		case w.over.IsZero():
			w.over = now
		case now.Sub(w.over) > 15*time.Second:
			w.broke("the site exchanges %.0f W for %v", grid, now.Sub(w.over))
		}
	})
}

// Grace: a device that is told belongs to somebody; else it is handed back
// within seconds, or falls back by its own lease when nobody can tell it.
const (
	handedBack = 6 * time.Second
	lease      = 61 * time.Second
)

func (w *world) checkCell(c *cell, asks *asking, now time.Time) {
	if c.told == nil {
		delete(w.calm, c.id)
		return
	}
	if p := c.told.Abs(); p > c.rating {
		w.broke("%s is told %v above its rating", c.id, *c.told)
	}
	if c.soc < reserve-0.011 && *c.told > 0 {
		w.broke("%s is told to give %v at %.1f %% of charge", c.id, *c.told, 100*c.soc)
	}
	since := now
	if asks == nil || !w.held.IsZero() {
		if old, ok := w.calm[c.id]; ok {
			since = old
		}
		w.calm[c.id] = since
	} else {
		delete(w.calm, c.id)
		if asks.power > 0 != (*c.told >= 0) && *c.told != 0 {
			w.broke("%s is told %v while %v is asked", c.id, *c.told, asks.power)
		}
		return
	}
	limit := handedBack
	if w.proc == nil || c.offline || now.Sub(w.up) < lease || now.Sub(c.back) < lease {
		limit = lease
	}
	if now.Sub(since) > limit {
		w.broke("%s is told %v for %v although nobody asks", c.id, *c.told, now.Sub(since))
	}
}

func (w *world) broke(format string, args ...any) {
	w.tally.broken++
	if w.tally.broken < 20 {
		w.t.Errorf("%s %s: "+format, append([]any{time.Now().UTC().Format("2006-01-02T15:04:05"), w.scene}, args...)...)
	}
}

// row is one line of the year's summary.
type row struct {
	name         string
	n            int
	states       map[flex.State]int
	asked, given float64 // Wh, magnitude, of those that ran whole
}

func (r *row) text() string {
	out := fmt.Sprintf("%-34s %4d", r.name, r.n)
	for _, s := range []flex.State{flex.Completed, flex.Stopped, flex.Cancelled, flex.Superseded, flex.Refused, flex.Expired} {
		out += fmt.Sprintf(" %5d", r.states[s])
	}
	if r.asked > 0 {
		out += fmt.Sprintf(" %9.1f %9.1f %7.2f %%", r.asked/1000, r.given/1000, 100*r.given/cmp.Or(r.asked, 1))
	}
	return out
}
