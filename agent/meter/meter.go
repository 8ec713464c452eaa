package meter

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
	"flexd/agent/health"
)

// How often intervals are kept, while a dispatch runs and otherwise, and how
// long after the full minutes: the last sample of a minute, or the gap behind
// it, is known by then.
const (
	keepEvery = 5 * time.Minute
	keepCalm  = 15 * time.Minute
	keepAfter = 15 * time.Second
)

// Asset is one sold resource and what it is measured by.
type Asset struct {
	ID      flex.AssetID
	Meter   flex.DeviceID   // "": by the sum of Devices
	Devices []flex.DeviceID // W, + towards the grid
	Rule    *Rule           // nil: the asset counts from zero
}

// Shelf keeps intervals and nominations.
type Shelf interface {
	// PutIntervals keeps all of it or nothing; open is given back by OpenIntervals.
	PutIntervals(ctx context.Context, rows map[flex.AssetID][]flex.Interval, open []byte) error
	OpenIntervals() ([]byte, bool, error)
	Intervals(ctx context.Context, id flex.AssetID, step time.Duration, from, to time.Time) ([]flex.Interval, error)
	Nomination(ctx context.Context, id flex.AssetID) (flex.Nomination, bool, error)
}

// Wall is the clock with its trust.
type Wall interface {
	Now() (time.Time, flex.ClockTrust)
	// Reached is what the true time has reached for certain: what is forgotten
	// for its age goes by it.
	Reached() time.Time
}

// Health takes alarms.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}

// CodeBaseline says that a baseline could not be computed as configured.
const CodeBaseline = "baseline_missing"

// CodeCounters says that a meter's counters and its power tell different things.
const CodeCounters = "meter_counters"

// Items declares the alarms that this room raises.
func Items() []health.Item {
	return []health.Item{
		{Code: CodeBaseline, Severity: health.Alarm, Title: "A baseline could not be computed"},
		{Code: CodeCounters, Severity: health.Warning, Title: "A meter's counters contradict its power"},
	}
}

// Config is what a Meter needs. All is required; Zone is that of the local
// days.
type Config struct {
	Assets []Asset
	Shelf  Shelf
	Wall   Wall
	Zone   *time.Location
	Health Health
	Log    *slog.Logger
	// Running tells whether a dispatch runs; nil: none ever does.
	Running func() bool
}

// Meter gathers. It is safe for concurrent use.
type Meter struct {
	cfg Config

	mu      sync.Mutex
	assets  []*gather
	pending map[flex.AssetID][]flex.Interval // closed and not kept yet
	events  map[flex.InstructionID]event
	away    map[string]flex.Unavailability
	failing bool
}

// gather is one asset with what is remembered of it.
type gather struct {
	Asset
	sources map[flex.DeviceID]*source
	minutes []flex.Interval // the last hours, by start
	days    []flex.Interval // quarters of the last weeks, by start
	missing time.Time       // end of the window without a baseline that is told
}

// New builds a Meter that knows nothing yet: Load follows.
func New(cfg Config) *Meter {
	m := &Meter{cfg: cfg, pending: map[flex.AssetID][]flex.Interval{}, events: map[flex.InstructionID]event{}, away: map[string]flex.Unavailability{}}
	for _, a := range cfg.Assets {
		g := &gather{Asset: a, sources: map[flex.DeviceID]*source{}}
		ids := a.Devices
		if a.Meter != "" {
			ids = []flex.DeviceID{a.Meter}
		}
		for _, id := range ids {
			g.sources[id] = &source{}
		}
		m.assets = append(m.assets, g)
	}
	return m
}

// Load takes up what earlier processes have kept; what cannot be read is left
// out and said.
func (m *Meter) Load(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	raw, ok, err := m.cfg.Shelf.OpenIntervals()
	if err == nil && ok && len(raw) > 0 {
		err = m.resume(raw)
	}
	if err != nil {
		m.cfg.Log.Warn("what was measured of the intervals under way is lost", "error", err)
	}
	for _, g := range m.assets {
		g.minutes = m.load(ctx, g.ID, steps[0], g.Rule.minutesBack())
		g.days = m.load(ctx, g.ID, steps[1], g.Rule.daysBack())
	}
}

