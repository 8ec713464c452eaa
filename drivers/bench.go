package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// find gives a device and the endpoint that it shares.
func (s *Set) find(id flex.DeviceID) (Device, *modbus.Endpoint, error) {
	for _, d := range s.devices {
		if d.ID() == id {
			return d, s.endpoints[s.at[id]], nil
		}
	}
	return nil, nil, flex.Refuse(flex.ReasonNotOurs, "there is no device %q in the configuration", id)
}

// Controls are the registers of a device that its driver writes: a person
// must not write them behind its back.
func (s *Set) Controls(ctx context.Context, id flex.DeviceID) ([]flex.Register, error) {
	d, _, err := s.find(id)
	if err != nil {
		return nil, err
	}
	plate, err := d.Open(ctx)
	if err != nil {
		return nil, err
	}
	if plate.Method == "" {
		return nil, nil // a meter: nothing is ever written
	}
	snap, err := d.Snapshot(ctx)
	return snap.Registers, err
}

// WriteRaw writes registers of a configured device as they are, over the
// connection that is already there. It judges nothing: see Controls.
func (s *Set) WriteRaw(ctx context.Context, id flex.DeviceID, fn byte, addr uint16, values []uint16) error {
	d, e, err := s.find(id)
	if err != nil {
		return err
	}
	if fn != modbus.WriteSingle && fn != modbus.WriteMultiple {
		return fmt.Errorf("function code %d does not write registers: use %d or %d", fn, modbus.WriteSingle, modbus.WriteMultiple)
	}
	_, err = worded{e, s.at[id]}.Do(ctx, s.ways[id].address(modbus.Request{Unit: d.Unit(), Func: fn, Addr: addr, Values: values}))
	return err
}

// Lines opens further connections to a configured device while its own stays
// up, each with one read, and tells how many work at once and whether one of
// them ends ours. It only reads; on a device that serves one connection it may
// cost ours, which comes back by itself. A device that wants long pauses is not
// asked: connections do not know of each other's requests.
func (s *Set) Lines(ctx context.Context, id flex.DeviceID) (extra int, drops bool, err error) {
	d, own, err := s.find(id)
	if err != nil {
		return 0, false, err
	}
	if own.Gap() > mostGap {
		return 0, false, fmt.Errorf("%s wants %v between two requests, which further connections would not keep", id, own.Gap())
	}
	seek := func() (modbus.Request, error) {
		return someRead(ctx, own, s.ways[id].address(modbus.Request{Unit: d.Unit()}))
	}
	r, err := seek()
	if err != nil {
		return 0, false, fmt.Errorf("%s: no register that can be read: %w", id, err)
	}
	before := own.Stats()
	extra = parallel(ctx, d.Endpoint(), r)
	_, err = own.Do(ctx, r)
	after := own.Stats()
	drops = err != nil || after.Lost > before.Lost || after.Connects > before.Connects
	return extra, drops, nil
}

// someRead finds a register that a unit answers: at the heads of SunSpec maps,
// and where register maps often begin.
func someRead(ctx context.Context, e *modbus.Endpoint, r modbus.Request) (modbus.Request, error) {
	var last error
	for _, at := range readPlaces {
		r.Func, r.Addr, r.Count = at.fn, at.addr, 1
		_, err := e.Do(ctx, r)
		if err == nil {
			return r, nil
		}
		last = err
		var refused *modbus.Exception
		if !errors.As(err, &refused) {
			break // silent: it would be at the other places as well
		}
	}
	return modbus.Request{}, last
}

// readPlaces are where to find any register: the heads of SunSpec maps, then
// 0, 5000 (Sungrow), 11 (Carlo Gavazzi), 30000 (Huawei) and 800 (Victron).
var readPlaces = []struct {
	fn   byte
	addr uint16
}{{3, 40000}, {3, 50000}, {3, 0}, {4, 0}, {4, 4999}, {4, 5000}, {3, 11}, {3, 30000}, {3, 800}}

// mostGap is the longest pause that a device may want and yet be asked over
// several connections.
const mostGap = 250 * time.Millisecond

// mostLines bounds the connections that are tried beside one another.
const mostLines = 5

// parallel counts how many new connections answer a read while the ones before
// them stay up.
func parallel(ctx context.Context, address string, r modbus.Request) int {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, mostLines)
	var open []*modbus.Endpoint
	defer func() {
		cancel()
		for range open {
			<-ended
		}
	}()
	for len(open) < mostLines {
		e := modbus.NewEndpoint(address, modbus.Quirks{Timeout: time.Second}, slog.New(slog.DiscardHandler))
		open = append(open, e)
		go func() { ended <- e.Run(ctx) }()
		for _, x := range open {
			_, err := x.Do(ctx, r)
			if st := x.Stats(); err != nil || st.Connects > 1 || st.Lost > 0 {
				return len(open) - 1
			}
		}
	}
	return mostLines
}
