package drivers

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"flexd/agent/flex"
	"flexd/drivers/regmap"
	"flexd/drivers/sunspec"
)

// Match is a register map whose identity holds on a device.
type Match struct {
	Map    string `json:"map"`
	Title  string `json:"title"`
	Status string `json:"status"`
	// Question decides between this map and the others that fit; "": it is the only one.
	Question string         `json:"question,omitempty"`
	Plate    flex.Nameplate `json:"plate"`
	// Reading is what it gives by that map; not of a meter, whose sign is not known.
	Reading *flex.Reading `json:"reading,omitempty"`
}

// Recogniser tells which known maps fit a unit that answers. It only reads.
type Recogniser func(ctx context.Context, bus sunspec.Bus, address string, unit uint8) []Match

// KnownMaps recognises the shipped maps and those of dir, which may be empty,
// by their identity. A map that states none cannot be told from another one
// and is never found. ports are those that the maps name, and 502.
func KnownMaps(dir string, log *slog.Logger) (known Recogniser, ports []int) {
	ports = []int{502}
	names := regmap.Names()
	if dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, "*.yaml")) // the pattern is a constant; an unreadable folder has none
		for _, f := range files {
			if name := strings.TrimSuffix(filepath.Base(f), ".yaml"); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if info, err := os.Stat(dir); dir != "" && (err != nil || !info.IsDir()) {
		log.Warn("there is no folder of register maps", "dir", dir)
	}
	var maps []*regmap.Map
	for _, name := range names {
		m, err := regmap.Load(name, dir)
		if err != nil {
			log.Warn("a register map is left out", "map", name, "error", err)
			continue
		}
		if len(m.Identity) > 0 {
			maps = append(maps, m)
			if !slices.Contains(ports, m.Line.Port) {
				ports = append(ports, m.Line.Port)
			}
		}
	}
	return func(ctx context.Context, bus sunspec.Bus, address string, unit uint8) []Match {
		var out []Match
		for _, m := range maps {
			if ctx.Err() != nil {
				break
			}
			cfg := regmap.Config{ID: "scan", Endpoint: address, Unit: unit, Map: m, Bus: bus, Log: slog.New(slog.DiscardHandler)}
			if m.Role.String() == string(flex.RoleMeter) {
				cfg.Sign = sunspec.ExportPositive // only looked at
			}
			d, err := regmap.New(cfg)
			if err != nil {
				continue
			}
			plate, err := d.Open(ctx)
			if err != nil {
				continue
			}
			found := Match{Map: m.Name, Title: m.Title, Status: string(m.Status), Question: m.Question, Plate: plate}
			if r, err := d.Read(ctx); err == nil && cfg.Sign == "" {
				found.Reading = &r
			}
			out = append(out, found)
		}
		if len(out) == 1 {
			out[0].Question = ""
		}
		return out
	}, ports
}

// unnamed are the shipped maps that state no identity and are for a unit: one
// of them may be the device's.
func unnamed(unit uint8) (names []string) {
	for _, name := range regmap.Names() {
		if m, err := regmap.Load(name, ""); err == nil && len(m.Identity) == 0 && m.Line.Unit == int(unit) {
			names = append(names, name)
		}
	}
	return names
}

// fitting are the shipped maps that fit a unit.
func fitting(ctx context.Context, bus sunspec.Bus, address string, unit uint8, log *slog.Logger) []Match {
	known, _ := KnownMaps("", log)
	return known(ctx, bus, address, unit)
}
