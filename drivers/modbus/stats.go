package modbus

import (
	"errors"
	"time"
)

// Stats counts what happened on an endpoint since it was made.
type Stats struct {
	Connected bool
	Queued    int // requests that wait now

	Requests   uint64 // requests done, whatever came of them
	Exceptions uint64 // refused by the device
	Timeouts   uint64 // without an answer in time
	Protocol   uint64 // answers that broke the protocol
	Lost       uint64 // connections lost under a request
	Overtaken  uint64 // gave way to a stop
	Uncertain  uint64 // writes whose outcome is unknown
	NotSent    uint64 // requests the device saw nothing of

	Connects        uint64 // connections made; the first one counts
	ConnectFailures uint64
	Late            uint64 // answers skipped because their request was given up
	BusyRepeats     uint64 // requests repeated after exception 5 or 6

	Latency     time.Duration // moving average of answered requests, gaps not counted
	PeakLatency time.Duration // slowly forgotten maximum of the same

	// Breaks counts what may have left a request on its way to the device: a
	// write without its answer, and a connection that ended, or was cut, under
	// a request. As long as it stands still, whatever was sent was answered.
	Breaks  uint64
	BrokeAt time.Time // the last of them

	LastError   string
	LastErrorAt time.Time

	Units []UnitStats // in order of their ids
}

// count files the outcome of one request.
func (s *Stats) count(err error) {
	s.Requests++
	if err == nil {
		return
	}
	var exception *Exception
	for _, kind := range []struct {
		is      bool
		counter *uint64
	}{
		{errors.As(err, &exception), &s.Exceptions},
		{errors.Is(err, ErrTimeout), &s.Timeouts},
		{errors.Is(err, ErrProtocol), &s.Protocol},
		{errors.Is(err, ErrLost), &s.Lost},
		{errors.Is(err, ErrOvertaken), &s.Overtaken},
		{errors.Is(err, ErrUncertain), &s.Uncertain},
		{errors.Is(err, ErrNotSent), &s.NotSent},
	} {
		if kind.is {
			*kind.counter++
		}
	}
	s.note(err)
}

func (s *Stats) note(err error) {
	s.LastError, s.LastErrorAt = err.Error(), time.Now()
}

// latencyWeight is the share, one in so many, of a new value in the average
// and of forgetting in the peak.
const latencyWeight = 8

func (s *Stats) measured(d time.Duration) {
	if s.Latency == 0 {
		s.Latency = d
	}
	s.Latency += (d - s.Latency) / latencyWeight
	if d >= s.PeakLatency {
		s.PeakLatency = d
	} else {
		s.PeakLatency -= (s.PeakLatency - d) / latencyWeight
	}
}
