package intake

import (
	"context"
	"slices"
	"time"

	"flexd/agent/flex"
)

// catalogue is what was synced from the market, by id.
type catalogue struct {
	obligations  map[flex.ObligationID]flex.Obligation
	assets       map[flex.AssetID]flex.MarketAsset
	competitions map[flex.CompetitionID]flex.Competition
}

// loadCatalogue reads the contracts from the store. What could be read is
// there even with an error: a stop is matched as well as may be.
func loadCatalogue(ctx context.Context, book Catalogue) (catalogue, error) {
	c := catalogue{
		obligations:  map[flex.ObligationID]flex.Obligation{},
		assets:       map[flex.AssetID]flex.MarketAsset{},
		competitions: map[flex.CompetitionID]flex.Competition{},
	}
	obligations, err := book.Obligations(ctx)
	if err != nil {
		return c, err
	}
	for _, o := range obligations {
		c.obligations[o.ID] = o
	}
	assets, err := book.Assets(ctx)
	if err != nil {
		return c, err
	}
	for _, a := range assets {
		c.assets[a.ID] = a
	}
	competitions, err := book.Competitions(ctx)
	for _, k := range competitions {
		c.competitions[k.ID] = k
	}
	return c, err
}

// obligationOf finds the contract that an instruction belongs to: by its id,
// else by competition, assets and operator when only one fits.
func (c catalogue) obligationOf(in flex.Instruction) (flex.Obligation, bool) {
	if in.Obligation != "" {
		o, ok := c.obligations[in.Obligation]
		return o, ok
	}
	if in.Competition == "" && len(in.Assets) == 0 {
		return flex.Obligation{}, false
	}
	var fits []flex.Obligation
	for _, o := range c.obligations {
		if o.GoneAt.IsZero() && fitsTerms(in, o) {
			fits = append(fits, o)
		}
	}
	if len(fits) > 1 {
		fits = slices.DeleteFunc(fits, func(o flex.Obligation) bool { return !inPeriod(o, in.Window.Start) })
	}
	if len(fits) != 1 {
		return flex.Obligation{}, false
	}
	return fits[0], true
}

// fitsTerms tells whether everything that the instruction says of itself
// agrees with the contract.
func fitsTerms(in flex.Instruction, o flex.Obligation) bool {
	if in.Competition != "" && in.Competition != o.Competition {
		return false
	}
	if in.Operator != "" && o.Operator != "" && in.Operator != o.Operator {
		return false
	}
	if in.Direction != "" && o.Direction != "" && in.Direction != o.Direction {
		return false
	}
	for _, id := range in.Assets {
		if !slices.Contains(o.Assets, id) {
			return false
		}
	}
	return true
}

// inPeriod tells whether the instant lies in the contract's days. The day
// after the last one counts: a window may run over midnight.
func inPeriod(o flex.Obligation, at time.Time) bool {
	zone, err := time.LoadLocation(o.Zone)
	if err != nil {
		zone = time.UTC
	}
	day := at.In(zone).Format(time.DateOnly)
	return day >= o.StartDate && (o.EndDate == "" || day <= o.EndDate)
}

// resolve fills what the instruction leaves to its contract: operator and
// direction. What it says and nobody can read stays a problem: a contract
// fills gaps, it does not overrule words. Content stays what the market said.
func (i *Intake) resolve(c catalogue, in flex.Instruction, o flex.Obligation) flex.Instruction {
	if in.Competition == "" {
		in.Competition = o.Competition
	}
	k := c.competitions[in.Competition]
	if in.Operator == "" {
		in.Operator = o.Operator
	}
	if in.Operator == "" {
		in.Operator = k.Operator
	}
	if in.Obligation == "" {
		in.Obligation = o.ID
	}
	if in.Direction.Sign() != 0 {
		return in
	}
	if i.cfg.Direction != nil {
		in.Direction = i.cfg.Direction(in, o, k)
	} else if in.Direction = o.Direction; in.Direction.Sign() == 0 {
		in.Direction = k.Direction
	}
	return in
}

// namedBy lists the assets that an instruction concerns, each once.
func namedBy(in flex.Instruction, o flex.Obligation) []flex.AssetID {
	ids := in.Assets
	if len(ids) == 0 {
		ids = o.Assets
	}
	out := make([]flex.AssetID, 0, len(ids))
	known := make(map[flex.AssetID]bool, len(ids))
	for _, id := range ids {
		if !known[id] {
			known[id] = true
			out = append(out, id)
		}
	}
	return out
}

// oursOf keeps those that this site's configuration lists.
func (i *Intake) oursOf(ids []flex.AssetID) []flex.AssetID {
	out := make([]flex.AssetID, 0, len(ids))
	for _, id := range ids {
		if i.ours[id] {
			out = append(out, id)
		}
	}
	return out
}
