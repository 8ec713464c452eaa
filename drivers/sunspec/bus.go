package sunspec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// Bus carries one request to the device and brings its answer.
type Bus interface {
	Do(ctx context.Context, r modbus.Request) (modbus.Response, error)
}

// ErrMoved marks a model that is no longer where the chain had it: the device
// was replaced, updated or reconfigured, and has to be opened again.
var ErrMoved = errors.New("the device's register map has changed")

// wire is one unit on a bus.
type wire struct {
	bus  Bus
	unit byte
}

// read reads holding registers and insists on as many as were asked for.
func (w wire) read(ctx context.Context, p modbus.Priority, addr, count uint16) ([]uint16, time.Time, error) {
	r, err := w.bus.Do(ctx, modbus.Request{Unit: w.unit, Func: modbus.ReadHolding, Addr: addr, Count: count, Priority: p})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("cannot read unit %d register %d+%d: %w", w.unit, addr, count, err)
	}
	if len(r.Words) != int(count) {
		return nil, time.Time{}, fmt.Errorf("unit %d register %d+%d: answer has %d registers", w.unit, addr, count, len(r.Words))
	}
	return r.Words, r.Done, nil
}

// write writes registers with function 16 and sorts the outcome: refused by
// the device, not sent, or uncertain. Whatever is not known is uncertain.
func (w wire) write(ctx context.Context, p modbus.Priority, reg flex.Register) (time.Time, error) {
	r, err := w.bus.Do(ctx, modbus.Request{Unit: w.unit, Func: modbus.WriteMultiple, Addr: reg.Addr, Values: reg.Words, Priority: p})
	if err == nil {
		return r.Sent, nil
	}
	what := fmt.Sprintf("cannot write %s (unit %d register %d+%d)", reg.Name, w.unit, reg.Addr, len(reg.Words))
	switch {
	case errors.Is(err, modbus.ErrUncertain):
		return r.Sent, fmt.Errorf("%s: %w: %w", what, flex.ErrUncertain, err)
	case errors.Is(err, modbus.ErrNotSent):
		return time.Time{}, fmt.Errorf("%s: %w: %w", what, flex.ErrNotSent, err)
	case isException(err):
		return r.Sent, fmt.Errorf("%s: %w", what, err)
	}
	return r.Sent, fmt.Errorf("%s: %w: %w", what, flex.ErrUncertain, err)
}

// isException tells a device's own refusal from a failure on the way.
func isException(err error) bool {
	var e *modbus.Exception
	return errors.As(err, &e) && !errors.Is(err, modbus.ErrUncertain)
}

// image is what a device said about several models, at one time.
type image struct {
	at     time.Time // when the last answer was complete
	blocks map[uint16]block
}

// of gives the block of the first of the ids that was read; an empty block
// answers every question with "absent".
func (im image) of(ids ...uint16) block {
	for _, id := range ids {
		if b, ok := im.blocks[id]; ok {
			return b
		}
	}
	return block{}
}

// fetch reads whole models. Neighbours share a request; a model never spans
// two, so that values and their scale factors come in one answer.
func (w wire) fetch(ctx context.Context, p modbus.Priority, models []Model) (image, error) {
	im := image{blocks: make(map[uint16]block, len(models))}
	for len(models) > 0 {
		n, size := 1, models[0].size()
		for n < len(models) {
			end := int(models[n].Addr) - int(models[0].Addr) + models[n].size()
			prev := models[n-1]
			if int(models[n].Addr) != int(prev.Addr)+2+int(prev.Len) || end > maxRead {
				break
			}
			n, size = n+1, end
		}
		first := models[0].Addr
		words, at, err := w.read(ctx, p, first, uint16(size))
		if err != nil {
			return im, err
		}
		im.at = at
		for _, m := range models[:n] {
			from := int(m.Addr - first)
			b := block{model: m.ID, addr: m.Addr, words: words[from : from+m.size()]}
			if b.words[0] != m.ID || b.words[1] != m.Len {
				return im, fmt.Errorf("%w: register %d had model %d with length %d, now %d with %d", ErrMoved, m.Addr, m.ID, m.Len, b.words[0], b.words[1])
			}
			im.blocks[m.ID] = b
		}
		models = models[n:]
	}
	return im, nil
}
