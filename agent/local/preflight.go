package local

import (
	"context"
	"net/http"

	"flexd/agent/flex"
)

// Preflighter judges now whether the windows to come could be served.
type Preflighter interface {
	// Preflight judges the open or next window of every obligation, and every
	// instruction that has not begun.
	Preflight(ctx context.Context) ([]flex.Preflight, error)
}

func (s *Socket) preflight(r *http.Request, _ string) (any, error) {
	return s.parts.Preflighter.Preflight(r.Context())
}

// Preflight asks whether the windows to come could be served.
func (c *Client) Preflight(ctx context.Context) (out []flex.Preflight, err error) {
	return out, c.Get(ctx, "/v1/preflight", &out)
}
