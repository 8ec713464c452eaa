package sunspec

import (
	"context"
	"errors"
	"fmt"

	"flexd/drivers/modbus"
)

// Guards on the walk along the chain: a hostile or broken map must end it.
const (
	maxModels    = 100
	addressSpace = 1 << 16
	maxRead      = 125 // registers in one request (Modbus V1.1b3, 6.3)
	chainEnd     = 0xFFFF
)

// bases are the places where a map may begin, in the order to try them
// (SunSpec Device Information Model Specification 1.1, section 6.2).
var bases = [...]uint16{40000, 50000, 0}

// beside are one register off, in either direction: gateways and some devices
// count from 1. They are tried after the bases.
var beside = [...]uint16{40001, 39999, 50001, 49999, 1}

// Marker is "SunS", the two registers at the head of a map.
const (
	markerHigh = 0x5375
	markerLow  = 0x6E53
)

// ErrNoMap marks a device that has no SunSpec map where one may begin.
var ErrNoMap = errors.New("no SunSpec map at 40000, 50000 or 0, nor one register beside: is SunSpec (Modbus/TCP) enabled on the device, and the unit id right?")

// Model is one link of the chain.
type Model struct {
	ID       uint16 `json:"id"`
	Instance int    `json:"instance"` // counts equal ids from 1
	Addr     uint16 `json:"addr"`
	Len      uint16 `json:"len"` // registers after ID and length, by the device's word
}

// Chain is where everything is in one device.
type Chain struct {
	Base   uint16
	Models []Model
}

// readFunc reads holding registers.
type readFunc func(ctx context.Context, addr, count uint16) ([]uint16, error)

// walk finds the map and follows its chain. A base that answers with an
// exception or without the marker is skipped; any other error ends the search.
func walk(ctx context.Context, read readFunc) (Chain, error) {
	var last error
	for _, base := range append(bases[:], beside[:]...) {
		head, err := read(ctx, base, 4)
		switch {
		case err != nil && !isException(err):
			return Chain{}, fmt.Errorf("looking for a SunSpec map at %d: %w", base, err)
		case err != nil && isAbsent(err):
			return Chain{}, fmt.Errorf("%w (%w)", ErrNoMap, err)
		case err != nil:
			last = err
			continue
		case len(head) < 4 || head[0] != markerHigh || head[1] != markerLow:
			continue
		}
		return follow(ctx, base, head[2], head[3], read)
	}
	if last != nil {
		return Chain{}, fmt.Errorf("%w (%w)", ErrNoMap, last)
	}
	return Chain{}, ErrNoMap
}

// isAbsent tells that a gateway answered for a unit that is not there: it
// would say the same of every register.
func isAbsent(err error) bool {
	var e *modbus.Exception
	return errors.As(err, &e) && (e.Code == modbus.GatewayNoPath || e.Code == modbus.GatewayTargetSilent)
}

// follow walks from the first model, whose header is known already.
func follow(ctx context.Context, base, id, length uint16, read readFunc) (Chain, error) {
	c := Chain{Base: base}
	count := map[uint16]int{}
	addr := int(base) + 2
	for id != chainEnd && (id != 0 || len(c.Models) == 0) { // some fill with zeros after the last model
		next := addr + 2 + int(length)
		switch {
		case length == 0:
			return c, fmt.Errorf("SunSpec map at %d: model %d at %d has length 0: the chain does not go on", base, id, addr)
		case next > addressSpace-2:
			return c, fmt.Errorf("SunSpec map at %d: model %d at %d with length %d ends beyond register 65535", base, id, addr, length)
		case len(c.Models) == maxModels:
			return c, fmt.Errorf("SunSpec map at %d: more than %d models: the chain has no end", base, maxModels)
		}
		count[id]++
		c.Models = append(c.Models, Model{ID: id, Instance: count[id], Addr: uint16(addr), Len: length})
		head, err := read(ctx, uint16(next), 2)
		if isException(err) {
			break // some maps end without saying so
		}
		if err != nil {
			return c, fmt.Errorf("SunSpec map at %d: reading the model header at %d: %w", base, next, err)
		}
		if len(head) < 2 {
			return c, fmt.Errorf("SunSpec map at %d: short answer for the model header at %d", base, next)
		}
		addr, id, length = next, head[0], head[1]
	}
	if len(c.Models) == 0 {
		return c, fmt.Errorf("SunSpec map at %d: the chain is empty", base)
	}
	return c, nil
}

// find gives the first instance of the first of the ids that the chain has.
func (c Chain) find(ids ...uint16) (Model, bool) {
	for _, id := range ids {
		for _, m := range c.Models {
			if m.ID == id {
				return m, true
			}
		}
	}
	return Model{}, false
}

// common is the model 1 that the model m belongs to: a second model 1 in a
// chain begins a device of its own, such as a meter behind an inverter.
func (c Chain) common(m Model) (Model, bool) {
	var owner Model
	for _, x := range c.Models {
		if x.ID == 1 && (owner.ID == 0 || x.Addr < m.Addr) {
			owner = x
		}
	}
	return owner, owner.ID == 1
}

// has tells whether the chain has one of the models.
func (c Chain) has(ids ...uint16) bool {
	_, ok := c.find(ids...)
	return ok
}

// String lists the models in order, for people.
func (c Chain) String() string {
	s := fmt.Sprintf("base %d:", c.Base)
	for _, m := range c.Models {
		s += fmt.Sprintf(" %d", m.ID)
		if m.Instance > 1 {
			s += fmt.Sprintf("#%d", m.Instance)
		}
	}
	return s
}

// size is how many registers of the model are worth reading: as many as the
// points known here, no more than the device says it has, in one request.
func (m Model) size() int {
	need := 2
	for _, p := range layout(m.ID) {
		need = max(need, p.off+p.size)
	}
	return min(need, int(m.Len)+2, maxRead)
}

// Walk finds the map of a unit and follows its chain. It only reads.
func Walk(ctx context.Context, bus Bus, unit uint8) (Chain, error) {
	w := wire{bus: bus, unit: unit}
	return walk(ctx, func(ctx context.Context, addr, count uint16) ([]uint16, error) {
		words, _, err := w.read(ctx, 0, addr, count)
		return words, err
	})
}
