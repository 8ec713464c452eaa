package modbus

import "time"

// Quirks is what one device's endpoint needs to be treated with. A zero field
// means the default; a negative duration or number means none.
type Quirks struct {
	Timeout      time.Duration // for one answer, and for one dial; default 2 s
	ConnectDelay time.Duration // to settle after a connect; default none
	Gap          time.Duration // between an answer and the next request; default 50 ms
	UnitGap      time.Duration // the same where the unit changes, if longer than Gap; default none
	IdleClose    time.Duration // close the socket after so long without a request; default never
	MaxRead      int           // registers in one read; default and most 125
	MaxWrite     int           // registers in one write; default and most 123
	BusyRetries  int           // repeats after exception 5 or 6; default 3
	BackoffMin   time.Duration // first pause after a failed connect; default 0.2 s
	BackoffMax   time.Duration // longest such pause; default 30 s
}

const (
	defaultTimeout     = 2 * time.Second
	defaultGap         = 50 * time.Millisecond
	defaultBusyRetries = 3
	defaultBackoffMin  = 200 * time.Millisecond
	defaultBackoffMax  = 30 * time.Second
)

// Defaults are the quirks of an ordinary device.
func Defaults() Quirks { return Quirks{}.withDefaults() }

// withDefaults fills what is zero and bounds what the protocol bounds. A
// timeout of none would hang for ever, so that is the default too.
func (q Quirks) withDefaults() Quirks {
	if q.Timeout <= 0 {
		q.Timeout = defaultTimeout
	}
	q.Gap = durationOr(q.Gap, defaultGap)
	q.ConnectDelay = max(q.ConnectDelay, 0)
	q.UnitGap = max(q.UnitGap, 0)
	q.IdleClose = max(q.IdleClose, 0)
	q.BackoffMin = durationOr(q.BackoffMin, defaultBackoffMin)
	q.BackoffMax = max(durationOr(q.BackoffMax, defaultBackoffMax), q.BackoffMin)
	if q.MaxRead <= 0 || q.MaxRead > protocolMaxRead {
		q.MaxRead = protocolMaxRead
	}
	if q.MaxWrite <= 0 || q.MaxWrite > protocolMaxWrite {
		q.MaxWrite = protocolMaxWrite
	}
	if q.BusyRetries == 0 {
		q.BusyRetries = defaultBusyRetries
	}
	q.BusyRetries = max(q.BusyRetries, 0)
	return q
}

func durationOr(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return max(d, 0)
}
