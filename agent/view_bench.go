package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"flexd/agent/commission"
	"flexd/agent/flex"
	"flexd/agent/local"
)

// WriteRegisters writes by hand.
func (v *view) WriteRegisters(ctx context.Context, id flex.DeviceID, o local.WriteOrder, by string) (local.Written, error) {
	if o.Func < 0 || o.Func > 255 {
		return local.Written{}, flex.Refuse(flex.ReasonBadField, "function %d does not write registers: use 6 or 16", o.Func)
	}
	w, err := v.a.bench.writes.Write(ctx, commission.WriteOrder{Device: id, Func: byte(o.Func), Addr: o.Addr, Values: o.Values, Expect: o.Expect, By: by})
	v.noteWrite(ctx, "device.written", w, by, err)
	return written(w), err
}

// UndoWrite takes the latest write by hand back.
func (v *view) UndoWrite(ctx context.Context, id flex.DeviceID, by string) (local.Written, error) {
	w, err := v.a.bench.writes.Undo(ctx, id, by)
	v.noteWrite(ctx, "device.undone", w, by, err)
	return written(w), err
}

func written(w commission.Written) local.Written {
	return local.Written{Device: w.Device, At: w.At, Func: int(w.Func), Addr: w.Addr, Old: w.Old, New: w.New, Now: w.Now}
}

// noteWrite puts a write by hand into the diary; one that was refused before
// anything was sent is none.
func (v *view) noteWrite(ctx context.Context, what string, w commission.Written, by string, err error) {
	if w.Device == "" {
		return
	}
	text := fmt.Sprintf("function %d at %d: %v instead of %v", w.Func, w.Addr, w.New, w.Old)
	if err != nil {
		text += ": " + err.Error()
	}
	v.note(ctx, what, w.Device, by, text)
}

// note appends a line to the diary: what was done is done, so a failure to
// write it down is only logged.
func (v *view) note(ctx context.Context, what string, id flex.DeviceID, by, text string) {
	line := flex.Audit{At: v.a.wall.Stamp(), What: what, Subject: string(id), By: by, Text: text}
	if err := v.a.db.Commit(context.WithoutCancel(ctx), flex.Changes{Audit: []flex.Audit{line}}); err != nil {
		v.a.log.Error("the diary misses what a person did", "what", what, "device", id, "by", by, "text", text, "error", err)
	}
}

// Resume lets a device be controlled again that did the contrary of what it was told.
func (v *view) Resume(ctx context.Context, id flex.DeviceID, by string) error {
	now, _ := v.a.wall.Now()
	if !v.a.control.Resume(id, now.Add(time.Second)) {
		return flex.Refuse(flex.ReasonConflict, "nothing stands against %s: it did not do the contrary of what it was told", id)
	}
	v.note(ctx, "device.resumed", id, by, "it may be controlled again")
	return nil
}

// Commission begins to try a device.
func (v *view) Commission(ctx context.Context, id flex.DeviceID, o local.CommissionOrder, by string) error {
	err := v.a.bench.desk.Start(commission.Order{Device: id, By: by,
		Settings: commission.Settings{Percent: o.Percent, Hold: time.Duration(o.Seconds) * time.Second, Revert: o.Revert}})
	if err == nil {
		v.note(ctx, "device.commissioning", id, by, "a commissioning begins")
	}
	return err
}

// Commissioning tells how it goes, and keeps it going.
func (v *view) Commissioning(_ context.Context, id flex.DeviceID) (local.Commissioning, error) {
	return commissioning(v.a.bench.desk.State(id))
}

// CancelCommissioning ends it; the device is handed back.
func (v *view) CancelCommissioning(ctx context.Context, id flex.DeviceID, by string) error {
	v.a.bench.desk.Cancel(id)
	v.note(ctx, "device.commissioning", id, by, "the commissioning is ended")
	return nil
}

// CommissioningRecord is the stored record, its signature verified.
func (v *view) CommissioningRecord(_ context.Context, id flex.DeviceID) (local.Commissioning, error) {
	st, err := v.a.bench.desk.Show(id)
	if err != nil {
		return local.Commissioning{}, err
	}
	return commissioning(st)
}

func commissioning(st commission.State) (local.Commissioning, error) {
	out := local.Commissioning{Device: st.Device, Phase: string(st.Phase), Step: st.Step, Text: st.Text, Lines: st.Lines, Error: st.Error, Proven: st.Proven}
	if st.Record == nil {
		return out, nil
	}
	raw, err := json.Marshal(st.Record)
	if err != nil {
		return out, fmt.Errorf("cannot encode the commissioning record: %w", err)
	}
	out.Record = raw
	return out, nil
}

var _ local.Technician = (*view)(nil)
