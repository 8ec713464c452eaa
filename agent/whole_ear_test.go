package agent_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
)

// heardBaseline is a baseline as the fleet hears it.
type heardBaseline struct {
	flex.Baseline
	StepSeconds int `json:"step_s"`
}

func (b heardBaseline) at(t time.Time) flex.Watts {
	b.Step = time.Duration(b.StepSeconds) * time.Second
	return b.At(t)
}

// heard is a message as the fleet's own side sees it.
type heard struct {
	Topic        string
	At           time.Time // heard
	ID           string    `json:"id"`
	Stream       string    `json:"stream"`
	Seq          uint64    `json:"seq"`
	Session      uint64    `json:"session"`
	Schema       string    `json:"schema"`
	State        string    `json:"state"`
	Notification string    `json:"notification"`
	Instruction  string    `json:"instruction"`
	Revision     int64     `json:"revision"`
	Conditions   []string  `json:"conditions"`
	Reason       string    `json:"reason"`
	FactAt       time.Time `json:"fact_at"`
	Code         string    `json:"code"`
	Raised       bool      `json:"raised"`
	Test         bool      `json:"test"`
	Shares       []struct {
		Asset string `json:"asset"`
		Power int64  `json:"power"`
	} `json:"shares"`
	Baselines   []heardBaseline `json:"baselines"`
	History     []flex.Spell    `json:"history"`
	ReleaseLate *flex.Seconds   `json:"release_late_s"`
	Energy      []flex.Energy   `json:"energy"`
}

// ear keeps every message of a broker in the order of their arrival, by the
// last word of its topic. Tests ask it often while many messages come, so what
// they ask for is at hand.
type ear struct {
	mu     sync.Mutex
	topics map[string]*heardTopic
}

// heardTopic is one topic. The transport promises at least once: once and
// ladders are without what was sent again, by id.
type heardTopic struct {
	all, once []heard
	ids       map[string]bool
	ladders   map[string][]string // states of each instruction
}

func (e *ear) hear(topic string, payload []byte) {
	h := heard{Topic: topic, At: time.Now()}
	if err := json.Unmarshal(payload, &h); err != nil {
		h.State = "UNREADABLE " + err.Error()
	}
	_, last, _ := strings.Cut(topic, "/up/")
	e.mu.Lock()
	defer e.mu.Unlock()
	on := e.topics[last]
	if on == nil {
		on = &heardTopic{ids: map[string]bool{}, ladders: map[string][]string{}}
		if e.topics == nil {
			e.topics = map[string]*heardTopic{}
		}
		e.topics[last] = on
	}
	on.all = append(on.all, h)
	if !on.ids[h.ID] {
		on.ids[h.ID] = true
		on.once = append(on.once, h)
		on.ladders[h.Instruction] = append(on.ladders[h.Instruction], h.State)
	}
}

// topic is what was heard on a topic until now; nothing in it changes.
func (e *ear) topic(last string) (all, once []heard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if on := e.topics[last]; on != nil {
		all, once = slices.Clip(on.all), slices.Clip(on.once)
	}
	return all, once
}

// on lists the messages of a topic's last word.
func (e *ear) on(last string) []heard {
	all, _ := e.topic(last)
	return all
}

// String shows the life-cycle and the alarms.
func (e *ear) String() string {
	var b strings.Builder
	for _, last := range []string{"ack", "event"} {
		for _, h := range e.on(last) {
			fmt.Fprintf(&b, "  %s %s %d/%d %s%s %s r%d %v %s\n", h.At.Format("05.000"), last, h.Session, h.Seq, h.State, h.Code, h.Instruction, h.Revision, h.Conditions, h.Reason)
		}
	}
	return b.String()
}

// once lists the messages of a topic without those sent again.
func (e *ear) once(last string) []heard {
	_, once := e.topic(last)
	return once
}

// ladder lists the states that an instruction was announced in.
func (e *ear) ladder(id string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if on := e.topics["ack"]; on != nil {
		return slices.Clone(on.ladders[id])
	}
	return nil
}

// instructions counts those that were announced in any state.
func (e *ear) instructions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	on := e.topics["ack"]
	if on == nil {
		return 0
	}
	n := len(on.ladders)
	if _, ofNotices := on.ladders[""]; ofNotices {
		n--
	}
	return n
}

// has tells whether an instruction was announced in a state.
func (e *ear) has(id, state string) bool { return slices.Contains(e.ladder(id), state) }

// reason is the last reason announced for an instruction.
func (e *ear) reason(id string) string {
	why := ""
	for _, h := range e.once("ack") {
		if h.Instruction == id && h.Reason != "" {
			why = h.Reason
		}
	}
	return why
}

// wantLadder checks the steps of an instruction: each once, in order.
func (s *site) wantLadder(id string, want ...string) {
	s.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) { // what is stored is on its way
		got := s.ear.ladder(id)
		if len(got) > 0 && got[0] == "waiting" && want[0] != "waiting" {
			got = got[1:] // it may come before its contract
		}
		if slices.Equal(got, want) {
			return
		}
		if len(got) >= len(want) || time.Now().After(end) {
			s.t.Errorf("%s was announced as %v, want %v", id, got, want)
			return
		}
	}
}

// wantWhole checks that nothing is missing and nothing came twice: numbers
// rise by one within a stream, ids are unique, and each step names what it is
// about.
func (e *ear) wantWhole(t *testing.T) {
	t.Helper()
	for _, stream := range []string{"ack", "event"} {
		ids, next := map[string]bool{}, uint64(0)
		for _, h := range e.on(stream) {
			if next != 0 && h.Seq != next {
				t.Errorf("%s: number %d after %d", stream, h.Seq, next-1)
			}
			if stream == "ack" && next == 0 && h.Seq != 1 {
				t.Errorf("%s begins with number %d", stream, h.Seq)
			}
			next = h.Seq + 1
			if h.ID == "" || ids[h.ID] {
				t.Errorf("%s: id %q twice or missing", stream, h.ID)
			}
			ids[h.ID] = true
			if h.Session == 0 || h.Stream != stream || h.Schema != stream+"/1" || h.FactAt.IsZero() {
				t.Errorf("%s: incomplete envelope %+v", stream, h)
			}
			if stream == "ack" && (h.Notification == "" || h.Instruction != "" && h.Revision == 0) {
				t.Errorf("a step does not say of what: %+v", h)
			}
		}
	}
}

// notices lists the states of the notification that brought an instruction.
func (e *ear) notices(id string) []string {
	acks := e.once("ack")
	at := slices.IndexFunc(acks, func(h heard) bool { return h.Instruction == id })
	if at < 0 {
		return nil
	}
	of := acks[at].Notification
	if i := slices.IndexFunc(acks, func(h heard) bool { return h.Instruction == "" }); of == "poll" && i >= 0 {
		of = acks[i].Notification // a poll was first, the notification came all the same
	}
	var out []string
	for _, h := range acks {
		if h.Notification == of && h.Instruction == "" {
			out = append(out, h.State)
		}
	}
	return out
}

// fetched counts the notifications that were followed to their instructions.
func (e *ear) fetched() (n int) {
	for _, h := range e.once("ack") {
		if h.Instruction == "" && h.State == "fetched" {
			n++
		}
	}
	return n
}
