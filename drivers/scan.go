package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// ScanConfig is a polite look at many addresses.
type ScanConfig struct {
	Targets  []string                  // host:port, see ScanTargets
	Units    []uint8                   // nil: DefaultUnits
	Parallel int                       // hosts at once; 0 and most 32
	Timeout  time.Duration             // for a connect and for each answer; 0: 1 s
	Taken    func(address string) bool // addresses never to be touched; may be nil
	Maps     Recogniser                // may be nil
	Progress func(ScanProgress)        // may be nil; called by one goroutine at a time
}

// DefaultUnits are the unit ids that inverters, batteries and meters have
// from the factory: 1 to 3, 71 of Kostal, 100 and 247 of gateways, 126 of
// SunSpec (SMA), 255 and 0 of what answers for itself.
func DefaultUnits() []uint8 { return []uint8{1, 2, 3, 71, 100, 126, 247, 255, 0} }

// ScanProgress is how far a scan is.
type ScanProgress struct {
	Done, All int
	Address   string
	Found     []Found // at this address
}

// Found is one unit that answers.
type Found struct {
	Address string          `json:"address"`
	Unit    uint8           `json:"unit"`
	Driver  string          `json:"driver,omitempty"` // that fits; empty: it speaks Modbus and is not known
	Base    uint16          `json:"base,omitempty"`
	Models  []sunspec.Model `json:"models,omitempty"`
	Plate   *flex.Nameplate `json:"plate,omitempty"`
	Maps    []Match         `json:"maps,omitempty"`
	Problem string          `json:"problem,omitempty"`
	// Settings are the keys that its configuration needs, as "key: value".
	Settings []string `json:"settings,omitempty"`
}

// ScanResult is everything a scan found.
type ScanResult struct {
	Found   []Found  `json:"found"`
	Skipped []string `json:"skipped,omitempty"` // taken by configured devices
	Asked   int      `json:"asked"`             // addresses
	Closed  int      `json:"closed"`            // where nobody listens
}

const (
	mostParallel   = 32
	scanTimeout    = time.Second
	unitLimit      = 20 * time.Second // for all there is to find on one unit
	scanBackoffMax = 50 * time.Millisecond
)

// Scan looks at every target with one connection each and reads only. A ctx
// that ends gives what was found so far, with its error.
func Scan(ctx context.Context, c ScanConfig) (ScanResult, error) {
	c = c.withDefaults()
	var res ScanResult
	var todo []string
	for _, t := range c.Targets {
		if c.Taken(t) {
			res.Skipped = append(res.Skipped, t)
			continue
		}
		todo = append(todo, t)
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		next = make(chan string)
	)
	for range min(c.Parallel, len(todo)) {
		wg.Go(func() {
			for address := range next {
				found, open := c.host(ctx, address)
				mu.Lock()
				res.Asked++
				if !open {
					res.Closed++
				}
				res.Found = append(res.Found, found...)
				c.Progress(ScanProgress{Done: res.Asked, All: len(todo), Address: address, Found: found})
				mu.Unlock()
			}
		})
	}
	for _, t := range todo {
		select {
		case next <- t:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	slices.SortStableFunc(res.Found, func(a, b Found) int { return strings.Compare(order(a.Address), order(b.Address)) })
	return res, ctx.Err()
}

func (c ScanConfig) withDefaults() ScanConfig {
	if len(c.Units) == 0 {
		c.Units = DefaultUnits()
	}
	if c.Parallel <= 0 || c.Parallel > mostParallel {
		c.Parallel = mostParallel
	}
	if c.Timeout <= 0 {
		c.Timeout = scanTimeout
	}
	if c.Taken == nil {
		c.Taken = func(string) bool { return false }
	}
	if c.Maps == nil {
		c.Maps = func(context.Context, sunspec.Bus, string, uint8) []Match { return nil }
	}
	if c.Progress == nil {
		c.Progress = func(ScanProgress) {}
	}
	return c
}

// host asks every unit of a host over one connection. open tells whether
// anybody listens there.
func (c ScanConfig) host(ctx context.Context, address string) (found []Found, open bool) {
	q := modbus.Quirks{Timeout: c.Timeout, BusyRetries: 1, BackoffMin: scanBackoffMax, BackoffMax: scanBackoffMax}
	err := withQuirks(ctx, address, q, slog.New(slog.DiscardHandler), func(ctx context.Context, e *modbus.Endpoint) error {
		for _, unit := range c.Units {
			f, answer := c.unit(ctx, e, address, unit)
			open = open || e.Stats().Connects > 0
			if f != nil {
				found = append(found, *f)
			}
			if answer == noConnection || ctx.Err() != nil {
				break
			}
		}
		return nil
	})
	if err != nil {
		found = append(found, Found{Address: address, Problem: err.Error()})
	}
	return found, open
}

type answer int

const (
	answered answer = iota
	noAnswer
	noConnection
)

// unit finds what is behind one unit id; nil when nothing is.
func (c ScanConfig) unit(ctx context.Context, e *modbus.Endpoint, address string, unit uint8) (*Found, answer) {
	ctx, cancel := context.WithTimeout(ctx, unitLimit)
	defer cancel()
	f := &Found{Address: address, Unit: unit}
	m, err := meet(ctx, e, unit, slog.New(slog.DiscardHandler))
	f.Settings = m.settings()
	switch {
	case err == nil:
		f.Driver, f.Base, f.Models = DriverSunSpec, m.chain.Base, m.chain.Models
		_, plate, err := identify(ctx, m.bus, address, unit)
		if err != nil {
			f.Problem = err.Error()
		} else {
			f.Plate = &plate
		}
	case errors.Is(err, modbus.ErrNotSent) && e.Stats().Connects == 0:
		return nil, noConnection
	case !errors.Is(err, sunspec.ErrNoMap):
		return nil, noAnswer // silent, or not Modbus
	case gatewayOnly(err):
		return nil, noAnswer
	}
	f.Maps = c.Maps(ctx, m.bus, address, unit)
	if f.Driver == "" && len(f.Maps) > 0 {
		f.Driver = DriverMap
		f.Plate = &f.Maps[0].Plate
	}
	return f, answered
}

// gatewayOnly tells that a gateway answered for a unit that is not there.
func gatewayOnly(err error) bool {
	var refused *modbus.Exception
	return errors.As(err, &refused) && (refused.Code == modbus.GatewayNoPath || refused.Code == modbus.GatewayTargetSilent)
}

// withQuirks runs f over an endpoint of its own and ends that endpoint.
func withQuirks(ctx context.Context, address string, q modbus.Quirks, log *slog.Logger, f func(context.Context, *modbus.Endpoint) error) error {
	if err := checkAddress(address); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	e := modbus.NewEndpoint(address, q, log)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	err := f(ctx, e)
	cancel()
	if end := <-ended; end != nil && !errors.Is(end, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("endpoint %s: %w", address, end))
	}
	return err
}
