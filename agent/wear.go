package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"flexd/agent/flex"
	"flexd/store"
)

// wearKey is where the counts of writes to persistent registers are kept.
const wearKey = "wear"

// wearBook keeps today's counts over restarts. There are few of them: they
// grow with the writes they are to bound. Control calls it from one goroutine
// at a time.
type wearBook struct{ db *store.DB }

// Load gives the counts that are kept.
func (w wearBook) Load(context.Context) ([]flex.Wear, error) {
	raw, ok, err := w.db.Setting(wearKey)
	if err != nil || !ok {
		return nil, err
	}
	var list []flex.Wear
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("the counts are damaged: %w", err)
	}
	return list, nil
}

// Add counts so many writes more. Counts of other days are let go.
func (w wearBook) Add(ctx context.Context, n flex.Wear) error {
	list, err := w.Load(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(x flex.Wear) bool { return x.Day < n.Day })
	i := slices.IndexFunc(list, func(x flex.Wear) bool {
		return x.Device == n.Device && x.Register == n.Register && x.Day == n.Day
	})
	if i < 0 {
		list = append(list, n)
	} else {
		n.N += list[i].N
		list[i] = n
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("cannot encode the counts: %w", err)
	}
	return w.db.PutSetting(wearKey, raw)
}
