package local

import (
	"context"
	"net/http"

	"flexd/agent/flex"
)

// Driller lets a person rehearse a dispatch on the real devices.
type Driller interface {
	Drill(ctx context.Context, o DrillOrder, by string) (flex.InstructionID, error)
}

// DrillOrder is a person's consent to a rehearsal.
type DrillOrder struct {
	Asset   flex.AssetID `json:"asset"`
	Import  bool         `json:"import,omitempty"`  // take power instead of giving it
	Percent int          `json:"percent,omitempty"` // of the asset's rating, 0: the agent's default
	Power   flex.Watts   `json:"power,omitempty"`   // magnitude, within that part; 0: all of it
	Seconds int          `json:"seconds,omitempty"` // 0: the agent's default
}

// Drilled names the rehearsal that has begun.
type Drilled struct {
	ID flex.InstructionID `json:"id"`
}

func (s *Socket) drill(r *http.Request, by string) (any, error) {
	o, err := body[DrillOrder](r)
	if err != nil {
		return nil, err
	}
	id, err := s.parts.Driller.Drill(r.Context(), o, by)
	return Drilled{ID: id}, err
}

// Drill begins a rehearsal.
func (c *Client) Drill(ctx context.Context, o DrillOrder) (flex.InstructionID, error) {
	var d Drilled
	err := c.Post(ctx, "/v1/drill", o, &d)
	return d.ID, err
}
