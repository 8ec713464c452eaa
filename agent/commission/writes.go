package commission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
)

// Wires reach the registers of the configured devices.
type Wires interface {
	// Controls are the registers that control itself writes.
	Controls(ctx context.Context, id flex.DeviceID) ([]flex.Register, error)
	ReadRaw(ctx context.Context, id flex.DeviceID, fn byte, addr, count uint16) ([]uint16, error)
	WriteRaw(ctx context.Context, id flex.DeviceID, fn byte, addr uint16, values []uint16) error
}

// WriteOrder is a person's order to write registers.
type WriteOrder struct {
	Device flex.DeviceID
	Func   byte // 6 or 16
	Addr   uint16
	Values []uint16
	Expect []uint16 // what the person was shown as old; nil: whatever stands there
	By     string
}

// Written is what was written by hand, and what stood there.
type Written struct {
	Device flex.DeviceID `json:"device"`
	At     time.Time     `json:"at"`
	By     string        `json:"by"`
	Func   byte          `json:"fn"`
	Addr   uint16        `json:"addr"`
	Old    []uint16      `json:"old"`
	New    []uint16      `json:"new"`
	Now    []uint16      `json:"now,omitempty"` // as read back
	Undone bool          `json:"undone,omitempty"`
}

// maxUndo bounds how many writes of a device are remembered.
const maxUndo = 50

// maxWrite is the most registers in one request (Modbus V1.1b3, 6.12).
const maxWrite = 123

// Writes lets a technician write registers, and take that back. It is safe
// for concurrent use.
type Writes struct {
	dir   string
	wires Wires
	busy  func(flex.DeviceID) *flex.Refusal
	now   func() time.Time
	mu    sync.Mutex // one write at a time
}

// NewWrites keeps undo records within the data folder. busy is why a device
// must not be touched: it is under control, or held.
func NewWrites(data string, wires Wires, busy func(flex.DeviceID) *flex.Refusal, now func() time.Time) *Writes {
	return &Writes{dir: filepath.Join(data, "undo"), wires: wires, busy: busy, now: now}
}

// Write writes after the record of what stood there is on disk.
func (w *Writes) Write(ctx context.Context, o WriteOrder) (Written, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.allowed(ctx, o); err != nil {
		return Written{}, err
	}
	old, err := w.wires.ReadRaw(ctx, o.Device, 3, o.Addr, uint16(len(o.Values)))
	if err != nil {
		return Written{}, fmt.Errorf("cannot read what stands there, so that it could not be undone: %w", err)
	}
	if o.Expect != nil && !slices.Equal(old, o.Expect) {
		return Written{}, flex.Refuse(flex.ReasonConflict, "register %d of %s holds %v now, not %v as shown: look again", o.Addr, o.Device, old, o.Expect)
	}
	rec := Written{Device: o.Device, At: w.now().UTC(), By: o.By, Func: o.Func, Addr: o.Addr, Old: old, New: o.Values}
	list, err := w.list(o.Device)
	if err != nil {
		return Written{}, err
	}
	if err := w.keep(o.Device, append(list, rec)); err != nil {
		return Written{}, err
	}
	return w.carryOut(ctx, rec, o.Values)
}

// Undo writes back what stood before the latest write that was not undone,
// unless somebody changed it since.
func (w *Writes) Undo(ctx context.Context, id flex.DeviceID, by string) (Written, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, err := w.list(id)
	if err != nil {
		return Written{}, err
	}
	i := len(list) - 1
	for i >= 0 && list[i].Undone {
		i--
	}
	if i < 0 {
		return Written{}, flex.Refuse(flex.ReasonNotOurs, "nothing was written to %s by hand that could be undone", id)
	}
	last := list[i]
	o := WriteOrder{Device: id, Func: last.Func, Addr: last.Addr, Values: last.Old, By: by}
	if err := w.allowed(ctx, o); err != nil {
		return Written{}, err
	}
	now, err := w.wires.ReadRaw(ctx, id, 3, last.Addr, uint16(len(last.Old)))
	if err != nil {
		return Written{}, fmt.Errorf("cannot read what stands there: %w", err)
	}
	if !slices.Equal(now, last.New) && !slices.Equal(now, last.Old) {
		return Written{}, flex.Refuse(flex.ReasonConflict, "register %d of %s holds %v, neither what was written (%v) nor what was before: somebody changed it, it is left alone", last.Addr, id, now, last.New)
	}
	back := Written{Device: id, At: w.now().UTC(), By: by, Func: last.Func, Addr: last.Addr, Old: now, New: last.Old, Undone: true}
	if back, err = w.carryOut(ctx, back, last.Old); err != nil {
		return back, err
	}
	list[i].Undone = true
	return back, w.keep(id, list)
}

// allowed refuses what must not be written by hand.
func (w *Writes) allowed(ctx context.Context, o WriteOrder) error {
	n := len(o.Values)
	switch {
	case o.Func != 6 && o.Func != 16:
		return flex.Refuse(flex.ReasonBadField, "function %d does not write registers: use 6 or 16", o.Func)
	case n < 1 || n > maxWrite || o.Func == 6 && n != 1:
		return flex.Refuse(flex.ReasonBadField, "%d registers: function 6 writes one, function 16 up to %d", n, maxWrite)
	case int(o.Addr)+n > 1<<16:
		return flex.Refuse(flex.ReasonBadField, "%d registers from %d go past 65535", n, o.Addr)
	}
	if busy := w.busy(o.Device); busy != nil {
		return busy
	}
	own, err := w.wires.Controls(ctx, o.Device)
	if err != nil {
		return fmt.Errorf("cannot tell which registers of %s flexd controls: %w", o.Device, err)
	}
	for _, r := range own {
		if int(o.Addr) < int(r.Addr)+len(r.Words) && int(r.Addr) < int(o.Addr)+n {
			return flex.Refuse(flex.ReasonUncontrollable, "register %d of %s (%s) is one that flexd controls: use a hold or a commissioning", r.Addr, o.Device, r.Name)
		}
	}
	return nil
}

// carryOut writes and reads back.
func (w *Writes) carryOut(ctx context.Context, rec Written, values []uint16) (Written, error) {
	err := w.wires.WriteRaw(ctx, rec.Device, rec.Func, rec.Addr, values)
	now, readErr := w.wires.ReadRaw(ctx, rec.Device, 3, rec.Addr, uint16(len(values)))
	if readErr == nil {
		rec.Now = now
	}
	if err != nil {
		return rec, fmt.Errorf("register %d of %s: %w", rec.Addr, rec.Device, err)
	}
	if readErr != nil {
		return rec, fmt.Errorf("written, but it cannot be read back: %w", readErr)
	}
	if !slices.Equal(now, values) {
		return rec, fmt.Errorf("register %d of %s was told %v and holds %v", rec.Addr, rec.Device, values, now)
	}
	return rec, nil
}

func (w *Writes) list(id flex.DeviceID) ([]Written, error) {
	raw, err := load(fileOf(w.dir, id))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var list []Written
	if err == nil && len(raw) > maxRecord {
		err = errors.New("it is too large")
	}
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the undo records of %s: %w", id, err)
	}
	return list, nil
}

func (w *Writes) keep(id flex.DeviceID, list []Written) error {
	if len(list) > maxUndo {
		list = list[len(list)-maxUndo:]
	}
	raw, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return fmt.Errorf("cannot encode the undo records: %w", err)
	}
	return replace(fileOf(w.dir, id), raw)
}
