package agent

import (
	"cmp"
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

// daysKey is where the day's energies are kept.
const daysKey = "days"

// LoadDays gives the day's energies that are kept.
func (w wearBook) LoadDays() ([]flex.DayEnergy, error) {
	raw, ok, err := w.db.Setting(daysKey)
	if err != nil || !ok {
		return nil, err
	}
	var list []flex.DayEnergy
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("the energies of the day are damaged: %w", err)
	}
	return list, nil
}

// PutDays keeps the day's energies.
func (w wearBook) PutDays(list []flex.DayEnergy) error {
	slices.SortFunc(list, func(a, b flex.DayEnergy) int { return cmp.Compare(a.Device, b.Device) })
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("cannot encode the energies of the day: %w", err)
	}
	return w.db.PutSetting(daysKey, raw)
}

// distrustsKey is where it is kept which devices are not controlled any more.
const distrustsKey = "distrusts"

// LoadDistrusts gives the devices that did the contrary of what they were told.
func (w wearBook) LoadDistrusts() ([]flex.Distrust, error) {
	raw, ok, err := w.db.Setting(distrustsKey)
	if err != nil || !ok {
		return nil, err
	}
	var list []flex.Distrust
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("the list is damaged: %w", err)
	}
	return list, nil
}

// PutDistrusts keeps them.
func (w wearBook) PutDistrusts(list []flex.Distrust) error {
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("cannot encode the list: %w", err)
	}
	return w.db.PutSetting(distrustsKey, raw)
}

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

// Add counts so many writes more of each. Counts of other days are let go.
func (w wearBook) Add(ctx context.Context, more []flex.Wear) error {
	list, err := w.Load(ctx)
	if err != nil {
		return err
	}
	for _, n := range more {
		list = slices.DeleteFunc(list, func(x flex.Wear) bool { return x.Day < n.Day })
		i := slices.IndexFunc(list, func(x flex.Wear) bool {
			return x.Device == n.Device && x.Register == n.Register && x.Day == n.Day
		})
		if i < 0 {
			list = append(list, n)
			continue
		}
		n.N += list[i].N
		list[i] = n
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("cannot encode the counts: %w", err)
	}
	return w.db.PutSetting(wearKey, raw)
}
