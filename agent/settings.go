package agent

import (
	"flexd/agent/allocate"
	"flexd/agent/config"
	"flexd/agent/control"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/drivers"
)

// driverConfigs is what the drivers need of the configured devices.
func driverConfigs(cfg *config.Config) []drivers.Config {
	out := make([]drivers.Config, len(cfg.Devices))
	for i, d := range cfg.Devices {
		out[i] = drivers.Config{ID: d.ID, Driver: d.Driver, Map: d.Map, MapDir: cfg.Maps, Role: d.Role, Address: d.Address, Unit: d.Unit, Sign: d.Sign,
			UnitZero: d.UnitZero, AnyUnit: d.AnyUnit, WriteFunc: uint8(d.WriteFunc),
			GridCharge: d.GridCharge, AdoptLimit: d.AdoptLimit, MaxCharge: d.MaxCharge, WriteBudget: d.WriteBudget, Timeout: d.Timeout, Gap: d.Gap, UnitGap: d.UnitGap,
			ConnectDelay: d.ConnectDelay, IdleClose: d.IdleClose, MaxRead: d.MaxRead, MaxWrite: d.MaxWrite, BusyRetries: d.BusyRetries}
	}
	return out
}

// allocation is what the planner needs of the configured assets.
func allocation(site config.Site, assets []config.Asset) []allocate.Asset {
	out := make([]allocate.Asset, len(assets))
	for i, a := range assets {
		out[i] = allocate.Asset{ID: a.MarketID, Devices: a.Devices, Control: allocate.Control(a.Control), MaxDispatch: a.MaxDispatch,
			MeterID: a.Meter, SiteMeter: a.Meter != "" && a.Meter == site.Meter, Free: a.Free}
	}
	return out
}

// delivery is when the assets count as not delivering.
func delivery(assets []config.Asset) map[flex.AssetID]control.Delivery {
	out := make(map[flex.AssetID]control.Delivery, len(assets))
	for _, a := range assets {
		out[a.MarketID] = control.Delivery{Part: a.MissPart, Power: a.MissPower, After: a.MissAfter}
	}
	return out
}

// ours are the market's ids of this site's assets.
func ours(assets []config.Asset) []flex.AssetID {
	out := make([]flex.AssetID, len(assets))
	for i, a := range assets {
		out[i] = a.MarketID
	}
	return out
}

// owner is the owner's envelope as the planner reads it.
func owner(o config.Owner) allocate.Owner {
	bounds := func(b config.OwnerBounds) allocate.Bounds {
		return allocate.Bounds{MaxCharge: b.MaxCharge, MaxDischarge: b.MaxDischarge, Reserve: b.Reserve}
	}
	return allocate.Owner{Normal: bounds(o.Normal), Event: bounds(o.Event), Emergency: bounds(o.Emergency)}
}

// contracts looks up what the configuration says of a contract: of the
// obligation itself before its competition.
func contracts(list []config.Contract) func(flex.ObligationID, flex.CompetitionID) dispatch.Contract {
	return func(ob flex.ObligationID, comp flex.CompetitionID) dispatch.Contract {
		for _, id := range []string{string(ob), string(comp)} {
			for _, c := range list {
				if id != "" && c.ID == id {
					return dispatch.Contract{Priority: c.Priority, Emergency: c.Emergency}
				}
			}
		}
		return dispatch.Contract{}
	}
}
