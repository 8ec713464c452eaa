package modbus

import (
	"errors"
	"fmt"
)

var (
	// ErrUncertain marks a write that may or may not have been applied: read
	// it back, or write the same value again.
	ErrUncertain = errors.New("write may have been applied")
	// ErrNotSent marks a request of which the device saw nothing.
	ErrNotSent = errors.New("not sent")

	// ErrInvalid marks a request that breaks the protocol. It is also ErrNotSent.
	ErrInvalid = fmt.Errorf("%w: invalid request", ErrNotSent)
	// ErrQueueFull marks a request refused because too many wait. It is also ErrNotSent.
	ErrQueueFull = fmt.Errorf("%w: too many requests wait for this endpoint", ErrNotSent)
	// ErrClosed marks a request met or left by the end of Run.
	ErrClosed = errors.New("endpoint is closed")

	// ErrTimeout marks a request without a whole answer in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrProtocol marks an answer that breaks the protocol.
	ErrProtocol = errors.New("answer breaks the protocol")
	// ErrOtherUnit marks an answer that bears another unit than was asked. It
	// is also ErrProtocol.
	ErrOtherUnit = fmt.Errorf("%w: it bears another unit", ErrProtocol)
	// ErrLost marks a connection that ended or failed.
	ErrLost = errors.New("connection lost")
	// ErrOvertaken marks a request that gave way to one of priority Stop.
	ErrOvertaken = errors.New("gave way to a stop")
	// ErrEcho marks a write answered with another value than was written; a
	// device that clamps does that.
	ErrEcho = errors.New("device answered with another value")
)

// Exception codes of the protocol (Modbus Application Protocol V1.1b3, section 7).
const (
	IllegalFunction     byte = 1
	IllegalAddress      byte = 2
	IllegalValue        byte = 3
	DeviceFailure       byte = 4
	Acknowledge         byte = 5
	DeviceBusy          byte = 6
	GatewayNoPath       byte = 10
	GatewayTargetSilent byte = 11
)

// Exception is a device's own refusal. A write refused so was not applied,
// unless the error is ErrUncertain as well.
type Exception struct {
	Func byte // function code of the request, without the error bit
	Code byte
}

func (e *Exception) Error() string {
	return fmt.Sprintf("device answered exception %d (%s) to function %d", e.Code, e.text(), e.Func)
}

func (e *Exception) text() string {
	switch e.Code {
	case IllegalFunction:
		return "function not supported, or not allowed by a setting of the device"
	case IllegalAddress:
		return "no such register"
	case IllegalValue:
		return "value not accepted"
	case DeviceFailure:
		return "device failure"
	case Acknowledge:
		return "accepted, still working"
	case DeviceBusy:
		return "busy"
	case GatewayNoPath:
		return "gateway has no path to the unit"
	case GatewayTargetSilent:
		return "unit behind the gateway does not answer"
	default:
		return "unknown"
	}
}

// busy reports whether the same request may succeed a moment later.
func (e *Exception) busy() bool {
	return e.Code == Acknowledge || e.Code == DeviceBusy
}

// uncertain reports whether a write answered with this exception may still
// have had an effect: 4 is a failure while performing it, 5 means it is being
// worked on, 11 is a gateway that lost the unit's answer.
func (e *Exception) uncertain() bool {
	return e.Code == DeviceFailure || e.Code == Acknowledge || e.Code == GatewayTargetSilent
}
