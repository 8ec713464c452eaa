package agent

import (
	"context"
	"fmt"
	"math"
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
	whySize = 32 << 20
)

// codeWhy tells that reasons are remembered by this process alone.
const codeWhy = "history_not_kept"

// whyShelf keeps batches of the history in a ring.
type whyShelf struct{ db *series.DB }

// Append keeps batches.
func (w whyShelf) Append(ctx context.Context, at time.Time, blobs [][]byte) error {
	rows := make([]series.Row, len(blobs))
	for i, b := range blobs {
		epoch, seq := w.db.Next()
		rows[i] = series.Row{Epoch: epoch, Seq: seq, At: at, Blob: b}
	}
	_, err := w.db.Append(ctx, rows, nil)
	return err
}

// Read gives the batches since an instant.
func (w whyShelf) Read(ctx context.Context, since time.Time) ([][]byte, error) {
	const few = 64
	var out [][]byte
	for below := uint64(math.MaxUint64); ; {
		rows, err := w.db.Down(ctx, below, 0, few)
		for _, r := range rows {
			if r.At.Before(since) {
				rows = nil
				break
			}
			out, below = append(out, r.Blob), r.Seq-1
		}
		if err != nil || len(rows) == 0 {
			slices.Reverse(out)
			return out, err
		}
	}
}

// buildWhy begins the history behind what earlier processes kept.
func (a *Agent) buildWhy() {
	now, _ := a.wall.Now()
	var old []why.Entry
	db, err := series.Open(filepath.Join(a.conf.cfg.Data, whyFile), series.Options{Log: a.log, MaxSize: whySize})
	if err == nil {
		a.whyDB = db
		old, err = why.Load(context.Background(), whyShelf{db}, now)
	}
	if err != nil {
		a.tellWhy(err)
	}
	a.why = why.New(old, now)
}

// tellWhy tells that the history is not kept beyond this process, nil that it
// is.
func (a *Agent) tellWhy(err error) {
	if err == nil {
		a.health.Clear(codeWhy, "")
		return
	}
	a.health.Raise(codeWhy, "", fmt.Sprintf("%v: what `flexd why` remembers ends with this process; look at the disk that the data folder is on", err))
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
