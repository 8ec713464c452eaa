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
	return p.readAsset(raw, now, nil)
}

func (p *Profile) readAsset(raw json.RawMessage, now time.Time, t *trace) (flex.MarketAsset, error) {
	doc, err := decodeObject(raw)
	if err != nil {
		return flex.MarketAsset{}, fmt.Errorf("the asset is %w", err)
	}
	f, m := &fields{p: p, doc: doc, trace: t}, p.Asset
	id, given := f.text("id", m.ID, maxID)
	f.need("id", given && id != "", m.ID)
	a := flex.MarketAsset{ID: flex.AssetID(id), SyncedAt: now, Raw: slices.Clone(raw)}
	// A capacity of import may be written with a minus; which field it stands
	// in says the direction, so the profile's common sign has no say here.
	a.Import, _, _ = f.power("import", m.Import, signNone)
	a.Export, _, _ = f.power("export", m.Export, signNone)
	if err := f.err(); err != nil {
		return flex.MarketAsset{}, fmt.Errorf("asset %q: %w", clip(id), err)
	}
	a.Ref, _ = f.text("ref", m.Ref, maxText)
	a.Name, _ = f.text("name", m.Name, maxText)
	a.Status, _ = f.text("status", m.Status, maxText)
	a.ImportMPAN, _ = f.text("import_meter", m.ImportMeter, maxText)
	a.ExportMPAN, _ = f.text("export_meter", m.ExportMeter, maxText)
	a.MinRuntime, _ = f.span("min_runtime", m.MinRuntime)
	a.MaxRuntime, _ = f.span("max_runtime", m.MaxRuntime)
	a.Recovery, _ = f.span("recovery", m.Recovery)
	a.Response, _ = f.span("response", m.Response)
	return a, nil
}

func (p *Profile) assets(list []json.RawMessage, now time.Time) ([]flex.MarketAsset, error) {
	return each(list, func(raw json.RawMessage) (flex.MarketAsset, error) { return p.asset(raw, now) })
}

// competition decodes a tender.
func (p *Profile) competition(raw json.RawMessage, now time.Time) (flex.Competition, error) {
	return p.readCompetition(raw, now, nil)
}

func (p *Profile) readCompetition(raw json.RawMessage, now time.Time, t *trace) (flex.Competition, error) {
	doc, err := decodeObject(raw)
	if err != nil {
		return flex.Competition{}, fmt.Errorf("the competition is %w", err)
	}
	f, m := &fields{p: p, doc: doc, trace: t}, p.Competition
	id, given := f.text("id", m.ID, maxID)
	f.need("id", given && id != "", m.ID)
	c := flex.Competition{ID: flex.CompetitionID(id), SyncedAt: now, Raw: slices.Clone(raw)}
	c.Direction = f.direction("direction", m.Direction)
	if err := f.err(); err != nil {
		return flex.Competition{}, fmt.Errorf("competition %q: %w", clip(id), err)
	}
	c.Name, _ = f.text("name", m.Name, maxText)
	c.Operator, _ = f.text("operator", m.Operator, maxText)
	c.ServiceType, _ = f.text("service_type", m.ServiceType, maxText)
	return c, nil
}
