package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/regmap"
	"flexd/drivers/sunspec"
)

// Set is the devices of a site and the endpoints they share.
type Set struct {
	devices   []Device
	endpoints map[string]*modbus.Endpoint
	order     []string // of endpoints
	at        map[flex.DeviceID]string
	ways      map[flex.DeviceID]*manners
	mapped    map[mapOn]flex.DeviceID
}

// mapOn is a register map at a unit: one device.
type mapOn struct {
	name, address string
	unit          uint8
}

// Open builds the devices. Nothing is connected before Run; all that is wrong
// with the configurations is told at once.
func Open(cfgs []Config, log *slog.Logger) (*Set, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Set{endpoints: map[string]*modbus.Endpoint{}, at: map[flex.DeviceID]string{}, ways: map[flex.DeviceID]*manners{}, mapped: map[mapOn]flex.DeviceID{}}
	var wrong []error
	mapped := make([]mappedConfig, 0, len(cfgs))
	for _, c := range cfgs {
		m, err := withMap(c)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		mapped = append(mapped, m)
	}
	quirks := mergeQuirks(mapped)
	for _, c := range mapped {
		if err := s.add(c, quirks[c.Address], log); err != nil {
			wrong = append(wrong, err)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Set) add(c mappedConfig, q modbus.Quirks, log *slog.Logger) error {
	if _, twice := s.at[c.ID]; twice {
		return fmt.Errorf("device %s: configured twice", c.ID)
	}
	if err := checkAddress(c.Address); err != nil {
		return fmt.Errorf("device %s: %w", c.ID, err)
	}
	// The unit of a device by a map may be the map's, which the file does not show.
	if other, twice := s.mapped[mapOn{c.Map, c.Address, c.Unit}]; twice && c.Driver == DriverMap {
		return fmt.Errorf("device %s: is the same device as %s: map %s at %s unit %d", c.ID, other, c.Map, c.Address, c.Unit)
	}
	e, ok := s.endpoints[c.Address]
	if !ok {
		e = modbus.NewEndpoint(c.Address, q, log)
	}
	way := mannered(worded{e, c.Address}, mannerSettings{unitZero: c.UnitZero, anyUnit: c.AnyUnit, maxRead: q.MaxRead, writeFunc: c.WriteFunc}, log.With("device", c.ID))
	d, err := driver(c, way, log)
	if err != nil {
		return err
	}
	if !ok {
		s.endpoints[c.Address] = e
		s.order = append(s.order, c.Address)
	}
	s.at[c.ID], s.ways[c.ID] = c.Address, way
	s.mapped[mapOn{c.Map, c.Address, c.Unit}] = c.ID
	s.devices = append(s.devices, d)
	return nil
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w: write host:port, as in 192.168.10.21:502", address, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" {
		return fmt.Errorf("address %q: write host:port with a port from 1 to 65535, as in 192.168.10.21:502", address)
	}
	return nil
}

// mergeQuirks takes, for each endpoint, the most patient of its devices' settings.
func mergeQuirks(cfgs []mappedConfig) map[string]modbus.Quirks {
	out := map[string]modbus.Quirks{}
	for _, c := range cfgs {
		q := out[c.Address]
		q.Timeout = max(q.Timeout, c.Timeout)
		q.ConnectDelay = max(q.ConnectDelay, c.ConnectDelay)
		q.UnitGap = max(q.UnitGap, c.UnitGap)
		q.BusyRetries = max(q.BusyRetries, c.BusyRetries)
		if c.Gap != 0 && (q.Gap == 0 || c.Gap > q.Gap) {
			q.Gap = c.Gap
		}
		q.IdleClose = least(q.IdleClose, c.IdleClose)
		q.MaxRead, q.MaxWrite = least(q.MaxRead, c.MaxRead), least(q.MaxWrite, c.MaxWrite)
		out[c.Address] = q
	}
	return out
}

// least of two bounds, where zero means none.
func least[T int | time.Duration](a, b T) T {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// Devices lists the devices in the order of their configurations.
func (s *Set) Devices() []Device { return append([]Device(nil), s.devices...) }

// Run serves the endpoints until ctx ends. An endpoint that ends by itself
// ends them all.
func (s *Set) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(s.order))
	var wg sync.WaitGroup
	for i, addr := range s.order {
		wg.Go(func() {
			defer cancel()
			if err := s.endpoints[addr].Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				errs[i] = fmt.Errorf("endpoint %s: %w", addr, err)
			}
		})
	}
	if len(s.order) == 0 {
		<-ctx.Done()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Quiet keeps the device's line free at an instant, for a write on the second.
func (s *Set) Quiet(dev flex.DeviceID, until time.Time) {
	if e, ok := s.endpoints[s.at[dev]]; ok {
		e.Quiet(until)
	}
}

// Breaks counts what may have left a request on its way to the device, see
// [modbus.Stats]. A release that was proven while the count stood still since
// before the first write has nothing behind it that could still arrive.
func (s *Set) Breaks(dev flex.DeviceID) uint64 {
	if e, ok := s.endpoints[s.at[dev]]; ok {
		return e.Stats().Breaks
	}
	return 0
}

// Stats tells what each endpoint has carried.
func (s *Set) Stats() map[string]modbus.Stats {
	out := make(map[string]modbus.Stats, len(s.endpoints))
	for addr, e := range s.endpoints {
		out[addr] = e.Stats()
	}
	return out
}

// The drivers: by SunSpec models, or by a register map.
const (
	DriverSunSpec = "sunspec"
	DriverMap     = "map"
)

// mappedConfig is a configuration with the register map that it names.
type mappedConfig struct {
	Config
	regs *regmap.Map // nil for other drivers
}

// withMap loads the map, and takes from it how the device wants to be treated
// where the configuration does not say.
func withMap(c Config) (mappedConfig, error) {
	if c.Driver != DriverMap {
		if c.Unit == 0 && !c.UnitZero {
			c.Unit = 1
		}
		return mappedConfig{Config: c}, nil
	}
	m, err := regmap.Load(c.Map, c.MapDir)
	if err != nil {
		return mappedConfig{}, fmt.Errorf("device %s: %w", c.ID, err)
	}
	for _, d := range []struct {
		to   *time.Duration
		from time.Duration
	}{{&c.Timeout, time.Duration(m.Line.Timeout)}, {&c.Gap, time.Duration(m.Line.Gap)}, {&c.UnitGap, time.Duration(m.Line.UnitGap)}, {&c.ConnectDelay, time.Duration(m.Line.ConnectDelay)}} {
		if *d.to == 0 {
			*d.to = d.from
		}
	}
	if c.Unit == 0 && !c.UnitZero {
		c.Unit = uint8(m.Line.Unit)
	}
	if c.MaxRead > 0 {
		m.Line.MaxRead = min(m.Line.MaxRead, c.MaxRead)
	}
	return mappedConfig{c, m}, nil
}

// driver is the registry: the one place that knows the drivers by name.
func driver(c mappedConfig, bus sunspec.Bus, log *slog.Logger) (Device, error) {
	switch c.Driver {
	case DriverSunSpec:
		return sunspec.New(sunspec.Config{ID: c.ID, Endpoint: c.Address, Unit: c.Unit, Role: c.Role, Sign: c.Sign,
			GridCharge: c.GridCharge, AdoptLimit: c.AdoptLimit, MaxCharge: c.MaxCharge, WriteBudget: c.WriteBudget, Bus: bus, Log: log})
	case DriverMap:
		if c.MaxCharge != 0 {
			return nil, fmt.Errorf("device %s: what 100 %% of a rate stands for is a matter of SunSpec model 124; a map states its own rating", c.ID)
		}
		return regmap.New(regmap.Config{ID: c.ID, Endpoint: c.Address, Unit: c.Unit, Role: c.Role, Sign: c.Sign, GridCharge: c.GridCharge, Map: c.regs, Bus: bus, Log: log})
	}
	return nil, fmt.Errorf("device %s: driver %q is not known; use %q or %q", c.ID, c.Driver, DriverSunSpec, DriverMap)
}
