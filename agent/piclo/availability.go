package piclo

import (
	"context"
	"fmt"

	"flexd/agent/flex"
)

// profileAvailability says how the market hears that an asset cannot deliver.
type profileAvailability struct {
	Use      onOff        `yaml:"use"`
	Declare  *declareCall `yaml:"declare"`
	Withdraw *declareCall `yaml:"withdraw"`
}

// check finds what does not fit together.
func (p *profileAvailability) check() []string {
	if p.Use == useOn && (p.Declare == nil || p.Declare.off) {
		return []string{"availability.use is on: it needs the call availability.declare"}
	}
	return nil
}

// TellsAvailability tells whether the market takes declarations.
func (m *Market) TellsAvailability() bool { return m.profile.Availability.Use == useOn }

// DeclareUnavailable tells the market that an asset cannot deliver. The
// error is flex.ErrUnsupported when the profile has no call, and otherwise as
// of Respond.
func (m *Market) DeclareUnavailable(ctx context.Context, u flex.Unavailability) error {
	return m.declare(ctx, m.profile.Availability.Declare, u)
}

// WithdrawUnavailable takes a declaration back.
func (m *Market) WithdrawUnavailable(ctx context.Context, u flex.Unavailability) error {
	return m.declare(ctx, m.profile.Availability.Withdraw, u)
}

func (m *Market) declare(ctx context.Context, c *declareCall, u flex.Unavailability) error {
	if !m.TellsAvailability() || c == nil || c.off {
		return fmt.Errorf("%w: the profile has no such call about availability", flex.ErrUnsupported)
	}
	if u.Window.Open() || !u.Window.Start.Before(u.Window.End) {
		return flex.Refuse(flex.ReasonBadField, "a declaration needs a beginning and an end after it")
	}
	now, _ := m.wall.Now()
	_, err := m.do(ctx, &c.call, values{"id": u.ID, "asset": string(u.Asset), "from": u.Window.Start, "to": u.Window.End,
		"reason": u.Reason, "at": now})
	return err
}
