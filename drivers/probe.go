package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/regmap"
	"flexd/drivers/sunspec"
)

// ProbeConfig says where to look for a device.
type ProbeConfig struct {
	Address string
	Units   []uint8       // asked in turn until one is known; nil: those that are usual
	Timeout time.Duration // for a connect and for each answer; 0: the usual one
	Measure bool          // how it behaves besides: up to a minute, and only reads
	Log     *slog.Logger
}

// probeUnits are those from the factory, by which makers' devices are known, and
// those that the shipped maps name: all of them are asked.
func probeUnits() []uint8 {
	units := []uint8{1, 3, 126, 247, 71, 100}
	for _, name := range regmap.Names() {
		if m, err := regmap.Load(name, ""); err == nil && !slices.Contains(units, uint8(m.Line.Unit)) {
			units = append(units, uint8(m.Line.Unit))
		}
	}
	return units
}

// moreUnits are 255 and 0, by which many devices and gateways answer for
// themselves, and a second one. They are asked where few of the others answered:
// else the device does not look at the unit, and asking on tells nothing new.
func moreUnits() []uint8 { return []uint8{255, 0, 2} }

// sloppy is how many units have to answer, none of them known, for that.
const sloppy = 3

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
	// Unmeasured is why there are no quirks though they were to be measured.
	Unmeasured string `json:"unmeasured,omitempty"`
	// Settings are the keys that its configuration needs, as "key: value".
	Settings []string `json:"settings,omitempty"`
}

// Probe looks at an address without changing anything there.
func Probe(ctx context.Context, c ProbeConfig) (ProbeResult, error) {
	units, sure := c.Units, len(c.Units)
	if len(units) == 0 {
		units, sure = append(probeUnits(), moreUnits()...), len(probeUnits())
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var res ProbeResult
	var met metUnit
	err := withQuirks(ctx, c.Address, modbus.Quirks{Timeout: c.Timeout, BackoffMin: scanBackoffMax, BackoffMax: scanBackoffMax}, c.Log, func(ctx context.Context, e *modbus.Endpoint) error {
		var seen *ProbeResult
		known := 0 // units that speak Modbus
		var failed []error
		for i, unit := range units {
			one, m, err := c.unit(ctx, e, unit)
			switch {
			case err == nil && one.Problem == "":
				res, met = one, m
				return nil
			case err == nil:
				if known++; seen == nil {
					seen, met = &one, m
				}
			default:
				failed = append(failed, err)
			}
			if ctx.Err() != nil || e.Stats().Connects == 0 || known >= sloppy && i+1 >= sure {
				break
			}
		}
		if seen != nil {
			res = *seen
			return nil
		}
		return unfound(c.Address, units, failed)
	})
	if err != nil {
		return ProbeResult{Address: c.Address}, err
	}
	res.Settings = met.settings()
	if !c.Measure {
		return res, nil
	}
	q, err := measure(ctx, c.Address, c.Timeout, met, sunspec.Chain{Base: res.Base, Models: res.Models})
	if err != nil { // what was read stands
		res.Unmeasured = flex.Plain(err)
		return res, nil
	}
	res.Quirks, res.Settings = &q, append(res.Settings, q.Settings()...)
	return res, nil
}

// unit looks at one unit id.
func (c ProbeConfig) unit(ctx context.Context, e *modbus.Endpoint, unit uint8) (ProbeResult, metUnit, error) {
	res := ProbeResult{Driver: DriverSunSpec, Address: c.Address, Unit: unit}
	m, err := meet(ctx, e, unit, c.Log)
	if errors.Is(err, sunspec.ErrNoMap) && !gatewayOnly(err) {
		res.byMap(fitting(ctx, m.bus, c.Address, unit, c.Log), err)
		return res, m, nil
	}
	if err != nil {
		return res, m, err
	}
	res.Base, res.Models = m.chain.Base, m.chain.Models
	res.Maps = fitting(ctx, m.bus, c.Address, unit, c.Log)
	d, plate, err := identify(ctx, m.bus, c.Address, unit)
	if err != nil {
		res.Problem = err.Error()
		return res, m, nil
	}
	res.Plate = plate
	r, err := d.Read(ctx)
	if err != nil {
		return res, m, err
	}
	res.Reading = &r
	return res, m, nil
}

// byMap takes what the known maps say of a device without a SunSpec map.
func (p *ProbeResult) byMap(found []Match, no error) {
	p.Driver, p.Maps = "", found
	if len(found) == 0 {
		p.Problem = fmt.Sprintf("it speaks Modbus, but %v; and no register map that states an identity fits: name its map in the configuration, `flexd map list` shows them", no)
		if may := unnamed(p.Unit); len(may) > 0 {
			p.Problem += fmt.Sprintf("; %s cannot be recognised and answers as unit %d too", strings.Join(may, " or "), p.Unit)
		}
		return
	}
	p.Driver, p.Plate, p.Reading = DriverMap, found[0].Plate, found[0].Reading
}

// identify opens the device with the role it leaves no doubt about, then as
// storage and as a meter, where a role or a sign has to be configured.
func identify(ctx context.Context, bus sunspec.Bus, address string, unit uint8) (*sunspec.Device, flex.Nameplate, error) {
	var first error
	for _, role := range []flex.Role{"", flex.RoleMeter, flex.RoleStorage} {
		cfg := sunspec.Config{ID: "probe", Endpoint: address, Unit: unit, Role: role, Bus: bus}
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
		words, err = raw(ctx, worded{e, address}, modbus.Request{Unit: unit, UnitZero: unit == 0, Func: fn, Addr: addr, Count: count})
		return err
	})
	return words, err
}

// ReadRaw reads registers of a configured device over the connection that is
// already there.
func (s *Set) ReadRaw(ctx context.Context, id flex.DeviceID, fn byte, addr, count uint16) ([]uint16, error) {
	for _, d := range s.devices {
		if d.ID() == id {
			return raw(ctx, worded{s.endpoints[s.at[id]], s.at[id]}, s.ways[id].address(modbus.Request{Unit: d.Unit(), Func: fn, Addr: addr, Count: count}))
		}
	}
	return nil, flex.Refuse(flex.ReasonNotOurs, "there is no device %q in the configuration", id)
}

func raw(ctx context.Context, e sunspec.Bus, r modbus.Request) ([]uint16, error) {
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
