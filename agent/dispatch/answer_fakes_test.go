package dispatch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
)

// market takes answers and declarations.
type market struct {
	mu     sync.Mutex
	mute   bool // has no call for answers
	rule   *flex.AnswerRule
	policy string
	fail   func(flex.Say) error // nil: everything is taken
	lost   func(flex.Say) bool  // taken, and nobody hears of it
	gate   chan struct{}
	tries  []time.Time
	groups []int
	taken  []string // "accept i/1"
	told   []string
	away   error
}

func newMarket(policy string) *market {
	return &market{rule: &flex.AnswerRule{Within: time.Hour}, policy: policy}
}

func (m *market) Responds() bool { return !m.mute }

func (m *market) AnswerRule(flex.Instruction, flex.Competition) (flex.AnswerRule, bool) {
	if m.rule == nil {
		return flex.AnswerRule{}, false
	}
	return *m.rule, true
}

func (m *market) Respond(ctx context.Context, word flex.Word, say []flex.Say) []error {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries = append(m.tries, time.Now())
	m.groups = append(m.groups, len(say))
	out := make([]error, len(say))
	for i, s := range say {
		if m.fail != nil {
			out[i] = m.fail(s)
		}
		if out[i] == nil || m.lost != nil && m.lost(s) {
			m.taken = append(m.taken, fmt.Sprintf("%s %s/%d", word, s.ID, s.Revision))
		}
	}
	return out
}

func (m *market) TellsAvailability() bool { return true }
func (m *market) DeclareUnavailable(_ context.Context, u flex.Unavailability) error {
	return m.hear("away " + string(u.Asset))
}
func (m *market) WithdrawUnavailable(_ context.Context, u flex.Unavailability) error {
	return m.hear("back " + string(u.Asset))
}
func (m *market) hear(s string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, s)
	return m.away
}

func (m *market) set(fn func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn()
}

func (m *market) heard() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.taken, ", ")
}

// answered gives the rig a market.
func answered(m *market) func(*rig) {
	return func(r *rig) {
		r.cfg.Market, r.cfg.Answers = m, func(string) string { return m.policy }
		r.cfg.Assets = []flex.AssetID{"a", "z"}
		r.teller = m
	}
}

// later is a start in two hours, two hours long; revised when rev is not 0.
func later(id flex.InstructionID, rev int64, w flex.Watts) flex.Offer {
	o := soon(id, 2*time.Hour)
	o.Instruction.Window.End = o.Instruction.Window.Start.Add(2 * time.Hour)
	if rev > 0 {
		o.Instruction.HasRevision, o.Instruction.Revision = true, rev
		o.Instruction.Content += fmt.Sprint(rev, w)
	}
	if w > 0 {
		o.Instruction.Capacity = w
	}
	return o
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
