package main

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/drivers/modbus/modbustest"
)

// workshop is a running agent as the device verbs see it.
type workshop struct {
	mu        sync.Mutex
	endpoint  string
	regs      map[uint16]uint16
	old       []uint16
	ask       int
	proven    bool
	cancelled bool
	onState   func()
}

func (w *workshop) Status(context.Context) (local.Status, error) {
	p := flex.Watts(1200)
	return local.Status{At: time.Now(), Devices: []flex.DeviceStatus{{ID: "bat1", Endpoint: w.endpoint, Online: true,
		Reading: &flex.Reading{Device: "bat1", At: time.Now(), Power: &p}}}}, nil
}
func (w *workshop) Obligations(context.Context, time.Duration) ([]local.Obligation, error) {
	return nil, nil
}
func (w *workshop) Instructions(context.Context, int) ([]local.Instruction, error) { return nil, nil }
func (w *workshop) Detail(context.Context, flex.InstructionID) (local.Detail, error) {
	return local.Detail{}, nil
}
func (w *workshop) Events(context.Context, int) ([]local.Event, error) { return nil, nil }
func (w *workshop) Point() local.Point                                 { return local.Point{} }
func (w *workshop) Probe(context.Context, flex.DeviceID) (local.Probe, error) {
	return local.Probe{Plate: flex.Nameplate{Model: "B10"}}, nil
}

func (w *workshop) Registers(_ context.Context, _ flex.DeviceID, _ byte, addr, count uint16) ([]uint16, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]uint16, count)
	for i := range out {
		out[i] = w.regs[addr+uint16(i)]
	}
	return out, nil
}

func (w *workshop) WriteRegisters(_ context.Context, id flex.DeviceID, o local.WriteOrder, _ string) (local.Written, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(o.Expect) == 0 {
		return local.Written{}, flex.Refuse(flex.ReasonConflict, "nothing was shown")
	}
	w.old = o.Expect
	for i, v := range o.Values {
		w.regs[o.Addr+uint16(i)] = v
	}
	return local.Written{Device: id, Addr: o.Addr, Old: o.Expect, New: o.Values, Now: o.Values}, nil
}

func (w *workshop) Resume(context.Context, flex.DeviceID, string) error { return nil }
func (w *workshop) UndoWrite(_ context.Context, id flex.DeviceID, _ string) (local.Written, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.old == nil {
		return local.Written{}, flex.Refuse(flex.ReasonNotOurs, "nothing was written")
	}
	now := []uint16{w.regs[7]}
	w.regs[7] = w.old[0]
	return local.Written{Device: id, Addr: 7, Old: now, New: w.old}, nil
}

func (w *workshop) Commission(_ context.Context, _ flex.DeviceID, o local.CommissionOrder, _ string) error {
	if o.Percent > 20 {
		return flex.Refuse(flex.ReasonBadField, "nudges go to 20 %%")
	}
	return nil
}

func (w *workshop) Commissioning(context.Context, flex.DeviceID) (local.Commissioning, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ask++
	switch {
	case w.cancelled:
		return local.Commissioning{Device: "bat1", Phase: "failed", Error: "ended by a person"}, nil
	case w.ask > 1 && w.onState == nil:
		return local.Commissioning{Device: "bat1", Phase: "done", Proven: w.proven, Lines: []string{"direction at the meter: right"}}, nil
	case w.onState != nil:
		w.onState()
	}
	return local.Commissioning{Device: "bat1", Phase: "running", Step: "up", Text: "set 500 W"}, nil
}

func (w *workshop) CancelCommissioning(context.Context, flex.DeviceID, string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancelled = true
	return nil
}

func (w *workshop) CommissioningRecord(_ context.Context, id flex.DeviceID) (local.Commissioning, error) {
	return local.Commissioning{Device: id, Phase: "done", Proven: true, Record: []byte(`{"key":"k"}`)}, nil
}

