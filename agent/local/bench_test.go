package local

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"flexd/agent/flex"
)

// technician is a bench that can do everything.
type technician struct {
	site
	wrote WriteOrder
	by    string
	order CommissionOrder
	ended bool
}

func (t *technician) WriteRegisters(_ context.Context, id flex.DeviceID, o WriteOrder, by string) (Written, error) {
	t.wrote, t.by = o, by
	return Written{Device: id, Old: o.Expect, New: o.Values, Now: o.Values}, nil
}
func (t *technician) UndoWrite(_ context.Context, id flex.DeviceID, _ string) (Written, error) {
	return Written{}, flex.Refuse(flex.ReasonNotOurs, "nothing was written to %s", id)
}
func (t *technician) Resume(_ context.Context, _ flex.DeviceID, by string) error {
	t.by = by
	return nil
}
func (t *technician) Commission(_ context.Context, _ flex.DeviceID, o CommissionOrder, _ string) error {
	t.order = o
	return nil
}
func (t *technician) Commissioning(_ context.Context, id flex.DeviceID) (Commissioning, error) {
	return Commissioning{Device: id, Phase: "running"}, nil
}
func (t *technician) CancelCommissioning(context.Context, flex.DeviceID, string) error {
	t.ended = true
	return nil
}
func (t *technician) CommissioningRecord(_ context.Context, id flex.DeviceID) (Commissioning, error) {
	return Commissioning{Device: id, Proven: true, Record: []byte(`{"a":1}`)}, nil
}

func TestATechnicianWritesAndCommissionsThroughTheSocket(t *testing.T) {
	bench := &technician{}
	c := serveBench(t, bench)
	ctx := t.Context()
	if w, err := c.WriteRegisters(ctx, "bat 1/x", WriteOrder{Func: 6, Addr: 7, Values: []uint16{5}, Expect: []uint16{4}}); err != nil || w.Device != "bat 1/x" || w.Old[0] != 4 || bench.by == "" {
		t.Errorf("%+v, %v, by %q", w, err, bench.by)
	}
	var refused *RefusedError
	if _, err := c.UndoWrite(ctx, "bat1"); !errors.As(err, &refused) {
		t.Errorf("a refusal became %v", err)
	}
	if bench.by = ""; c.Resume(ctx, "bat1") != nil || bench.by == "" {
		t.Errorf("resumed by %q", bench.by)
	}
	if _, err := c.WriteRegisters(ctx, "bat1", WriteOrder{Values: []uint16{5}, Expect: []uint16{4, 4}}); err == nil {
		t.Error("two values expected for one")
	}
	if err := c.Commission(ctx, "bat1", CommissionOrder{Percent: 4, Revert: true}); err != nil || bench.order.Percent != 4 || !bench.order.Revert {
		t.Errorf("%+v, %v", bench.order, err)
	}
	if err := c.Commission(ctx, "bat1", CommissionOrder{Seconds: -1}); err == nil {
		t.Error("a negative time")
	}
	if st, err := c.Commissioning(ctx, "bat1"); err != nil || st.Phase != "running" {
		t.Errorf("%+v, %v", st, err)
	}
	if err := c.CancelCommissioning(ctx, "bat1"); err != nil || !bench.ended {
		t.Error(err)
	}
	if rec, err := c.CommissioningRecord(ctx, "bat1"); err != nil || !rec.Proven || string(rec.Record) != `{"a":1}` {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestWhoMayOnlyLookNeitherWritesNorCommissions(t *testing.T) {
	bench := &technician{}
	h := NewSocket("", Parts{Source: bench, Bench: bench}, quietLog()).Handler()
	for _, rt := range benchRoutes {
		method, path, _ := strings.Cut(strings.ReplaceAll(rt.pattern, "{id}", "bat1"), " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader("{}")))
		if want := map[right]int{act: http.StatusForbidden, read: http.StatusOK}[rt.right]; w.Code != want {
			t.Errorf("%s: %d, want %d", rt.pattern, w.Code, want)
		}
	}
}

func TestABenchThatOnlyLooksSaysSo(t *testing.T) {
	c := serveBench(t, &site{})
	var refused *RefusedError
	if err := c.Commission(t.Context(), "bat1", CommissionOrder{}); !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serveBench runs a socket with this bench until the test ends.
func serveBench(t *testing.T, b Bench) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flexd.sock")
	s := NewSocket(path, Parts{Source: &site{}, Bench: b}, quietLog())
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
	return Dial(path)
}
