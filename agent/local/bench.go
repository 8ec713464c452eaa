package local

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"flexd/agent/flex"
)

// Technician is what a Bench may be able to do besides looking: write by hand
// and commission. A Bench that implements it is asked for it.
type Technician interface {
	// WriteRegisters writes by hand, when nothing stands against it.
	WriteRegisters(ctx context.Context, id flex.DeviceID, o WriteOrder, by string) (Written, error)
	// UndoWrite takes the latest write by hand back.
	UndoWrite(ctx context.Context, id flex.DeviceID, by string) (Written, error)
	// Resume lets a device be controlled again that did the contrary of what it
	// was told.
	Resume(ctx context.Context, id flex.DeviceID, by string) error
	// Commission begins to try a device; Commissioning tells how it goes, and
	// has to be asked meanwhile: the run ends when nobody does.
	Commission(ctx context.Context, id flex.DeviceID, o CommissionOrder, by string) error
	Commissioning(ctx context.Context, id flex.DeviceID) (Commissioning, error)
	CancelCommissioning(ctx context.Context, id flex.DeviceID, by string) error
	// CommissioningRecord is the stored record, its signature verified.
	CommissioningRecord(ctx context.Context, id flex.DeviceID) (Commissioning, error)
}

// WriteOrder is the body of a write by hand.
type WriteOrder struct {
	Func   int      `json:"fn"` // 6 or 16
	Addr   uint16   `json:"addr"`
	Values []uint16 `json:"values"`
	// Expect is what the person was shown as old: the write is refused when
	// something else stands there by now.
	Expect []uint16 `json:"expect,omitempty"`
}

// Written is what a write by hand found and left.
type Written struct {
	Device flex.DeviceID `json:"device"`
	At     time.Time     `json:"at"`
	Func   int           `json:"fn"`
	Addr   uint16        `json:"addr"`
	Old    []uint16      `json:"old"`
	New    []uint16      `json:"new"`
	Now    []uint16      `json:"now"`
}

// CommissionOrder is a person's consent to try a device; zeros are defaults.
type CommissionOrder struct {
	Percent int  `json:"percent,omitempty"` // of the rating
	Seconds int  `json:"seconds,omitempty"` // of each nudge
	Revert  bool `json:"revert,omitempty"`  // wait for the fall-back
}

// Commissioning is how a commissioning goes, or what came of it.
type Commissioning struct {
	Device flex.DeviceID   `json:"device"`
	Phase  string          `json:"phase"` // none, running, done, failed
	Step   string          `json:"step,omitempty"`
	Text   string          `json:"text,omitempty"`
	Lines  []string        `json:"lines,omitempty"`
	Error  string          `json:"error,omitempty"`
	Proven bool            `json:"proven,omitempty"`
	Record json.RawMessage `json:"record,omitempty"` // with its signature
}

// benchRoutes are the technician's.
var benchRoutes = []route{
	{"POST /v1/devices/{id}/write", act, (*Socket).writeRegisters},
	{"POST /v1/devices/{id}/undo", act, (*Socket).undoWrite},
	{"POST /v1/devices/{id}/resume", act, (*Socket).resume},
	{"POST /v1/devices/{id}/commission", act, (*Socket).commission},
	{"POST /v1/devices/{id}/commission/state", act, (*Socket).commissioning}, // keeps the run alive: no mere look
	{"POST /v1/devices/{id}/commission/cancel", act, (*Socket).cancelCommissioning},
	{"GET /v1/devices/{id}/commission", read, (*Socket).commissioningRecord},
}

// technician is the bench, when it can do more than look.
func (s *Socket) technician() (Technician, error) {
	if t, ok := s.parts.Bench.(Technician); ok {
		return t, nil
	}
	return nil, flex.Refuse(flex.ReasonUnsupported, "this agent offers neither writing nor commissioning")
}

// device is the id in the path.
func device(r *http.Request) flex.DeviceID { return flex.DeviceID(r.PathValue("id")) }