// open serves the workshop's socket until the test ends.
func (w *workshop) open(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flexd.sock")
	s := local.NewSocket(path, local.Parts{Source: w, Bench: w}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-s.Ready()
	return path
}

// verb runs a device verb with what a person types.
func (w *workshop) verb(t *testing.T, ctx context.Context, typed string, b *bench, args ...string) (string, string, error) {
	t.Helper()
	b.in, b.terminal = strings.NewReader(typed), func() bool { return typed != "" }
	if b.every == 0 {
		b.every = leastEvery
	}
	if b.timeout == 0 {
		b.timeout, b.parallel = time.Second, 32
	}
	var out, errs bytes.Buffer
	o := &options{out: &out, err: &errs, args: args, socket: w.open(t), unit: 1}
	err := device(ctx, o, b)
	return out.String(), errs.String(), err
}

func TestAWriteIsShownAskedForAndTakenBack(t *testing.T) {
	w := &workshop{regs: map[uint16]uint16{7: 1}}
	if _, shown, err := w.verb(t, t.Context(), "n\n", &bench{}, "write", "bat1", "7", "0x10"); err == nil || w.regs[7] != 1 || !strings.Contains(shown, "0x0001 (1) → 0x0010 (16)") {
		t.Errorf("a no: %v, register %d, shown %q", err, w.regs[7], shown)
	}
	if _, _, err := w.verb(t, t.Context(), "", &bench{}, "write", "bat1", "7", "16"); err == nil || w.regs[7] != 1 {
		t.Errorf("nobody to ask: %v, register %d", err, w.regs[7])
	}
	if _, _, err := w.verb(t, t.Context(), "y\n", &bench{}, "write", "bat1", "7", "16"); err != nil || w.regs[7] != 16 {
		t.Errorf("a yes: %v, register %d", err, w.regs[7])
	}
	if out, _, err := w.verb(t, t.Context(), "", &bench{yes: true, undo: true}, "write", "bat1"); err != nil || w.regs[7] != 1 || !strings.Contains(out, "0x0010 (16) → 0x0001 (1)") {
		t.Errorf("undo: %v, register %d, %q", err, w.regs[7], out)
	}
}

func TestACommissioningIsFollowedToItsEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		w      *workshop
		b      *bench
		typed  string
		refuse string
		out    string
	}{
		{"proven", &workshop{proven: true}, &bench{}, "yes\n", "", "record is signed"},
		{"not proven", &workshop{}, &bench{yes: true}, "", "not proven", "bat1 is NOT commissioned"},
		{"not wanted", &workshop{}, &bench{}, "no\n", "nothing was done", ""},
		{"refused by the agent", &workshop{}, &bench{yes: true, percent: 50}, "", "20 %", ""},
		{"the record", &workshop{}, &bench{show: true}, "", "", "bat1 is commissioned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, _, err := c.w.verb(t, t.Context(), c.typed, c.b, "commission", "bat1")
			if (err == nil) != (c.refuse == "") || err != nil && !strings.Contains(err.Error(), c.refuse) || !strings.Contains(out, c.out) {
				t.Errorf("%v, %q", err, out)
			}
		})
	}
}

func TestCtrlCEndsACommissioningAndWaitsForTheHandBack(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &workshop{onState: cancel}
	_, shown, err := w.verb(t, ctx, "", &bench{yes: true}, "commission", "bat1")
	if err == nil || !strings.Contains(err.Error(), "ended by a person") || !w.cancelled || !strings.Contains(shown, "handed back") {
		t.Errorf("%v, cancelled %v, %q", err, w.cancelled, shown)
	}
}

func TestAWatchShowsDevicesAndRegisters(t *testing.T) {
	w := &workshop{regs: map[uint16]uint16{7: 0xFE0C}}
	if out, _, err := w.verb(t, t.Context(), "", &bench{count: 2}, "watch", "bat1"); err != nil || strings.Count(out, "1.2 kW") != 2 {
		t.Errorf("%v, %q", err, out)
	}
	if out, _, err := w.verb(t, t.Context(), "", &bench{count: 1}, "watch", "bat1", "7"); err != nil || !strings.Contains(out, "-500") {
		t.Errorf("%v, %q", err, out)
	}
	if _, _, err := w.verb(t, t.Context(), "", &bench{count: 1}, "watch", "bat9"); err == nil {
		t.Error("a device that is not there")
	}
}

func TestAddressesOfTheRunningAgentAreLeftAlone(t *testing.T) {
	server := modbustest.New(t)
	w := &workshop{endpoint: server.Addr()}
	out, _, err := w.verb(t, t.Context(), "", &bench{}, "scan", server.Addr())
	if err != nil || !strings.Contains(out, "left alone") {
		t.Errorf("scan: %v, %q", err, out)
	}
	o := &options{out: &bytes.Buffer{}, err: &bytes.Buffer{}, args: []string{"probe"}, address: server.Addr(), socket: w.open(t), unit: 1}
	if err := device(t.Context(), o, &bench{}); err == nil || !strings.Contains(err.Error(), "flexd runs") {
		t.Errorf("probe: %v", err)
	}
	if server.Accepted() != 0 {
		t.Errorf("%d connections", server.Accepted())
	}
}

// A probe that identifies nothing fails, whatever it could say of the device.
func TestAProbeThatIdentifiesNothingFails(t *testing.T) {
	server := modbustest.New(t)
	out := &bytes.Buffer{}
	o := &options{out: out, err: &bytes.Buffer{}, args: []string{"probe"}, address: server.Addr(), socket: filepath.Join(t.TempDir(), "none"), unit: 1}
	if err := device(t.Context(), o, &bench{quick: true}); err == nil || !strings.Contains(err.Error(), "not identified") {
		t.Errorf("probe: %v", err)
	}
	if !strings.Contains(out.String(), "speaks Modbus") {
		t.Errorf("it said %q", out)
	}
	server.Stop()
	began := time.Now()
	err := device(t.Context(), o, &bench{quick: true, timeout: 300 * time.Millisecond})
	if err == nil || strings.Contains(err.Error(), "not answer") || time.Since(began) > 2*time.Second {
		t.Errorf("probe of a closed port: %v after %v", err, time.Since(began))
	}
}
