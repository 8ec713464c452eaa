package fleet

import (
	"math/rand/v2"
	"time"
)

// limits are the times and sizes of a session. Tests shorten the times.
type limits struct {
	connect   time.Duration // TCP, TLS and CONNACK together
	write     time.Duration // one packet to the socket
	token     time.Duration // one acknowledgement of the broker
	farewell  time.Duration // offline state and DISCONNECT
	keepAlive time.Duration // least; up to half as much is added at random
	poll      time.Duration // look at the outbox without being woken
	state     time.Duration // look at State
	birth     time.Duration // look at Birth
	refresh   time.Duration // publish the state though it is the same
	stall     time.Duration // rows are out and the backend acknowledges none
	contest   time.Duration // a connection that held this long was not taken away
	clean     time.Duration // a connection that held this long resets the back-off
	pauseMin  time.Duration
	pauseMax  time.Duration
	again     time.Duration // first wait before an envelope is tried again
	againMax  time.Duration
	patience  time.Duration // an envelope that cannot be judged is given up
}

func defaults() limits {
	return limits{
		connect: 15 * time.Second, write: 5 * time.Second, token: 30 * time.Second, farewell: 2 * time.Second,
		keepAlive: 40 * time.Second, poll: 500 * time.Millisecond, state: time.Second, birth: 5 * time.Second,
		refresh: 5 * time.Minute, stall: time.Hour, contest: 5 * time.Minute, clean: 30 * time.Second, pauseMin: time.Second, pauseMax: 2 * time.Minute,
		again: time.Second, againMax: 30 * time.Second, patience: 2 * time.Minute,
	}
}

// pause is full jitter: anything between nothing and a ceiling that doubles
// with each failure. A fleet that lost its broker at one instant comes back
// spread over the whole ceiling.
func (l limits) pause(failures int) time.Duration {
	ceiling := l.pauseMin
	for i := 0; i < failures && ceiling < l.pauseMax; i++ {
		ceiling *= 2
	}
	return rand.N(min(ceiling, l.pauseMax)) + 1
}

func (l limits) keepAliveNow() time.Duration { return l.keepAlive + rand.N(l.keepAlive/2+1) }

// Sizes. The payload limit is what the documented broker settings accept. A
// site with a relay door takes larger packets: an envelope with a body of
// 1 MiB and its topic.
const (
	window       = 16        // publishes without PUBACK
	laneMax      = 512       // rows published and not yet freed, per stream
	seriesMax    = 1 << 16   // the same of telemetry, whose newest come first: a cumulative word may come with the oldest
	maxPayload   = 256 << 10 // one message up
	maxPacket    = 256 << 10 // one packet down, as received
	maxEnvelope  = 2<<20 + 1<<10
	maxRequest   = 64 << 10 // one request down, as handled
	requestQueue = 64       // requests waiting for the worker
	answerRate   = 10       // answers a second
)
