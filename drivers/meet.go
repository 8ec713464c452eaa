package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"flexd/agent/flex"
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
		text := fmt.Sprintf("%s takes the connection, and none of the units %s answers: name the device's with --unit", address, list(units[:len(failed)]))
		return &flex.PlainError{Text: text, Err: fmt.Errorf("%s: %w", text, said)}
	}
	return explained(address, said)
}

// explained puts what a failed question means before what it said.
func explained(address string, err error) error {
	means := meaning(err)
	if means == "" {
		return err
	}
	return &flex.PlainError{Text: address + " " + means, Err: fmt.Errorf("%s %s: %w", address, means, err)}
}

func list(units []uint8) string {
	var out []string
	for _, u := range units {
		out = append(out, strconv.Itoa(int(u)))
	}
	return strings.Join(out, ", ")
}
