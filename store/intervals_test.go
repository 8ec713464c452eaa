package store

import (
	"math/rand/v2"
	"testing"
	"time"

	"flexd/agent/flex"
)

func interval(at time.Time, step time.Duration, energy int64, q flex.Quality) flex.Interval {
	return flex.Interval{Start: at, Step: step, Energy: energy, Seen: step / 2, Quality: q}
}

// What is put comes back, by asset and step, in order, also beside a model.
func TestIntervalsComeBack(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	path := state(t)
	db := mustOpen(t, path)
	type key struct {
		id   flex.AssetID
		step time.Duration
		at   int64
	}
	model := map[key]flex.Interval{}
	qualities := []flex.Quality{flex.QualityCounter, flex.QualityPower, flex.QualityEstimated}
	day := t0.Truncate(24 * time.Hour)
	for range 60 {
		rows := map[flex.AssetID][]flex.Interval{}
		for range 30 {
			id, step := []flex.AssetID{"a", "ab", ""}[rnd.IntN(3)], []time.Duration{time.Minute, 15 * time.Minute}[rnd.IntN(2)]
			i := interval(day.Add(time.Duration(rnd.IntN(600))*step), step, rnd.Int64N(2e12)-1e12, qualities[rnd.IntN(3)])
			rows[id] = append(rows[id], i)
			k := key{id, step, i.Start.Unix()}
			if old, ok := model[k]; !ok || i.Better(old) {
				model[k] = i
			}
		}
		if err := db.PutIntervals(t.Context(), rows, []byte(`{"n":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, path)
	if raw, ok, err := db.OpenIntervals(); !ok || err != nil || string(raw) != `{"n":1}` {
		t.Errorf("%s %v %v", raw, ok, err)
	}
	from, to := day.Add(7*time.Hour+7*time.Minute), day.Add(50*time.Hour)
	for _, id := range []flex.AssetID{"a", "ab", "", "b"} {
		for _, step := range []time.Duration{time.Minute, 15 * time.Minute} {
			list, err := db.Intervals(t.Context(), id, step, from, to)
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			for k, i := range model {
				if k.id == id && k.step == step && !i.Start.Before(from) && i.Start.Before(to) {
					want++
				}
			}
			if len(list) != want {
				t.Errorf("%q %v: %d intervals, want %d", id, step, len(list), want)
			}
			for n, i := range list {
				if model[key{id, step, i.Start.Unix()}] != i || n > 0 && !list[n-1].Start.Before(i.Start) {
					t.Fatalf("%q: %+v, want %+v", id, i, model[key{id, step, i.Start.Unix()}])
				}
			}
		}
	}
}

func TestIntervalsAreBounded(t *testing.T) {
	db := mustOpen(t, state(t))
	rows := map[flex.AssetID][]flex.Interval{"a": {
		interval(t0.Add(-13*24*time.Hour), time.Minute, 1, flex.QualityPower), interval(t0.Add(-15*24*time.Hour), time.Minute, 2, flex.QualityPower),
		interval(t0.Add(-390*24*time.Hour), 15*time.Minute, 3, flex.QualityPower), interval(t0.Add(-402*24*time.Hour), 15*time.Minute, 4, flex.QualityPower),
	}}
	if err := db.PutIntervals(t.Context(), rows, nil); err != nil {
		t.Fatal(err)
	}
	if err := db.Upkeep(t.Context(), t0, Keep{Raw: time.Hour}); err != nil {
		t.Fatal(err)
	}
	minutes, _ := db.Intervals(t.Context(), "a", time.Minute, time.Time{}, t0)
	quarters, _ := db.Intervals(t.Context(), "a", 15*time.Minute, time.Time{}, t0)
	if len(minutes) != 1 || minutes[0].Energy != 1 || len(quarters) != 1 || quarters[0].Energy != 3 {
		t.Errorf("%+v %+v", minutes, quarters)
	}
}

func TestANominationIsReplacedAndDropped(t *testing.T) {
	db := mustOpen(t, state(t))
	nom := flex.Nomination{Asset: "a", Pieces: []flex.Stated{{Start: t0, Step: time.Hour, Values: []flex.Watts{1, -2}, At: t0, By: "eve"}}}
	commit(t, db, flex.Changes{Nominations: []flex.Nomination{nom}})
	if got, ok, err := db.Nomination(t.Context(), "a"); !ok || err != nil || len(got.Pieces) != 1 || got.Pieces[0].Values[1] != -2 {
		t.Errorf("%+v %v %v", got, ok, err)
	}
	commit(t, db, flex.Changes{Nominations: []flex.Nomination{{Asset: "a"}}})
	if _, ok, err := db.Nomination(t.Context(), "a"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}
