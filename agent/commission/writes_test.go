package commission

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// bank is a device's registers.
type bank struct {
	regs   map[uint16]uint16
	fail   error
	ignore bool
	wrote  int
}

func (b *bank) Controls(context.Context, flex.DeviceID) ([]flex.Register, error) {
	return []flex.Register{{Addr: 100, Words: []uint16{0, 0}, Name: "124.StorCtl_Mod"}}, b.fail
}

func (b *bank) ReadRaw(_ context.Context, _ flex.DeviceID, _ byte, addr, count uint16) ([]uint16, error) {
	out := make([]uint16, count)
	for i := range out {
		out[i] = b.regs[addr+uint16(i)]
	}
	return out, nil
}

func (b *bank) WriteRaw(_ context.Context, _ flex.DeviceID, _ byte, addr uint16, values []uint16) error {
	b.wrote++
	if b.ignore {
		return nil
	}
	for i, v := range values {
		b.regs[addr+uint16(i)] = v
	}
	return nil
}

func TestAWriteByHandCanBeUndone(t *testing.T) {
	b := &bank{regs: map[uint16]uint16{7: 1, 8: 2}}
	dir := t.TempDir()
	open := func() *Writes {
		return NewWrites(dir, b, func(flex.DeviceID) *flex.Refusal { return nil }, time.Now)
	}
	for _, values := range [][]uint16{{10, 20}, {11, 21}} {
		w, err := open().Write(t.Context(), WriteOrder{Device: "bat1", Func: 16, Addr: 7, Values: values, By: "anna"})
		if err != nil || !slices.Equal(w.Now, values) {
			t.Fatalf("%+v, %v", w, err)
		}
	}
	for _, want := range [][]uint16{{10, 20}, {1, 2}} { // by another process
		if w, err := open().Undo(t.Context(), "bat1", "anna"); err != nil || !slices.Equal(w.Now, want) {
			t.Fatalf("%+v, %v", w, err)
		}
	}
	if _, err := open().Undo(t.Context(), "bat1", "anna"); err == nil {
		t.Error("undone out of nothing")
	}
	if _, err := open().Write(t.Context(), WriteOrder{Device: "bat1", Func: 6, Addr: 7, Values: []uint16{5}}); err != nil {
		t.Fatal(err)
	}
	b.regs[7] = 99
	if _, err := open().Undo(t.Context(), "bat1", "anna"); err == nil || b.regs[7] != 99 {
		t.Errorf("what somebody else changed was overwritten: %v", err)
	}
}

func TestAWriteByHandIsRefused(t *testing.T) {
	ok := WriteOrder{Device: "bat1", Func: 16, Addr: 7, Values: []uint16{5}}
	with := func(f func(*WriteOrder)) WriteOrder { o := ok; f(&o); return o }
	for _, c := range []struct {
		name string
		o    WriteOrder
		busy *flex.Refusal
		fail error
		want string
	}{
		{"while a dispatch or hold is engaged", ok, flex.Refuse(flex.ReasonOverlap, "i1 runs"), nil, "i1 runs"},
		{"of a register that flexd controls", with(func(o *WriteOrder) { o.Addr = 101 }), nil, nil, "StorCtl_Mod"},
		{"that reaches into one", with(func(o *WriteOrder) { o.Addr, o.Values = 98, []uint16{1, 2, 3} }), nil, nil, "StorCtl_Mod"},
		{"when what flexd controls is not known", ok, nil, errors.New("silent"), "silent"},
		{"with function 5", with(func(o *WriteOrder) { o.Func = 5 }), nil, nil, "use 6 or 16"},
		{"of two registers with function 6", with(func(o *WriteOrder) { o.Func, o.Values = 6, []uint16{1, 2} }), nil, nil, "function 6 writes one"},
		{"of nothing", with(func(o *WriteOrder) { o.Values = nil }), nil, nil, "0 registers"},
		{"past the end", with(func(o *WriteOrder) { o.Addr, o.Values = 65535, []uint16{1, 2} }), nil, nil, "past 65535"},
		{"when another value stands there than was shown", with(func(o *WriteOrder) { o.Expect = []uint16{4} }), nil, nil, "look again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bank{regs: map[uint16]uint16{7: 3}, fail: c.fail}
			w := NewWrites(t.TempDir(), b, func(flex.DeviceID) *flex.Refusal { return c.busy }, time.Now)
			if _, err := w.Write(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if b.wrote > 0 {
				t.Error("it was written")
			}
		})
	}
}

func TestAWriteThatIsNotHeldIsTold(t *testing.T) {
	b := &bank{regs: map[uint16]uint16{7: 3}, ignore: true}
	w := NewWrites(t.TempDir(), b, func(flex.DeviceID) *flex.Refusal { return nil }, time.Now)
	if _, err := w.Write(t.Context(), WriteOrder{Device: "bat1", Func: 6, Addr: 7, Values: []uint16{5}}); err == nil || !strings.Contains(err.Error(), "holds [3]") {
		t.Error(err)
	}
}
