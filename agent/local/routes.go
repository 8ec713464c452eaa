package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"flexd/agent/flex"
	"flexd/agent/shown"
)

// right is what a caller must be allowed to do.
type right int

const (
	read right = iota // see
	act               // change something, or put traffic on a device
)

// route is one thing the socket offers. Nothing is reachable without a
// declared right.
type route struct {
	pattern string
	right   right
	serve   func(s *Socket, r *http.Request, by string) (any, error)
}

var routes = []route{
	{"GET /v1/status", read, (*Socket).status},
	{"GET /v1/obligations", read, (*Socket).obligations},
	{"GET /v1/instructions", read, (*Socket).instructions},
	{"GET /v1/instructions/{id}", read, (*Socket).detail},
	{"GET /v1/why/{id}", read, (*Socket).why},
	{"GET /v1/intervals/{id}", read, (*Socket).intervals},
	{"GET /v1/baselines/{id}", read, (*Socket).baseline},
	{"POST /v1/baselines/{id}", act, (*Socket).nominate},
	{"POST /v1/baselines/{id}/clear", act, (*Socket).unnominate},
	{"GET /v1/preflight", read, (*Socket).preflight},
	{"POST /v1/hold", act, (*Socket).hold},
	{"POST /v1/release", act, (*Socket).release},
	{"POST /v1/stop", act, (*Socket).stop},
	{"POST /v1/drill", act, (*Socket).drill},
	{"POST /v1/answer", act, (*Socket).answer},
	{"GET /v1/unavailable", read, (*Socket).unavailable},
	{"POST /v1/unavailable", act, (*Socket).declare},
	{"POST /v1/unavailable/{id}/withdraw", act, (*Socket).withdraw},
	{"POST /v1/market/subscriptions", act, (*Socket).subscriptions}, // asks the market with the account's token
	{"POST /v1/market/subscribe", act, (*Socket).subscribe},
	{"POST /v1/market/unsubscribe", act, (*Socket).unsubscribe},
	{"POST /v1/devices/{id}/probe", act, (*Socket).probe},
	{"POST /v1/devices/{id}/registers", act, (*Socket).registers},
}

// Failure is the body of every answer that is not 200.
type Failure struct {
	Error  string      `json:"error"` // one line for a person
	Reason flex.Reason `json:"reason,omitempty"`
	Detail string      `json:"detail,omitempty"` // the whole chain, where it says more
}

// errUsage marks a request that is wrong in itself.
var errUsage = errors.New("bad request")

// code maps an error to a status: usage 400, refusal 409, else 500.
func code(err error) int {
	if errors.Is(err, errUsage) {
		return http.StatusBadRequest
	}
	if _, refused := flex.RefusalOf(err); refused {
		return http.StatusConflict
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := shown.Marshal(v)
	if err != nil {
		body, status = []byte(`{"error":"the answer cannot be encoded"}`), http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the caller went away: nothing to do
}

func writeError(w http.ResponseWriter, status int, err error) {
	f := Failure{Error: flex.Plain(err)}
	if chain := err.Error(); chain != f.Error {
		f.Detail = chain
	}
	if r, ok := flex.RefusalOf(err); ok {
		f.Reason = r.Reason
	}
	writeJSON(w, status, f)
}

// body decodes a small JSON request.
func body[T any](r *http.Request) (T, error) {
	var v T
	dec := json.NewDecoder(io.LimitReader(r.Body, 1<<16))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %v", errUsage, err)
	}
	return v, nil
}

// limit reads a bounded whole number from the query.
func limit(r *http.Request, key string, def, most int) (int, error) {
	s := r.URL.Query().Get(key)
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%w: %s=%q is not a number from 0 to %d", errUsage, key, s, most)
	}
	return n, nil
}

func (s *Socket) status(r *http.Request, _ string) (any, error) {
	return s.parts.Source.Status(r.Context())
}

func (s *Socket) obligations(r *http.Request, _ string) (any, error) {
	ahead := 14 * 24 * time.Hour
	if q := r.URL.Query().Get("ahead"); q != "" {
		d, err := time.ParseDuration(q)
		if err != nil || d < 0 || d > 400*24*time.Hour {
			return nil, fmt.Errorf("%w: ahead=%q is not a duration up to 9600h", errUsage, q)
		}
		ahead = d
	}
	return s.parts.Source.Obligations(r.Context(), ahead)
}

func (s *Socket) instructions(r *http.Request, _ string) (any, error) {
	n, err := limit(r, "limit", 50, 10_000)
	if err != nil {
		return nil, err
	}
	return s.parts.Source.Instructions(r.Context(), n)
}

func (s *Socket) detail(r *http.Request, _ string) (any, error) {
	return s.parts.Source.Detail(r.Context(), flex.InstructionID(r.PathValue("id")))
}

// Order is the body of hold, release and stop.
type Order struct {
	Asset  flex.AssetID       `json:"asset,omitempty"`
	ID     flex.InstructionID `json:"id,omitempty"`
	Reason string             `json:"reason,omitempty"`
}

// done is the answer to an order.
type done struct {
	Done bool `json:"done"`
}

func (s *Socket) hold(r *http.Request, by string) (any, error) {
	o, err := body[Order](r)
	if err != nil {
		return nil, err
	}
	return done{true}, s.parts.Actor.Hold(r.Context(), o.Asset, by, o.Reason)
}

func (s *Socket) release(r *http.Request, by string) (any, error) {
	o, err := body[Order](r)
	if err != nil {
		return nil, err
	}
	return done{true}, s.parts.Actor.Lift(r.Context(), o.Asset, by)
}

func (s *Socket) stop(r *http.Request, by string) (any, error) {
	o, err := body[Order](r)
	if err != nil {
		return nil, err
	}
	if o.ID == "" {
		return nil, fmt.Errorf("%w: no instruction id", errUsage)
	}
	return done{true}, s.parts.Actor.Stop(r.Context(), o.ID, by)
}

func (s *Socket) probe(r *http.Request, _ string) (any, error) {
	return s.parts.Bench.Probe(r.Context(), flex.DeviceID(r.PathValue("id")))
}

func (s *Socket) registers(r *http.Request, _ string) (any, error) {
	fn, err := limit(r, "fn", 3, 4)
	if err != nil {
		return nil, err
	}
	addr, err := limit(r, "addr", 0, 65535)
	if err != nil {
		return nil, err
	}
	count, err := limit(r, "count", 1, 125)
	if err != nil {
		return nil, err
	}
	return s.parts.Bench.Registers(r.Context(), flex.DeviceID(r.PathValue("id")), byte(fn), uint16(addr), uint16(count))
}
