package flex

import (
	"errors"
	"fmt"
	"time"
)

// Refusal is the other side's fault, final, with a machine-readable reason.
// Text says in one sentence what was wrong and where.
type Refusal struct {
	Reason Reason `json:"reason"`
	Text   string `json:"text"`
}

// Error makes a refusal an error.
func (r *Refusal) Error() string { return fmt.Sprintf("refused (%s): %s", r.Reason, r.Text) }

// Refuse builds a refusal.
func Refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Text: fmt.Sprintf(format, args...)}
}

// RefusalOf finds the refusal in an error chain.
func RefusalOf(err error) (*Refusal, bool) {
	var r *Refusal
	ok := errors.As(err, &r)
	return r, ok
}

// RetryError is temporary: the same call may succeed after After.
type RetryError struct {
	After time.Duration
	Err   error
}

// Error names the cause and the wait.
func (e *RetryError) Error() string { return fmt.Sprintf("%v (try again in %v)", e.Err, e.After) }

// Unwrap gives the cause.
func (e *RetryError) Unwrap() error { return e.Err }

// ErrUncertain marks a write that may or may not have been applied: read
// back and decide, never repeat blindly and never assume.
var ErrUncertain = errors.New("the write may have been applied")

// ErrNothingThere tells that the market knows nothing at the address asked.
var ErrNothingThere = errors.New("the market has nothing there")

// ErrNotSent marks a write of which no byte left this machine.
var ErrNotSent = errors.New("the write was not sent")

// ErrUnsupported marks an order that the device cannot carry out; it is
// refused, never approximated.
var ErrUnsupported = errors.New("the device does not support this")

// PlainError says in one line for a person what its cause says for a technician.
type PlainError struct {
	Text string // what, where, what next
	Err  error
}

// Error is the whole chain.
func (e *PlainError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *PlainError) Unwrap() error { return e.Err }

// Plain is an error in one line for a person: the plainest word in its chain,
// else the error itself.
func Plain(err error) string {
	if err == nil {
		return ""
	}
	var p *PlainError
	if errors.As(err, &p) {
		return p.Text
	}
	return err.Error()
}

// Plainly puts the same words before an error and before what it says to a person.
func Plainly(err error, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return &PlainError{Text: text + ": " + Plain(err), Err: fmt.Errorf("%s: %w", text, err)}
}