// load reads what is kept of an asset for as long as its rule looks back.
func (m *Meter) load(ctx context.Context, id flex.AssetID, step, back time.Duration) []flex.Interval {
	if back == 0 {
		return nil
	}
	list, err := m.cfg.Shelf.Intervals(ctx, id, step, m.cfg.Wall.Reached().Add(-back), endOfTime)
	if err != nil {
		m.cfg.Log.Error("the intervals of an asset cannot be read, its history begins anew", "asset", id, "error", err)
	}
	return slices.Clone(list[max(0, len(list)-most(back, step)):])
}

// endOfTime is after every interval.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// most bounds what is remembered while no clock proves how old it is.
func most(back, step time.Duration) int { return 2 * int(back/step) }

// resume reads the state of the intervals that were not over.
func (m *Meter) resume(raw []byte) error {
	var open map[flex.AssetID]map[flex.DeviceID]*source
	if err := json.Unmarshal(raw, &open); err != nil {
		return fmt.Errorf("cannot decode it: %w", err)
	}
	for _, g := range m.assets {
		for id := range g.sources {
			if s := open[g.ID][id]; s != nil && len(s.Open) == len(s.Step) && !slices.ContainsFunc(s.Step, func(n int) bool { return n < 0 || n >= len(steps) }) {
				g.sources[id] = s
			}
		}
	}
	return nil
}

// Reading takes one sample. While the clock cannot be trusted nothing is
// taken: nobody knows which interval it belongs to.
func (m *Meter) Reading(r flex.Reading) {
	now, trust := m.cfg.Wall.Now()
	if trust == flex.ClockUntrusted {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.assets {
		if s := g.sources[r.Device]; s != nil {
			s.add(pointOf(r, r.Device == g.Meter), now.UnixMilli())
		}
	}
}

// Run keeps what was measured until ctx ends, and then the rest.
func (m *Meter) Run(ctx context.Context) error {
	ran := false // a dispatch, when it was looked last
	for {
		now, _ := m.cfg.Wall.Now()
		next := now.Add(-keepAfter).Truncate(keepEvery).Add(keepEvery + keepAfter)
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			m.keep(context.WithoutCancel(ctx))
			return nil
		case <-timer.C:
			runs := m.cfg.Running != nil && m.cfg.Running()
			if runs || ran || next.Add(-keepAfter).Truncate(keepCalm).Add(keepAfter).Equal(next) {
				m.keep(ctx)
			}
			ran = runs
		}
	}
}

// keep stores what is closed and what is under way. What cannot be stored is
// tried again with the next.
func (m *Meter) keep(ctx context.Context) {
	now, trust := m.cfg.Wall.Now()
	if trust == flex.ClockUntrusted {
		return
	}
	m.mu.Lock()
	m.collect(now)
	m.endAlarms(now)
	rows := m.pending
	m.pending = map[flex.AssetID][]flex.Interval{}
	open := map[flex.AssetID]map[flex.DeviceID]*source{}
	for _, g := range m.assets {
		open[g.ID] = g.sources
	}
	raw, err := json.Marshal(open)
	m.mu.Unlock()
	if err == nil {
		err = m.cfg.Shelf.PutIntervals(ctx, rows, raw)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		for id, list := range rows {
			list = append(list, m.pending[id]...)
			m.pending[id] = list[max(0, len(list)-mostOpen):]
		}
		if !m.failing {
			m.cfg.Log.Warn("intervals cannot be kept, they are tried again", "error", err)
		}
	}
	m.failing = err != nil
}

