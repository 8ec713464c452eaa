package drivers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// worded is an endpoint whose errors say what they mean to a person, and what
// else answers on the line.
type worded struct {
	*modbus.Endpoint
	address string
}

// Do carries a request.
func (w worded) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	res, err := w.Endpoint.Do(ctx, r)
	if err == nil {
		return res, nil
	}
	if text := w.text(r.Unit, err); text != "" {
		err = &flex.PlainError{Text: text, Err: err}
	}
	return res, err
}

// text is one line: what, where, what next; empty where the error has nothing
// to do with the device.
func (w worded) text(unit uint8, err error) string {
	switch {
	case errors.Is(err, modbus.ErrTimeout) && !errors.Is(err, modbus.ErrNotSent):
		if others := w.answering(unit); others != "" {
			return fmt.Sprintf("no answer from unit %d; %s on this line: `flexd device scan %s`, with flexd stopped, finds the right one", unit, others, w.host())
		}
		return fmt.Sprintf("no answer from unit %d at %s, which takes the connection: is the unit id right? `flexd device probe --address %s`, with flexd stopped, tries the usual ones", unit, w.address, w.address)
	case gatewayOnly(err):
		return strings.TrimSuffix(fmt.Sprintf("the gateway at %s answers, and unit %d behind it does not: is the device on, and is the unit id right? %s", w.address, unit, w.answering(unit)), " ")
	}
	var refused *modbus.Exception
	if errors.As(err, &refused) {
		return fmt.Sprintf("unit %d at %s %s", unit, w.address, strings.TrimPrefix(refused.Error(), "device "))
	}
	if text := meaning(err); text != "" {
		return w.address + " " + text
	}
	return ""
}

// answering lists the other units that answer.
func (w worded) answering(but uint8) string {
	var ids []uint8
	for _, u := range w.Stats().Units {
		if u.Unit != but && u.Requests > u.Failures && u.RetryAt.IsZero() {
			ids = append(ids, u.Unit)
		}
	}
	switch n := len(ids); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("unit %d answers", ids[0])
	default:
		return fmt.Sprintf("units %s and %d answer", list(ids[:n-1]), ids[n-1])
	}
}

func (w worded) host() string {
	host, _, err := net.SplitHostPort(w.address)
	if err != nil {
		return w.address
	}
	return host
}

// meaning is what a failed question means, and what to look at. "Does not
// answer" is said of silence alone.
func meaning(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refuses the connection: is Modbus/TCP switched on there, and is it the right port?"
	case errors.Is(err, modbus.ErrNotSent) && errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.EHOSTUNREACH):
		return "could not be asked in time: is it switched on and on this network, and is its line free?"
	case gatewayOnly(err):
		return "is a gateway that answers, and the unit behind it does not"
	case errors.Is(err, modbus.ErrOtherUnit):
		return "answers with other units than it is asked for"
	case code(err) != 0:
		return "answers, and refuses the question"
	case errors.Is(err, modbus.ErrTimeout):
		return "takes the connection and does not answer: is the unit id right?"
	case errors.Is(err, modbus.ErrLost):
		return "takes the connection and ends it: does it serve one client, and is another connected?"
	case errors.Is(err, modbus.ErrProtocol):
		return "answers, but not in Modbus/TCP: is it another service, or Modbus RTU over TCP?"
	}
	return ""
}
