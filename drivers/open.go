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
	"flexd/drivers/sunspec"
)

// Set is the devices of a site and the endpoints they share.
type Set struct {
	devices   []Device
	endpoints map[string]*modbus.Endpoint
	order     []string // of endpoints
	at        map[flex.DeviceID]string
}

// Open builds the devices. Nothing is connected before Run; all that is wrong
// with the configurations is told at once.
func Open(cfgs []Config, log *slog.Logger) (*Set, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Set{endpoints: map[string]*modbus.Endpoint{}, at: map[flex.DeviceID]string{}}
	quirks := mergeQuirks(cfgs)
	var wrong []error
	for _, c := range cfgs {
		if err := s.add(c, quirks[c.Address], log); err != nil {
			wrong = append(wrong, err)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Set) add(c Config, q modbus.Quirks, log *slog.Logger) error {
	if _, twice := s.at[c.ID]; twice {
		return fmt.Errorf("device %s: configured twice", c.ID)
	}
	if err := checkAddress(c.Address); err != nil {
		return fmt.Errorf("device %s: %w", c.ID, err)
	}
	e, ok := s.endpoints[c.Address]
	if !ok {
		e = modbus.NewEndpoint(c.Address, q, log)
	}
	d, err := driver(c, e, log)
	if err != nil {
		return err
	}
	if !ok {
		s.endpoints[c.Address] = e
		s.order = append(s.order, c.Address)
	}
	s.at[c.ID] = c.Address
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
func mergeQuirks(cfgs []Config) map[string]modbus.Quirks {
	out := map[string]modbus.Quirks{}
	for _, c := range cfgs {
		q := out[c.Address]
		q.Timeout = max(q.Timeout, c.Timeout)
		q.ConnectDelay = max(q.ConnectDelay, c.ConnectDelay)
		if c.Gap != 0 && (q.Gap == 0 || c.Gap > q.Gap) {
			q.Gap = c.Gap
		}
		out[c.Address] = q
	}
	return out
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

// Stats tells what each endpoint has carried.
func (s *Set) Stats() map[string]modbus.Stats {
	out := make(map[string]modbus.Stats, len(s.endpoints))
	for addr, e := range s.endpoints {
		out[addr] = e.Stats()
	}
	return out
}

// DriverSunSpec drives by SunSpec models.
const DriverSunSpec = "sunspec"

// driver is the registry: the one place that knows the drivers by name.
func driver(c Config, bus sunspec.Bus, log *slog.Logger) (Device, error) {
	switch c.Driver {
	case DriverSunSpec:
		return sunspec.New(sunspec.Config{ID: c.ID, Endpoint: c.Address, Unit: c.Unit, Role: c.Role, Sign: c.Sign,
			GridCharge: c.GridCharge, AdoptLimit: c.AdoptLimit, Bus: bus, Log: log})
	case "map":
		return nil, fmt.Errorf("device %s: driver \"map\" is not built into this version; use %q", c.ID, DriverSunSpec)
	}
	return nil, fmt.Errorf("device %s: driver %q is not known; use %q", c.ID, c.Driver, DriverSunSpec)
}
