package agent

import (
	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/firmware"
)

// upState is the body of up/state while online.
type upState struct {
	Version string   `json:"version"`
	Health  string   `json:"health"` // ok, info, warning or alarm
	Alerts  []string `json:"alerts"` // codes
}

// upBirth is the body of up/birth: who we are and what we have.
type upBirth struct {
	Identity   firmware.Identity `json:"identity"`
	Site       flex.SiteID       `json:"site"`
	Devices    []upDevice        `json:"devices"`
	Assets     []local.Asset     `json:"assets"`
	Metrics    []string          `json:"metrics"`
	Config     string            `json:"config"` // current or last_good
	ConfigHash string            `json:"config_hash"`
}

type upDevice struct {
	ID       flex.DeviceID  `json:"id"`
	Role     flex.Role      `json:"role"`
	Endpoint string         `json:"endpoint"`
	Unit     uint8          `json:"unit"`
	Plate    flex.Nameplate `json:"plate"`
}

func (a *Agent) stateBody() any {
	active := a.health.Active()
	codes := make([]string, 0, len(active))
	for _, al := range active {
		codes = append(codes, al.Code)
	}
	return upState{Version: a.id.Version, Health: worst(string(a.health.Worst())), Alerts: codes}
}

func worst(s string) string {
	if s == "" {
		return "ok"
	}
	return s
}

func (a *Agent) birthBody() any {
	out := upBirth{Identity: a.id, Site: a.conf.cfg.Site.ID, Metrics: []string{"power_w", "soc_percent"}, Config: "current", ConfigHash: hash(a.conf.cfg.Raw)}
	for _, d := range a.control.Status() {
		out.Devices = append(out.Devices, upDevice{d.ID, d.Role, d.Endpoint, d.Unit, d.Plate})
	}
	for _, c := range a.conf.cfg.Assets {
		out.Assets = append(out.Assets, asset(c, nil))
	}
	if a.conf.broken != nil {
		out.Config = "last_good"
	}
	return out
}
