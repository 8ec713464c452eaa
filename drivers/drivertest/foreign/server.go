package foreign

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"flexd/drivers/modbus"
)

// Device answers requests as a device does.
type Device interface {
	Do(ctx context.Context, r modbus.Request) (modbus.Response, error)
}

// Server is a foreign stack at work.
type Server struct {
	Addr string // host and port

	wg sync.WaitGroup
	mu sync.Mutex
	d  Device
}

// Serve puts a device behind the stack from now on, in place of the last one.
func (f *Server) Serve(d Device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.d = d
}

// question is a request that the stack has understood.
type question struct {
	Unit   byte     `json:"unit"`
	Fn     byte     `json:"fn"`
	Addr   uint16   `json:"addr"`
	Count  uint16   `json:"count"`
	Values []uint16 `json:"values"`
}

// reply is what the stack is to send: registers, or an exception.
type reply struct {
	Words []uint16 `json:"words,omitempty"`
	Code  byte     `json:"code,omitempty"`
}

// patience is what a device may take for an answer.
const patience = 10 * time.Second

// answer has the device answer the stack until the stack ends.
func (f *Server) answer(questions io.Reader, answers io.WriteCloser) {
	defer answers.Close()
	in, out := json.NewDecoder(questions), json.NewEncoder(answers)
	for {
		var q question
		if in.Decode(&q) != nil || out.Encode(f.ask(q)) != nil {
			return
		}
	}
}

func (f *Server) ask(q question) reply {
	f.mu.Lock()
	d := f.d
	f.mu.Unlock()
	if d == nil {
		return reply{Code: modbus.GatewayTargetSilent}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := d.Do(ctx, modbus.Request{Unit: q.Unit, Func: q.Fn, Addr: q.Addr, Count: q.Count, Values: q.Values})
	if refusal := (*modbus.Exception)(nil); errors.As(err, &refusal) {
		return reply{Code: refusal.Code}
	}
	if err != nil {
		return reply{Code: modbus.DeviceFailure}
	}
	return reply{Words: r.Words}
}
