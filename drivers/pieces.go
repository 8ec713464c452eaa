package drivers

import (
	"context"
	"slices"

	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// pieces reads from a device, or through a gateway, that takes fewer registers
// in one request than a SunSpec model has. Longer reads are made of several,
// which overlap, so that a value across a seam is not put together from two
// moments.
type pieces struct {
	bus  sunspec.Bus
	most uint16
}

const (
	// seam is one register less than the longest value of SunSpec, uint64: a
	// value that crosses the end of one piece is whole in the next.
	seam = 3
	// seamTries bounds how often a piece is read again because the overlap
	// changed meanwhile. A value that never stands still is taken as it came.
	seamTries = 3
)

// Do carries a request. A read that is put together was sent when its first
// piece was, and done when its last.
func (p pieces) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	isRead := r.Func == modbus.ReadHolding || r.Func == modbus.ReadInput
	if !isRead || r.Count <= p.most || int(r.Addr)+int(r.Count) > 1<<16 {
		return p.bus.Do(ctx, r)
	}
	var out modbus.Response
	for range seamTries {
		whole, still, err := p.assemble(ctx, r)
		if err != nil {
			return modbus.Response{}, err
		}
		out = whole
		if still {
			break
		}
	}
	return out, nil
}

// assemble reads all pieces once, and tells whether the overlaps stood still.
func (p pieces) assemble(ctx context.Context, r modbus.Request) (out modbus.Response, still bool, err error) {
	overlap := min(seam, (p.most-1)/2)
	still = true
	for at := uint16(0); ; {
		piece := r
		piece.Addr, piece.Count = r.Addr+at, min(p.most, r.Count-at)
		got, err := p.bus.Do(ctx, piece)
		if err != nil {
			return out, false, err
		}
		shared := len(out.Words) - int(at)
		if shared > len(got.Words) {
			return out, false, modbus.ErrProtocol
		}
		still = still && slices.Equal(out.Words[at:], got.Words[:shared])
		out.Words = append(out.Words, got.Words[shared:]...)
		if at == 0 {
			out.Sent = got.Sent
		}
		out.Done = got.Done
		if at+piece.Count >= r.Count {
			return out, still, nil
		}
		at += piece.Count - overlap
	}
}
