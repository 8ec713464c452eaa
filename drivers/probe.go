package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// ProbeResult is what a person is told of a device at an address.
type ProbeResult struct {
	Driver  string          `json:"driver"`
	Address string          `json:"address"`
	Unit    uint8           `json:"unit"`
	Base    uint16          `json:"base"`
	Models  []sunspec.Model `json:"models"`
	Plate   flex.Nameplate  `json:"plate"`
	// Problem tells why the device could not be identified though it answers.
	Problem string        `json:"problem,omitempty"`
	Reading *flex.Reading `json:"reading,omitempty"`
	Maps    []Match       `json:"maps,omitempty"` // known maps whose identity holds
	Quirks  *Quirks       `json:"quirks,omitempty"`
}

// Probe looks at an address without changing anything there.
func Probe(ctx context.Context, address string, unit uint8, log *slog.Logger) (ProbeResult, error) {
	res := ProbeResult{Driver: DriverSunSpec, Address: address, Unit: unit}
	err := with(ctx, address, log, func(ctx context.Context, e *modbus.Endpoint) error {
		chain, err := sunspec.Walk(ctx, e, unit)
		if errors.Is(err, sunspec.ErrNoMap) && !gatewayOnly(err) {
			res.byMap(fitting(ctx, e, address, unit, log), err)
			return nil
		}
		if err != nil {
			return err
		}
		res.Base, res.Models = chain.Base, chain.Models
		res.Maps = fitting(ctx, e, address, unit, log)
		d, plate, err := identify(ctx, e, address, unit)
		if err != nil {
			res.Problem = err.Error()
			return nil
		}
		res.Plate = plate
		r, err := d.Read(ctx)
		if err != nil {
			return err
		}
		res.Reading = &r
		return nil
	})
	return res, err
}

// byMap takes what the known maps say of a device without a SunSpec map.
func (p *ProbeResult) byMap(found []Match, no error) {
	p.Driver, p.Maps = "", found
	if len(found) == 0 {
		p.Problem = fmt.Sprintf("it speaks Modbus, but %v; and no register map that states an identity fits: name its map in the configuration, `flexd map list` shows them", no)
		return
	}
	p.Driver, p.Plate = DriverMap, found[0].Plate
}

// ProbeQuirks is Probe, and how the device behaves besides: it takes up to a
// minute, and only reads.
func ProbeQuirks(ctx context.Context, address string, unit uint8, log *slog.Logger) (ProbeResult, error) {
	res, err := Probe(ctx, address, unit, log)
	if err != nil {
		return res, err
	}
	q, err := Measure(ctx, address, unit, sunspec.Chain{Base: res.Base, Models: res.Models})
	if err != nil {
		return res, fmt.Errorf("measuring how %s behaves: %w", address, err)
	}
	res.Quirks = &q
	return res, nil
}

// identify opens the device with the role it leaves no doubt about, then as
// storage and as a meter, where a role or a sign has to be configured.
func identify(ctx context.Context, e *modbus.Endpoint, address string, unit uint8) (*sunspec.Device, flex.Nameplate, error) {
	var first error
	for _, role := range []flex.Role{"", flex.RoleMeter, flex.RoleStorage} {
		cfg := sunspec.Config{ID: "probe", Endpoint: address, Unit: unit, Role: role, Bus: e}
		if role == flex.RoleMeter {
			cfg.Sign = sunspec.ExportPositive
		}
		d, err := sunspec.New(cfg)
		if err != nil {
			return nil, flex.Nameplate{}, err
		}
		plate, err := d.Open(ctx)
		if err == nil {
			if role != "" {
				plate.Role = ""
				plate.Detail = append(plate.Detail, first.Error())
			}
			return d, plate, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, flex.Nameplate{}, first
}

// ReadRaw reads registers as they are, holding (function code 3) or input (4),
// over a connection of its own: for devices that no agent has open.
func ReadRaw(ctx context.Context, address string, unit, fn byte, addr, count uint16) ([]uint16, error) {
	var words []uint16
	err := with(ctx, address, slog.New(slog.DiscardHandler), func(ctx context.Context, e *modbus.Endpoint) (err error) {
		words, err = raw(ctx, e, modbus.Request{Unit: unit, UnitZero: unit == 0, Func: fn, Addr: addr, Count: count})
		return err
	})
	return words, err
}

// ReadRaw reads registers of a configured device over the connection that is
// already there.
func (s *Set) ReadRaw(ctx context.Context, id flex.DeviceID, fn byte, addr, count uint16) ([]uint16, error) {
	for _, d := range s.devices {
		if d.ID() == id {
			return raw(ctx, s.endpoints[s.at[id]], s.ways[id].address(modbus.Request{Unit: d.Unit(), Func: fn, Addr: addr, Count: count}))
		}
	}
	return nil, flex.Refuse(flex.ReasonNotOurs, "there is no device %q in the configuration", id)
}

func raw(ctx context.Context, e *modbus.Endpoint, r modbus.Request) ([]uint16, error) {
	if r.Func != modbus.ReadHolding && r.Func != modbus.ReadInput {
		return nil, fmt.Errorf("function code %d does not read registers: use %d or %d", r.Func, modbus.ReadHolding, modbus.ReadInput)
	}
	a, err := e.Do(ctx, r)
	return a.Words, err
}

// with runs f over an endpoint of its own, treated as by default.
func with(ctx context.Context, address string, log *slog.Logger, f func(context.Context, *modbus.Endpoint) error) error {
	return withQuirks(ctx, address, modbus.Quirks{}, log, f)
}
