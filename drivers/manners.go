package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// manners is how one device wants to be asked: what its configuration says,
// and what was learned from its refusals. Drivers ask as by the book and know
// nothing of it.
type manners struct {
	bus  sunspec.Bus
	set  mannerSettings
	log  *slog.Logger
	size readSize

	mu    sync.Mutex
	other map[register]byte // what the usual write function was refused for, and the one that was taken
	known modbus.Request    // a read that was answered; Count 0: none was
}

// mannerSettings are what a configuration says; zero values are the usual.
type mannerSettings struct {
	unitZero  bool // unit 0 is meant
	anyUnit   bool // answers bear another unit
	maxRead   int  // registers in one read; 0: learned
	writeFunc byte // 6 or 16 for every write; 0: as the driver asks, and the other one where that is refused
}

type register struct {
	unit byte
	addr uint16
}

func mannered(bus sunspec.Bus, set mannerSettings, log *slog.Logger) *manners {
	m := &manners{bus: bus, set: set, log: log, other: map[register]byte{}}
	m.size.bound(set.maxRead)
	return m
}

// Do carries a request in the way that the device takes it.
func (m *manners) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	r = m.address(r)
	if r.Func == modbus.ReadHolding || r.Func == modbus.ReadInput {
		return m.read(ctx, r)
	}
	return m.write(ctx, r)
}

// address marks a request with whom it is for.
func (m *manners) address(r modbus.Request) modbus.Request {
	r.UnitZero, r.AnyUnit = m.set.unitZero, m.set.anyUnit
	return r
}

// write writes with the function that the device takes. A refused write was
// not carried out, so a register may be tried with the other one. Several are
// never split here: half a value, or half an order, would be in force for a
// moment, and only the driver knows where that is harmless.
func (m *manners) write(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	at := register{r.Unit, r.Addr}
	m.mu.Lock()
	fn, known := m.other[at]
	m.mu.Unlock()
	asked := r.Func
	switch {
	case m.set.writeFunc != 0:
		fn = m.set.writeFunc
	case !known:
		fn = asked
	}
	if len(r.Values) > 1 {
		if fn == modbus.WriteSingle {
			return modbus.Response{}, unsplit(r, &modbus.Exception{Func: modbus.WriteMultiple, Code: modbus.IllegalFunction})
		}
		res, err := m.bus.Do(ctx, r)
		if code(err) == modbus.IllegalFunction {
			err = unsplit(r, err)
		}
		return res, err
	}
	r.Func = fn
	res, err := m.bus.Do(ctx, r)
	if !otherFunction(err) || m.set.writeFunc != 0 || known {
		return res, err
	}
	r.Func = modbus.WriteSingle + modbus.WriteMultiple - fn
	again, second := m.bus.Do(ctx, r)
	if otherFunction(second) {
		return res, err // refused either way: the function is not the matter
	}
	if second == nil {
		m.mu.Lock()
		m.other[at] = r.Func
		m.mu.Unlock()
		m.log.Info("a register is written with another function: the usual one is refused", "unit", r.Unit, "register", r.Addr, "function", r.Func)
	}
	return again, second
}

// unsplit says why a write of several registers cannot be had.
func unsplit(r modbus.Request, err error) error {
	return fmt.Errorf("the device takes one register in a write (function 6), and the %d from %d belong together: %w", len(r.Values), r.Addr, err)
}

// code is that of the exception that a request was plainly refused with, else 0.
func code(err error) byte {
	var e *modbus.Exception
	if !errors.As(err, &e) || errors.Is(err, modbus.ErrUncertain) {
		return 0
	}
	return e.Code
}

// otherFunction tells whether a refusal may be meant for the function: 1 says
// so, and a Plenticore says 2 (no such register).
func otherFunction(err error) bool {
	c := code(err)
	return c == modbus.IllegalFunction || c == modbus.IllegalAddress
}

// read reads in pieces as long as the device answers. Nothing says how long
// that is: it shows in that a long read fails where a short one is answered.
func (m *manners) read(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	most, piece := m.size.limits()
	if r.Count > most {
		return pieces{m.bus, piece}.Do(ctx, r)
	}
	res, err := m.bus.Do(ctx, r)
	if err == nil {
		m.size.took(r.Count)
		m.mu.Lock()
		m.known = r
		m.mu.Unlock()
		return res, nil
	}
	if m.set.maxRead > 0 || ctx.Err() != nil || !tooLong(err) || !m.size.suspect(r, time.Now()) {
		return res, err
	}
	whole, found := m.learn(ctx, r)
	if !found {
		m.size.innocent(r, time.Now())
		return res, err
	}
	return whole, nil
}

// answered is a read that the device is known to answer.
func (m *manners) answered() (r modbus.Request, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known, m.known.Count > 0
}

// learn finds how many registers the device answers at once, from a read that
// failed, and reads that one in pieces. It finds nothing where a short read
// fails as well, or where the pieces do.
func (m *manners) learn(ctx context.Context, r modbus.Request) (whole modbus.Response, found bool) {
	good, bad := uint16(0), r.Count
	for n := m.size.start(r.Count); n != 0; n = between(good, bad) {
		short := r
		short.Count = n
		_, err := m.bus.Do(ctx, short)
		switch {
		case err == nil:
			good = n
			continue
		case good == 0 || !tooLong(err):
			return whole, false
		}
		bad = n
		if code(err) == 0 {
			break // silence is dear: what is known will do
		}
	}
	whole, err := pieces{m.bus, good}.Do(ctx, r)
	if err != nil {
		return whole, false
	}
	m.size.learned(good, bad-1)
	m.log.Info("the device answers short reads only", "unit", r.Unit, "registers", good, "refused", bad)
	return whole, true
}

// between is the length to try next: doubled until one fails, then halfway; 0
// when what is known is near enough.
func between(good, bad uint16) uint16 {
	if bad-good <= 1+good/4 {
		return 0
	}
	return min(2*good, (good+bad)/2)
}

// tooLong tells whether a read may have failed for its length: by refusals
// that were seen for it, silence, a cut, or a broken answer.
func tooLong(err error) bool {
	switch code(err) {
	case modbus.IllegalAddress, modbus.IllegalValue, modbus.DeviceFailure:
		return true
	case 0:
		return !errors.Is(err, modbus.ErrNotSent) && !errors.Is(err, modbus.ErrOtherUnit) &&
			(errors.Is(err, modbus.ErrTimeout) || errors.Is(err, modbus.ErrLost) || errors.Is(err, modbus.ErrProtocol))
	}
	return false
}
