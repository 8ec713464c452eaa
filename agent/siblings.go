package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
	"flexd/agent/intake"
	"flexd/agent/siblings"
	"flexd/store"
)

// watchSiblings compares the shares with the other sites of the group, if there
// is one.
func watchSiblings(a *Agent) *siblings.Watch {
	if a.conf.cfg.MQTT.Group == "" {
		return nil
	}
	ids := ours(a.conf.cfg.Assets)
	return siblings.New(siblings.Config{Own: func(ctx context.Context) (map[string]string, error) { return dividedBy(ctx, a.db, ids) },
		Raise: a.health.Raise, Clear: a.health.Clear, Log: a.log, Settle: intake.Spread(a.conf.cfg.Market.Sync) + time.Second})
}

// dividedBy names by what this site divides the contracts that it has together
// with others, and what was instructed of them.
func dividedBy(ctx context.Context, db *store.DB, ids []flex.AssetID) (map[string]string, error) {
	contracts, err := db.Obligations(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the contracts: %w", err)
	}
	known, err := db.Assets(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the assets: %w", err)
	}
	common := map[flex.ObligationID]bool{}
	out := map[string]string{}
	for _, o := range contracts {
		mine := func(id flex.AssetID) bool { return slices.Contains(ids, id) }
		alone := !slices.ContainsFunc(o.Assets, func(id flex.AssetID) bool { return !mine(id) })
		if alone || !o.GoneAt.IsZero() || !slices.ContainsFunc(o.Assets, mine) {
			continue
		}
		common[o.ID] = true
		weights := make([]allocate.Weight, len(o.Assets))
		for i, id := range o.Assets {
			weights[i].Asset = id
			if at := slices.IndexFunc(known, func(m flex.MarketAsset) bool { return m.ID == id }); at >= 0 {
				weights[i].Capacity = known[at].Capacity(o.Direction)
			}
		}
		out["contract "+string(o.ID)] = allocate.Hash(weights)
	}
	open, err := db.Records(ctx, store.RecordQuery{Open: true})
	if err != nil {
		return nil, fmt.Errorf("cannot read the instructions: %w", err)
	}
	for _, r := range open {
		if common[r.Instruction.Obligation] && r.ShareHash != "" {
			out[siblings.Frozen+fmt.Sprintf("%s revision %d", r.ID, r.Instruction.Revision)] = r.ShareHash
		}
	}
	return out, nil
}
