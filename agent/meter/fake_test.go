package meter

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
)

// t0 is a Monday, 10:00 UTC, on a full quarter.
var t0 = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

// shelf keeps in memory what the store keeps on disk.
type shelf struct {
	rows  map[flex.AssetID]map[time.Duration]map[time.Time]flex.Interval
	open  []byte
	noms  map[flex.AssetID]flex.Nomination
	puts  int
	broke bool
}

func (s *shelf) PutIntervals(_ context.Context, rows map[flex.AssetID][]flex.Interval, open []byte) error {
	if s.broke {
		return errors.New("no space")
	}
	s.puts++
	s.open = open
	for id, list := range rows {
		for _, i := range list {
			s.put(id, i)
		}
	}
	return nil
}

func (s *shelf) put(id flex.AssetID, i flex.Interval) {
	if s.rows == nil {
		s.rows = map[flex.AssetID]map[time.Duration]map[time.Time]flex.Interval{}
	}
	if s.rows[id] == nil {
		s.rows[id] = map[time.Duration]map[time.Time]flex.Interval{}
	}
	if s.rows[id][i.Step] == nil {
		s.rows[id][i.Step] = map[time.Time]flex.Interval{}
	}
	if old, ok := s.rows[id][i.Step][i.Start]; !ok || i.Better(old) {
		s.rows[id][i.Step][i.Start] = i
	}
}

func (s *shelf) OpenIntervals() ([]byte, bool, error) { return s.open, s.open != nil, nil }

func (s *shelf) Intervals(_ context.Context, id flex.AssetID, step time.Duration, from, to time.Time) ([]flex.Interval, error) {
	var out []flex.Interval
	for _, at := range slices.SortedFunc(maps.Keys(s.rows[id][step]), time.Time.Compare) {
		if !at.Before(from) && at.Before(to) {
			out = append(out, s.rows[id][step][at])
		}
	}
	return out, nil
}

func (s *shelf) Nomination(_ context.Context, id flex.AssetID) (flex.Nomination, bool, error) {
	n, ok := s.noms[id]
	return n, ok, nil
}

// wall is a clock that the test sets.
type wall struct {
	now   time.Time
	trust flex.ClockTrust
	ahead time.Duration
}

func (w *wall) Now() (time.Time, flex.ClockTrust) { return w.now, w.trust }

// Reached is now, unless the clock is ahead of what it can prove.
func (w *wall) Reached() time.Time { return w.now.Add(-w.ahead) }

// alarms counts what is raised.
type alarms map[string]string

func (a alarms) Raise(code, subject, text string) { a[code+" "+subject] = text }
func (a alarms) Clear(code, subject string)       { delete(a, code+" "+subject) }

// rig is a Meter with everything around it.
type rig struct {
	t      *testing.T
	assets []Asset
	wall   *wall
	shelf  *shelf
	alarms alarms
	m      *Meter
}

func newRig(t *testing.T, assets ...Asset) *rig {
	r := &rig{t: t, assets: assets, wall: &wall{now: t0, trust: flex.ClockSynced}, shelf: &shelf{}, alarms: alarms{}}
	r.restart()
	return r
}

// restart is what a new process finds.
func (r *rig) restart() {
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = New(Config{Assets: r.assets, Shelf: r.shelf, Wall: r.wall, Zone: zone, Health: r.alarms, Log: slog.New(slog.DiscardHandler)})
	r.m.Load(r.t.Context())
}

// sample gives a reading now.
func (r *rig) sample(id flex.DeviceID, w flex.Watts) {
	r.m.Reading(flex.Reading{Device: id, At: r.wall.now, Power: &w})
}

// run samples once a second for a while.
func (r *rig) run(id flex.DeviceID, d time.Duration, power func(time.Time) flex.Watts) {
	for end := r.wall.now.Add(d); r.wall.now.Before(end); r.wall.now = r.wall.now.Add(time.Second) {
		r.sample(id, power(r.wall.now))
	}
}

func flat(w flex.Watts) func(time.Time) flex.Watts { return func(time.Time) flex.Watts { return w } }

// kept is what the shelf has of an asset.
func (r *rig) kept(id flex.AssetID, step time.Duration) []flex.Interval {
	r.m.keep(r.t.Context())
	list, _ := r.shelf.Intervals(r.t.Context(), id, step, time.Time{}, r.wall.now.Add(time.Hour))
	return list
}
