package clock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"flexd/agent/health"
)

// The pace of asking: a little more than a minute while there is something to
// find out, up to 17 minutes with jitter while all is well.
const (
	paceFirst  = 64 * time.Second
	paceLast   = 15 * time.Minute
	paceDark   = 4 * time.Minute // while nobody answers
	jitter     = 8               // an eighth on top
	kissFirst  = 17 * time.Minute
	kissLast   = 24 * time.Hour
	quietAfter = 3 // rounds without an agreement, before it is told
)

// ntpPort is where servers are asked unless the configuration says otherwise.
const ntpPort = "123"

// Codes of the alarms that this room raises.
const (
	CodeOffset  = "clock_offset"
	CodeServers = "clock_servers"
	CodeWrong   = "clock_wrong"
)

// Items declares the alarms that this room raises.
func Items() []health.Item {
	return []health.Item{
		{Code: CodeOffset, Severity: health.Warning, Title: "The clock differs from the time servers"},
		{Code: CodeServers, Severity: health.Warning, Title: "The time servers do not agree, or do not answer"},
		{Code: CodeWrong, Severity: health.Alarm, Title: "The clock is wrong"},
	}
}

// Health takes alarms.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}

// ServerStatus is one listed server as people see it.
type ServerStatus struct {
	Name     string    `json:"name"`
	AskedAt  time.Time `json:"asked_at,omitzero"`
	OffsetMS *int64    `json:"offset_ms,omitempty"` // as State.OffsetMS, when it was asked
	DelayMS  int64     `json:"delay_ms,omitempty"`  // there and back
	Stratum  int       `json:"stratum,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// Servers asks the listed time servers and tells the wall clock what a
// majority of them agrees on. It is the task "time-servers"; one Run at a time.
type Servers struct {
	wall   *Wall
	health Health
	log    *slog.Logger
	list   []*server
	pace   time.Duration
	dark   int // rounds in a row without an agreement

	mu     sync.Mutex
	status []ServerStatus
}

// server is one listed server.
type server struct {
	name, addr string
	after      time.Time     // not asked before, by its own order
	wait       time.Duration // of its last such order
}

// NewServers builds the task; nothing is asked before Run. Names are hosts or
// host:port.
func NewServers(names []string, wall *Wall, h Health, log *slog.Logger) *Servers {
	s := &Servers{wall: wall, health: h, log: log, pace: paceFirst}
	for _, name := range names {
		addr := name
		if _, _, err := net.SplitHostPort(name); err != nil {
			addr = net.JoinHostPort(strings.Trim(name, "[]"), ntpPort)
		}
		s.list = append(s.list, &server{name: name, addr: addr})
		s.status = append(s.status, ServerStatus{Name: name})
	}
	return s
}

// Status is every listed server, in the order of the list.
func (s *Servers) Status() []ServerStatus {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]ServerStatus(nil), s.status...)
}

// Run asks until ctx ends.
func (s *Servers) Run(ctx context.Context) error {
	for wait := time.Duration(0); ; wait = s.pace + rand.N(s.pace/jitter) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		s.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// round asks every server that may be asked, at once, and judges.
func (s *Servers) round(ctx context.Context) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var heard []said
	asked := 0
	for i, one := range s.list {
		if time.Now().Before(one.after) {
			continue
		}
		asked++
		wg.Go(func() {
			got, err := ask(ctx, one.name, one.addr, func() (time.Time, time.Duration) { st := s.wall.read(); return st.At, st.Since })
			s.note(i, got, err)
			if err == nil {
				mu.Lock()
				heard = append(heard, got)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		s.judge(heard, asked)
	}
}

// note keeps one answer for people, and heeds an order to ask less.
func (s *Servers) note(i int, got said, err error) {
	now := s.wall.read()
	st := ServerStatus{Name: s.list[i].name, AskedAt: now.At}
	if err != nil {
		st.Error = err.Error()
	} else {
		ms := got.zero.Add(now.Since).Sub(now.At.Round(0)).Milliseconds()
		st.OffsetMS, st.DelayMS, st.Stratum = &ms, got.delay.Milliseconds(), got.stratum
	}
	one := s.list[i]
	var k kiss
	switch {
	case err == nil:
		one.wait = 0
	case errors.As(err, &k) && k == "RATE":
		one.wait = min(max(2*one.wait, kissFirst), kissLast)
		one.after = time.Now().Add(one.wait)
	case errors.As(err, &k) && (k == "DENY" || k == "RSTR"):
		one.after = time.Now().Add(kissLast)
	}
	s.mu.Lock()
	s.status[i] = st
	s.mu.Unlock()
}

// judge tells the wall clock what the servers agree on, and people what to do.
func (s *Servers) judge(heard []said, asked int) {
	zero, by, ok := agree(heard, len(s.list))
	if !ok {
		s.dark++
		s.pace = min(2*s.pace, paceDark)
		if s.dark >= quietAfter {
			s.health.Raise(CodeServers, "", fmt.Sprintf("more than half of the %d listed time servers must agree within %v: see `flexd status`", len(s.list), agreeWithin))
		}
		s.log.Debug("the time servers do not agree", "listed", len(s.list), "asked", asked, "answered", len(heard))
		return
	}
	s.dark = 0
	s.health.Clear(CodeServers, "")
	s.wall.prove(zero, by)
	now := s.wall.read()
	off := zero.Add(now.Since).Sub(now.At.Round(0))
	if off.Abs() <= rightBy {
		s.pace = min(2*s.pace, paceLast)
		s.health.Clear(CodeOffset, "")
		return
	}
	s.pace = paceFirst
	s.health.Raise(CodeOffset, "", fmt.Sprintf("the clock is %s; beyond %v it is not trusted", offsetText(off, by), wrongBy))
}