func (s *Socket) writeRegisters(r *http.Request, by string) (any, error) {
	o, err := body[WriteOrder](r)
	if err != nil {
		return nil, err
	}
	if len(o.Expect) > 0 && len(o.Expect) != len(o.Values) {
		return nil, fmt.Errorf("%w: %d values expected for %d to write", errUsage, len(o.Expect), len(o.Values))
	}
	t, err := s.technician()
	if err != nil {
		return nil, err
	}
	return t.WriteRegisters(r.Context(), device(r), o, by)
}

func (s *Socket) undoWrite(r *http.Request, by string) (any, error) {
	t, err := s.technician()
	if err != nil {
		return nil, err
	}
	return t.UndoWrite(r.Context(), device(r), by)
}

func (s *Socket) resume(r *http.Request, by string) (any, error) {
	t, err := s.technician()
	if err != nil {
		return nil, err
	}
	return struct{}{}, t.Resume(r.Context(), device(r), by)
}

// Bounds of a consent; the room that carries it out has its own.
const (
	maxPercent = 100
	maxSeconds = 3600
)

func (s *Socket) commission(r *http.Request, by string) (any, error) {
	o, err := body[CommissionOrder](r)
	if err != nil {
		return nil, err
	}
	if o.Percent < 0 || o.Percent > maxPercent || o.Seconds < 0 || o.Seconds > maxSeconds {
		return nil, fmt.Errorf("%w: %d %% for %d s", errUsage, o.Percent, o.Seconds)
	}
	t, err := s.technician()
	if err != nil {
		return nil, err
	}
	return done{true}, t.Commission(r.Context(), device(r), o, by)
}

func (s *Socket) commissioning(r *http.Request, _ string) (any, error) {
	t, err := s.technician()
	if err != nil {
		return nil, err
	}
	return t.Commissioning(r.Context(), device(r))
}

func (s *Socket) cancelCommissioning(r *http.Request, by string) (any, error) {
	t, err := s.technician()
	if err != nil {
		return nil, err
	}
	return done{true}, t.CancelCommissioning(r.Context(), device(r), by)
}

func (s *Socket) commissioningRecord(r *http.Request, _ string) (any, error) {
	t, err := s.technician()
	if err != nil {
		return nil, err
	}
	return t.CommissioningRecord(r.Context(), device(r))
}

func devicePath(id flex.DeviceID, verb string) string {
	return "/v1/devices/" + url.PathEscape(string(id)) + "/" + verb
}

// WriteRegisters writes registers of a device by hand.
func (c *Client) WriteRegisters(ctx context.Context, id flex.DeviceID, o WriteOrder) (out Written, err error) {
	return out, c.Post(ctx, devicePath(id, "write"), o, &out)
}

// UndoWrite takes the latest write by hand back.
func (c *Client) UndoWrite(ctx context.Context, id flex.DeviceID) (out Written, err error) {
	return out, c.Post(ctx, devicePath(id, "undo"), struct{}{}, &out)
}

// Resume lets a device be controlled again.
func (c *Client) Resume(ctx context.Context, id flex.DeviceID) error {
	return c.Post(ctx, devicePath(id, "resume"), struct{}{}, nil)
}

// Commission begins to try a device.
func (c *Client) Commission(ctx context.Context, id flex.DeviceID, o CommissionOrder) error {
	return c.Post(ctx, devicePath(id, "commission"), o, nil)
}

// Commissioning asks how it goes, and keeps it going.
func (c *Client) Commissioning(ctx context.Context, id flex.DeviceID) (out Commissioning, err error) {
	return out, c.Post(ctx, devicePath(id, "commission/state"), struct{}{}, &out)
}

// CancelCommissioning ends it; the device is handed back.
func (c *Client) CancelCommissioning(ctx context.Context, id flex.DeviceID) error {
	return c.Post(ctx, devicePath(id, "commission/cancel"), struct{}{}, nil)
}

// CommissioningRecord asks for the stored record.
func (c *Client) CommissioningRecord(ctx context.Context, id flex.DeviceID) (out Commissioning, err error) {
	return out, c.Get(ctx, devicePath(id, "commission"), &out)
}