// collect closes the intervals of which no more will be known; mu is held.
func (m *Meter) collect(now time.Time) {
	reached := m.cfg.Wall.Reached()
	for _, g := range m.assets {
		for n, step := range steps {
			for _, start := range g.due(n, now.UnixMilli()) {
				i, ok := g.close(n, start)
				m.tellCounters(g)
				if !ok {
					continue
				}
				m.pending[g.ID] = append(m.pending[g.ID], i)
				if step == time.Minute {
					g.minutes = remember(g.minutes, i, g.Rule.minutesBack(), reached)
				} else {
					g.days = remember(g.days, i, g.Rule.daysBack(), reached)
				}
			}
		}
	}
	m.forgetEvents(reached)
}

// Waiting is what is known of an asset's intervals of a step and not kept yet.
func (m *Meter) Waiting(id flex.AssetID, step time.Duration) []flex.Interval {
	now, trust := m.cfg.Wall.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if trust != flex.ClockUntrusted {
		m.collect(now)
	}
	var out []flex.Interval
	for _, i := range m.pending[id] {
		if i.Step == step {
			out = append(out, i)
		}
	}
	return out
}

// tellCounters says aloud what was found of a meter's counters.
func (m *Meter) tellCounters(g *gather) {
	s := g.sources[g.Meter]
	switch {
	case g.Meter == "" || !s.Judged:
	case s.Agreed:
		m.cfg.Health.Clear(CodeCounters, string(g.Meter))
	default:
		m.cfg.Health.Raise(CodeCounters, string(g.Meter), fmt.Sprintf("the energy counters of %s differ from its power by more than a tenth: they may count the other way (sign), or another circuit; intervals go by its power", g.Meter))
	}
}

// due are the starts of intervals that are over for every source: it has given
// a sample since, or its silence tells nothing more.
func (g *gather) due(n int, now int64) []int64 {
	var out []int64
	step := steps[n].Milliseconds()
	for _, s := range g.sources {
		for i, t := range s.Open {
			end := t.Start + step
			if s.Step[i] == n && end <= now && !slices.Contains(out, t.Start) && g.settled(end, now) {
				out = append(out, t.Start)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (g *gather) settled(end, now int64) bool {
	for _, s := range g.sources {
		bridges := s.Last != nil && s.Last.counts()
		switch {
		case s.Last != nil && s.Last.At >= end:
		case !bridges && now >= end+gapAfter.Milliseconds():
		case now >= end+bridgeMax.Milliseconds():
		default:
			return false
		}
	}
	return true
}

// close adds up an interval of all sources. Where one is missing nothing is
// known of the sum.
func (g *gather) close(n int, start int64) (flex.Interval, bool) {
	var sum flex.Interval
	known := true
	for _, s := range g.sources {
		i, some := s.close(n, start)
		known = known && some
		if sum.Step == 0 {
			sum = i
			continue
		}
		sum.Energy += i.Energy
		sum.Seen = min(sum.Seen, i.Seen)
		sum.Quality = sum.Quality.Worse(i.Quality)
	}
	return sum, known
}

// Merged puts intervals together by start; of two the better one stays.
func Merged(list, more []flex.Interval) []flex.Interval {
	for _, i := range more {
		list = put(list, i)
	}
	return list
}

// put places an interval in a list by start; of two the better one stays.
func put(list []flex.Interval, i flex.Interval) []flex.Interval {
	at, there := slices.BinarySearchFunc(list, i, func(a, b flex.Interval) int { return a.Start.Compare(b.Start) })
	if !there {
		return slices.Insert(list, at, i)
	}
	if i.Better(list[at]) {
		list[at] = i
	}
	return list
}

// remember puts an interval into a list that goes back so far, and drops what
// is older. A clock that is ahead adds to the list and drops nothing.
func remember(list []flex.Interval, i flex.Interval, back time.Duration, reached time.Time) []flex.Interval {
	if back == 0 {
		return nil
	}
	list = put(list, i)
	since, old := reached.Add(-back), max(0, len(list)-most(back, i.Step))
	for old < len(list) && list[old].Start.Before(since) {
		old++
	}
	if old > 0 {
		list = append(list[:0], list[old:]...)
	}
	return list
}
