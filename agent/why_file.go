package agent

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/why"
	"flexd/store/series"
)

// whyFile is where the history of reasons is kept; losing it costs history only.
const (
	whyFile = "why.db"
	whyRows = 2 * 24 * 60 // batches; there is one a minute at most
	whySize = 32 << 20
)

// whyShelf keeps batches of the history in a ring.
type whyShelf struct{ db *series.DB }

// Append keeps a batch.
func (w whyShelf) Append(ctx context.Context, at time.Time, blob []byte) error {
	_, err := w.db.Append(ctx, at, blob)
	return err
}

// Read gives the batches since an instant and drops what is older.
func (w whyShelf) Read(ctx context.Context, since time.Time) ([][]byte, error) {
	rows, err := w.db.Head(ctx, whyRows)
	var out [][]byte
	drop := uint64(0)
	for _, r := range rows {
		if r.At.Before(since) {
			drop = r.Seq
			continue
		}
		out = append(out, r.Blob)
	}
	if err == nil && drop > 0 {
		err = w.db.Done(ctx, drop)
	}
	return out, err
}

// buildWhy begins the history behind what earlier processes kept.
func (a *Agent) buildWhy() {
	now, _ := a.wall.Now()
	var old []why.Entry
	db, err := series.Open(filepath.Join(a.conf.cfg.Data, whyFile), series.Options{Log: a.log, MaxRows: whyRows, MaxSize: whySize})
	if err == nil {
		a.whyDB = db
		old, err = why.Load(context.Background(), whyShelf{db}, now)
	}
	if err != nil {
		a.log.Warn("the history of reasons begins anew", "error", err)
	}
	a.why = why.New(old, now)
}

// plan is the planner, whose answers are remembered by what the wall clock
// shows.
func (a *Agent) plan(in allocate.Input) allocate.Plan {
	p := a.bench.plan(in)
	_, ahead := a.wall.Both()
	told := p
	if ahead != 0 {
		told.Targets = slices.Clone(p.Targets)
		for i := range told.Targets {
			if u := &told.Targets[i].Until; !u.IsZero() {
				*u = u.Add(ahead)
			}
		}
	}
	a.why.Note(in.Now.Add(ahead), told)
	return p
}
