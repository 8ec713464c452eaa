package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// tale writes the story: one line per thing that happens, with the seconds
// since the beginning.
type tale struct {
	out   io.Writer
	began time.Time

	mu     sync.Mutex
	states map[string][]string // ladder words seen per instruction
}

func (t *tale) line(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%7.3f  %s\n", time.Since(t.began).Seconds(), fmt.Sprintf(format, args...))
}

// message is what the story needs of the agent's messages.
type message struct {
	State        string   `json:"state"`
	Notification string   `json:"notification"`
	Instruction  string   `json:"instruction"`
	Conditions   []string `json:"conditions"`
	Reason       string   `json:"reason"`
	Text         string   `json:"text"`
	Code         string   `json:"code"`
	Severity     string   `json:"severity"`
	Raised       bool     `json:"raised"`
	Test         bool     `json:"test"`
	Shares       []struct {
		Power int64 `json:"power"`
	} `json:"shares"`
}

// heard turns a message of the broker into a line.
func (t *tale) heard(topic string, payload []byte) {
	var m message
	if json.Unmarshal(payload, &m) != nil {
		return
	}
	switch topic[strings.LastIndex(topic, "/")+1:] {
	case "ack":
		t.ack(m)
	case "event":
		if m.Severity != "info" {
			word := "cleared"
			if m.Raised {
				word = "raised"
			}
			t.line("  mqtt  %s %s %s: %s", m.Severity, m.Code, word, m.Text)
		}
	}
}

func (t *tale) ack(m message) {
	extra := ""
	if m.Test {
		extra = " TEST"
	}
	if len(m.Conditions) > 0 {
		extra += " [" + strings.Join(m.Conditions, ", ") + "]"
	}
	if m.Reason != "" {
		extra += " (" + m.Reason + ")"
	}
	if m.Instruction == "" {
		t.line("  mqtt  notification %.8s… %s%s", m.Notification, m.State, extra)
		return
	}
	var share int64
	for _, s := range m.Shares {
		share += s.Power
	}
	if m.State == "admitted" {
		extra += fmt.Sprintf(": our share %+d W", share)
	}
	t.line("  mqtt  instruction %s %s%s", m.Instruction, m.State, extra)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.states == nil {
		t.states = map[string][]string{}
	}
	t.states[m.Instruction] = append(t.states[m.Instruction], m.State)
}

// has tells whether an instruction was announced in a state.
func (t *tale) has(id, state string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.states[id] {
		if s == state {
			return true
		}
	}
	return false
}
