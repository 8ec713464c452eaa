package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// metUnit is a unit that was asked for its SunSpec map, and how it answers.
type metUnit struct {
	id    uint8
	set   mannerSettings
	bus   *manners
	chain sunspec.Chain
}

// meet looks for the SunSpec map of a unit, also where its answers bear another
// unit. The error says what it said, or that it said nothing.
func meet(ctx context.Context, e *modbus.Endpoint, unit uint8, log *slog.Logger) (metUnit, error) {
	m := metUnit{id: unit, set: mannerSettings{unitZero: unit == 0}}
	var err error
	for range 2 {
		m.bus = mannered(e, m.set, log)
		m.chain, err = sunspec.Walk(ctx, m.bus, unit)
		if !errors.Is(err, modbus.ErrOtherUnit) {
			break
		}
		m.set.anyUnit = true
	}
	return m, err
}

// ask is a request to the unit, without what is asked.
func (m metUnit) ask() modbus.Request { return m.bus.address(modbus.Request{Unit: m.id}) }

// settings are the keys that the configuration of the unit needs.
func (m metUnit) settings() []string {
	var out []string
	if m.id != 1 {
		out = append(out, fmt.Sprintf("unit: %d", m.id))
	}
	if m.set.anyUnit {
		out = append(out, "echoes_unit: false")
	}
	return out
}

// unfound says what came of asking units of which none could be looked at.
func unfound(address string, units []uint8, failed []error) error {
	if len(failed) == 0 {
		return fmt.Errorf("%s was not asked", address)
	}
	said := failed[0]
	for _, err := range failed { // one that says something tells more than silence
		if errors.Is(said, modbus.ErrTimeout) && !errors.Is(err, modbus.ErrTimeout) && !errors.Is(err, modbus.ErrNotSent) {
			said = err
		}
	}
	silent := !slices.ContainsFunc(failed, func(err error) bool { return !errors.Is(err, modbus.ErrTimeout) })
	if silent && len(failed) > 1 {
		return fmt.Errorf("%s takes the connection, and none of the units %s answers: name the device's with --unit: %w", address, list(units[:len(failed)]), said)
	}
	return explained(address, said)
}

// explained puts what a failed question means before what it said. "Does not
// answer" is said of silence alone.
func explained(address string, err error) error {
	var means string
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		means = "refuses the connection: is Modbus/TCP switched on there, and is it the right port?"
	case errors.Is(err, modbus.ErrNotSent) && errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EHOSTUNREACH):
		means = "cannot be reached: is it switched on, and on this network?"
	case gatewayOnly(err):
		means = "is a gateway that answers, and the unit behind it does not"
	case errors.Is(err, modbus.ErrOtherUnit):
		means = "answers with other units than it is asked for"
	case code(err) != 0:
		means = "answers, and refuses the question"
	case errors.Is(err, modbus.ErrTimeout):
		means = "takes the connection and does not answer: is the unit id right?"
	case errors.Is(err, modbus.ErrLost):
		means = "takes the connection and ends it: does it serve one client, and is another connected?"
	case errors.Is(err, modbus.ErrProtocol):
		means = "answers, but not in Modbus/TCP: is it another service, or Modbus RTU over TCP?"
	default:
		return err
	}
	return fmt.Errorf("%s %s: %w", address, means, err)
}

func list(units []uint8) string {
	var out []string
	for _, u := range units {
		out = append(out, strconv.Itoa(int(u)))
	}
	return strings.Join(out, ", ")
}
