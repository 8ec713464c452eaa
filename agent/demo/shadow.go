package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"flexd/agent/config"
	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// Shadow says what to rehearse on simulated parts.
type Shadow struct {
	Site  *config.Config // the site's own configuration
	Asset flex.AssetID
	Power flex.Watts // + towards the grid
	For   time.Duration
	Out   io.Writer // the story, line by line
	Log   *slog.Logger
}

// What stands in for a device of which nothing is known.
const (
	standInRating = 10 * flex.Kilowatt
	standInHours  = 2   // of its rating, in a battery
	standInSoC    = 0.6 // so that it can give and take
	standInSun    = 0.4 // of its rating, in panels
	standInRamp   = 1.0 // of its rating, a second
)

// Rehearse takes one dispatch through every station: a signed notification, the
// fetch, the decision, control over Modbus/TCP, the proof and the release. The
// agent is the real one with the site's own limits and assets; market, broker
// and devices are simulated, and nothing of the site is touched.
func Rehearse(ctx context.Context, o Shadow) (sum Summary, err error) {
	dir, err := os.MkdirTemp("", "flexd-drill-")
	if err != nil {
		return sum, fmt.Errorf("cannot make the drill's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := setShadow(o, dir)
	if err != nil {
		return sum, err
	}
	return s.play(ctx, func(ctx context.Context, ready <-chan struct{}) (Summary, error) {
		if err := s.ready(ctx, ready); err != nil || ctx.Err() != nil {
			return Summary{}, errors.Join(err, ctx.Err())
		}
		s.tale.line("TEST: flexd is ready with %d simulated devices in place of the site's", len(o.Site.Devices))
		return s.dispatch(ctx, request{watts: int64(o.Power / 10 * 10), run: o.For}) // the market counts in 10 W
	})
}

// setShadow builds the stand-ins and writes the agent's file.
func setShadow(o Shadow, dir string) (*stage, error) {
	asset, err := assetOf(o.Site, o.Asset)
	if err != nil {
		return nil, err
	}
	s := &stage{opts: Options{Out: o.Out, Log: o.Log, Once: true}, tale: &tale{out: o.Out, began: time.Now()},
		name: string(o.Site.Site.ID), asset: string(o.Asset)}
	plant := sim.NewPlant(sim.Config{Load: house})
	s.site = &Site{Plant: plant}
	at := config.Surroundings{Devices: map[flex.DeviceID]string{}}
	var parts []func() float64
	for _, d := range o.Site.Devices {
		dev, before, err := standIn(plant, d, asset)
		if err != nil {
			plant.Close()
			return nil, fmt.Errorf("device %s: %w", d.ID, err)
		}
		at.Devices[d.ID] = dev.Addr()
		if slices.Contains(asset.Devices, d.ID) {
			s.actors = append(s.actors, dev)
			parts = append(parts, func() float64 { return dev.Power() - before })
		}
	}
	s.part = func() (sum float64) {
		for _, part := range parts {
			sum += part()
		}
		return sum
	}
	if err := s.surround(o, dir, at); err != nil {
		plant.Close()
		return nil, err
	}
	return s, s.listen()
}

// surround builds market and broker, and writes the agent's file.
func (s *stage) surround(o Shadow, dir string, at config.Surroundings) (err error) {
	if s.market, err = NewMarket(MarketConfig{}); err != nil {
		return err
	}
	if s.broker, err = NewBroker(nil); err != nil {
		return err
	}
	door, err := FreeAddr()
	if err != nil {
		return err
	}
	if s.around.Page, err = FreeAddr(); err != nil {
		return err
	}
	s.around.Dir, s.around.APIKey = dir, s.market.APIKey()
	hook := url.URL{Scheme: "http", Host: door, Path: "/webhooks/piclo"}
	at.Market, at.Client, at.KeyFile, at.Broker = s.market.URL(), s.market.ClientID(), s.around.keyFile(), s.broker.URL()
	at.Listen, at.Path, at.Page = hook.Host, hook.Path, s.around.Page
	at.Socket, at.Data = filepath.Join(dir, "flexd.sock"), filepath.Join(dir, "state")
	text, err := config.Shadow(o.Site, at)
	if err != nil {
		return err
	}
	s.config = filepath.Join(dir, "flexd.yaml")
	err = errors.Join(os.WriteFile(at.KeyFile, []byte(s.market.APIKey()+"\n"), 0o600), os.WriteFile(s.config, text, 0o600), os.MkdirAll(at.Data, 0o700))
	if err != nil {
		return fmt.Errorf("cannot write the drill's files: %w", err)
	}
	s.market.Subscribe(hook.String())
	s.sell(o.Power.Abs())
	return nil
}

// standIn puts a simulated device of the same role and size into the plant.
// before is what it gives by itself, W: generation is turned down from there.
func standIn(plant *sim.Plant, d config.Device, a config.Asset) (dev *sim.Device, before float64, err error) {
	rated := d.MaxPower
	if rated == 0 {
		rated = max(standInRating, a.MaxDispatch)
	}
	w := float64(rated)
	opt := sim.Options{PctSF: -2, RampRate: standInRamp * w}
	switch d.Role {
	case flex.RolePV:
		dev, err = plant.AddPV(sim.PV{Rated: w, Options: opt})
		return dev, standInSun * w, err
	case flex.RoleStorage, flex.RoleHybrid:
		b := sim.Battery{Rated: w, Capacity: standInHours * w, SoC: standInSoC, GridCharge: d.Role == flex.RoleStorage || d.GridCharge, Options: opt}
		if d.Role == flex.RoleHybrid {
			b.Sun = func(time.Time) float64 { return standInSun * w }
		}
		dev, err = plant.AddBattery(b)
		return dev, 0, err
	case flex.RoleMeter:
		dev, err = plant.AddMeter(sim.Meter{ImportPositive: d.Sign == "import_positive", Range: 1e6})
		return dev, 0, err
	}
	return nil, 0, errors.New("its role is not written in the configuration, so nothing can stand in for it: add role: storage, pv or hybrid")
}

func assetOf(c *config.Config, id flex.AssetID) (config.Asset, error) {
	var known []flex.AssetID
	for _, a := range c.Assets {
		if a.MarketID == id {
			return a, nil
		}
		known = append(known, a.MarketID)
	}
	return config.Asset{}, flex.Refuse(flex.ReasonUnknownAsset, "asset %q is not configured here; there are: %v", id, known)
}
