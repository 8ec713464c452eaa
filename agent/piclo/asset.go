package piclo

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// asset decodes what the market knows of a sold resource. Capacities weigh
// the shares of an instruction, so a bad one is an error; the run times are
// for people, so a bad one is left out and the raw text keeps it.
func (p *Profile) asset(raw json.RawMessage, now time.Time) (flex.MarketAsset, error) {
	doc, err := decodeObject(raw)
	if err != nil {
		return flex.MarketAsset{}, fmt.Errorf("the asset is %w", err)
	}
	f, m := &fields{doc: doc}, p.Asset
	id, given := f.text(m.ID, maxID)
	f.need(given && id != "", m.ID)
	a := flex.MarketAsset{ID: flex.AssetID(id), SyncedAt: now, Raw: slices.Clone(raw)}
	a.Import, _ = f.power(m.Import, p.Power.Unit)
	a.Export, _ = f.power(m.Export, p.Power.Unit)
	if err := f.err(); err != nil {
		return flex.MarketAsset{}, fmt.Errorf("asset %q: %w", clip(id), err)
	}
	a.Ref, _ = f.text(m.Ref, maxText)
	a.Name, _ = f.text(m.Name, maxText)
	a.Status, _ = f.text(m.Status, maxText)
	a.ImportMPAN, _ = f.text(m.ImportMeter, maxText)
	a.ExportMPAN, _ = f.text(m.ExportMeter, maxText)
	a.MinRuntime, _ = parsed(f, m.MinRuntime, parseSpan)
	a.MaxRuntime, _ = parsed(f, m.MaxRuntime, parseSpan)
	a.Recovery, _ = parsed(f, m.Recovery, parseSpan)
	a.Response, _ = parsed(f, m.Response, parseSpan)
	return a, nil
}

func (p *Profile) assets(list []json.RawMessage, now time.Time) ([]flex.MarketAsset, error) {
	return each(list, func(raw json.RawMessage) (flex.MarketAsset, error) { return p.asset(raw, now) })
}

// competition decodes a tender.
func (p *Profile) competition(raw json.RawMessage, now time.Time) (flex.Competition, error) {
	doc, err := decodeObject(raw)
	if err != nil {
		return flex.Competition{}, fmt.Errorf("the competition is %w", err)
	}
	f, m := &fields{doc: doc}, p.Competition
	id, given := f.text(m.ID, maxID)
	f.need(given && id != "", m.ID)
	c := flex.Competition{ID: flex.CompetitionID(id), SyncedAt: now, Raw: slices.Clone(raw)}
	c.Direction = f.direction(m.Direction, p.Power)
	if err := f.err(); err != nil {
		return flex.Competition{}, fmt.Errorf("competition %q: %w", clip(id), err)
	}
	c.Name, _ = f.text(m.Name, maxText)
	c.Operator, _ = f.text(m.Operator, maxText)
	c.ServiceType, _ = f.text(m.ServiceType, maxText)
	return c, nil
}
