package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"flexd/drivers/modbus"
)

// counting is a bus whose registers hold their address and how often the line
// was used before, so that what was put together is seen.
type counting struct {
	most    uint16
	calls   int
	changes func(call int) uint16 // added to every register
	fails   int                   // the nth call
}

func (c *counting) Do(_ context.Context, r modbus.Request) (modbus.Response, error) {
	c.calls++
	if c.calls == c.fails {
		return modbus.Response{}, modbus.ErrTimeout
	}
	if r.Count > c.most {
		return modbus.Response{}, fmt.Errorf("%d registers: %w", r.Count, modbus.ErrInvalid)
	}
	var words []uint16
	for i := range r.Count {
		words = append(words, r.Addr+i+c.changes(c.calls))
	}
	return modbus.Response{Words: words}, nil
}

func steadily(int) uint16 { return 0 }

func readOf(count uint16) modbus.Request {
	return modbus.Request{Unit: 1, Func: modbus.ReadHolding, Addr: 100, Count: count}
}

func TestALongReadIsPutTogetherFromPieces(t *testing.T) {
	for _, most := range []uint16{1, 2, 3, 7, 20, 124} {
		for _, count := range []uint16{1, 2, 6, 7, 8, 66, 123, 125} {
			bus := &counting{most: most, changes: steadily}
			got, err := pieces{bus, most}.Do(t.Context(), readOf(count))
			if err != nil || len(got.Words) != int(count) {
				t.Fatalf("%d in pieces of %d: %d registers, %v", count, most, len(got.Words), err)
			}
			for i, w := range got.Words {
				if w != 100+uint16(i) {
					t.Errorf("%d in pieces of %d: register %d is %d", count, most, 100+i, w)
				}
			}
		}
	}
}

func TestWithoutABoundOrWithinItAReadIsOneRequest(t *testing.T) {
	for most, count := range map[int]uint16{0: 125, 20: 20, 125: 125} {
		bus := &counting{most: 125, changes: steadily}
		if _, err := mannered(bus, mannerSettings{maxRead: most}, slog.New(slog.DiscardHandler)).Do(t.Context(), readOf(count)); err != nil || bus.calls != 1 {
			t.Errorf("bound %d: %d requests, %v", most, bus.calls, err)
		}
	}
}

// A counter carried from one word to the next between two pieces would be
// wrong by 65,536.
func TestPiecesThatChangedAtTheSeamAreReadAgain(t *testing.T) {
	bus := &counting{most: 20, changes: func(call int) uint16 {
		if call == 1 {
			return 1
		}
		return 0
	}}
	got, err := pieces{bus, 20}.Do(t.Context(), readOf(30))
	if err != nil || bus.calls != 4 {
		t.Fatalf("%d requests, %v, want both pieces twice", bus.calls, err)
	}
	if got.Words[0] != 100 || got.Words[29] != 129 {
		t.Errorf("read %v, want what the second reading said", got.Words)
	}
	restless := &counting{most: 20, changes: func(call int) uint16 { return uint16(call) }}
	if _, err := (pieces{restless, 20}).Do(t.Context(), readOf(30)); err != nil || restless.calls != 2*seamTries {
		t.Errorf("what never stands still: %d requests, %v", restless.calls, err)
	}
}

func TestAPieceThatFailsFailsTheRead(t *testing.T) {
	bus := &counting{most: 20, changes: steadily, fails: 2}
	if got, err := (pieces{bus, 20}).Do(t.Context(), readOf(60)); !errors.Is(err, modbus.ErrTimeout) || got.Words != nil {
		t.Errorf("%v, %v", got, err)
	}
}
