package agent

import (
	"flexd/agent/allocate"
	"flexd/agent/config"
	"flexd/agent/flex"
	"flexd/drivers"
)

// driverConfigs is what the drivers need of the configured devices.
func driverConfigs(cfg *config.Config) []drivers.Config {
	out := make([]drivers.Config, len(cfg.Devices))
	for i, d := range cfg.Devices {
		out[i] = drivers.Config{ID: d.ID, Driver: d.Driver, Map: d.Map, MapDir: cfg.Maps, Role: d.Role, Address: d.Address, Unit: d.Unit, Sign: d.Sign,
			GridCharge: d.GridCharge, AdoptLimit: d.AdoptLimit, MaxCharge: d.MaxCharge, Timeout: d.Timeout, Gap: d.Gap, UnitGap: d.UnitGap,
			ConnectDelay: d.ConnectDelay, IdleClose: d.IdleClose, MaxRead: d.MaxRead, MaxWrite: d.MaxWrite, BusyRetries: d.BusyRetries}
	}
	return out
}

// CheckDevices tells what is wrong with the configured devices beyond the
// file's own rules: a register map that is not there, or is broken.
func CheckDevices(cfg *config.Config) error {
	_, err := drivers.Open(driverConfigs(cfg), nil)
	return err
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

// ours are the market's ids of this site's assets.
func ours(assets []config.Asset) []flex.AssetID {
	out := make([]flex.AssetID, len(assets))
	for i, a := range assets {
		out[i] = a.MarketID
	}
	return out
}
