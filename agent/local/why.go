package local

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"flexd/agent/flex"
)

// Explainer tells why a device does what it does, or did.
type Explainer interface {
	// Why explains an asset or a device at an instant; the zero time is now.
	Why(ctx context.Context, subject string, at time.Time) (Why, error)
}

// Why is who asked, what each limit did, and what lapses when.
type Why struct {
	Subject string      `json:"subject"` // asset or device, as asked
	At      time.Time   `json:"at"`
	Now     bool        `json:"now,omitempty"`
	Running bool        `json:"running"`              // flexd watched at that instant
	Seen    time.Time   `json:"last_seen,omitzero"`   // else: the last before it
	Oldest  time.Time   `json:"oldest,omitzero"`      // that is kept
	Devices []Reasons   `json:"devices"`              // in the order of the configuration
	Short   []Missing   `json:"shortfalls,omitempty"` // of dispatches of this asset
	Holds   []flex.Hold `json:"holds,omitempty"`      // now
}

// Reasons are those of one device.
type Reasons struct {
	Device flex.DeviceID `json:"device"`
	Known  bool          `json:"known"` // something is kept of it at that instant
	Target flex.Target   `json:"target"`
	Since  time.Time     `json:"since,omitzero"` // it is asked for so much
	// Status and Lapses are there for now: the device falls back by itself then,
	// unless its lease is renewed.
	Status *flex.DeviceStatus `json:"status,omitempty"`
	Lapses time.Time          `json:"lapses,omitzero"`
}

// Missing is what a dispatch does not get.
type Missing struct {
	Instruction flex.InstructionID `json:"instruction"`
	Missing     flex.Watts         `json:"missing"`
	Reason      flex.Reason        `json:"reason"`
	Text        string             `json:"text"`
}

func (s *Socket) why(r *http.Request, _ string) (any, error) {
	var at time.Time
	if q := r.URL.Query().Get("at"); q != "" {
		t, err := time.Parse(time.RFC3339Nano, q)
		if err != nil {
			return nil, fmt.Errorf("%w: at=%q is not an instant as in RFC 3339", errUsage, q)
		}
		at = t
	}
	return s.parts.Explainer.Why(r.Context(), r.PathValue("id"), at)
}

// Why asks why an asset or device does, or did, what it does; zero is now.
func (c *Client) Why(ctx context.Context, subject string, at time.Time) (w Why, err error) {
	path := "/v1/why/" + url.PathEscape(subject)
	if !at.IsZero() {
		path += "?at=" + url.QueryEscape(at.UTC().Format(time.RFC3339Nano))
	}
	return w, c.Get(ctx, path, &w)
}
