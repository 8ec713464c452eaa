package agent

import (
	"context"
	"fmt"
	"time"

	"flexd/agent/config"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/store"
)

// cameAhead is how long before its end an instruction may have come, for a
// process that begins to know what an asset must still rest from.
const cameAhead = 35 * 24 * time.Hour

// paces is what the assets need by their nature, nil where none needs any; and
// for how long one must rest at most.
func paces(assets []config.Asset) (func(flex.AssetID) dispatch.Pace, time.Duration) {
	list, most := map[flex.AssetID]dispatch.Pace{}, time.Duration(0)
	for _, a := range assets {
		if p := (dispatch.Pace{MinRun: a.MinRun, Recovery: a.Recovery}); p != (dispatch.Pace{}) {
			list[a.MarketID], most = p, max(most, a.Recovery)
		}
	}
	if len(list) == 0 {
		return nil, 0
	}
	return func(id flex.AssetID) dispatch.Pace { return list[id] }, most
}

// ended are the instructions of an earlier process that an asset may still
// have to rest from.
func (a *Agent) ended(rest time.Duration) ([]flex.Record, error) {
	if rest == 0 {
		return nil, nil
	}
	list, err := a.db.Records(context.Background(), store.RecordQuery{Since: a.wall.Reached().Add(-rest - cameAhead)})
	if err != nil {
		return nil, fmt.Errorf("cannot read the instructions that are over: %w", err)
	}
	return list, nil
}
