package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"flexd/agent/flex"
)

// Metered tells what assets exchanged with the grid, and what their dispatches
// are held against.
type Metered interface {
	Intervals(ctx context.Context, q IntervalQuery) (Intervals, error)
	Baseline(ctx context.Context, id flex.AssetID) (Baseline, error)
	// Nominate keeps a nomination, text as a person wrote it.
	Nominate(ctx context.Context, id flex.AssetID, text []byte, by string) (Baseline, error)
	// Unnominate drops everything that was nominated for an asset.
	Unnominate(ctx context.Context, id flex.AssetID, by string) error
}

// IntervalQuery asks for whole local days of the site.
type IntervalQuery struct {
	Asset flex.AssetID
	Day   string        // YYYY-MM-DD; "": today
	Days  int           // from that day on, 1 to 31
	Step  time.Duration // 1, 15 or 30 minutes
}

// Intervals are those of some local days, labelled by their starts.
type Intervals struct {
	Asset    flex.AssetID `json:"asset"`
	By       string       `json:"by"` // the meter, or the devices that are added up
	Minutes  int          `json:"minutes"`
	Timezone string       `json:"timezone"` // of the days
	Window   flex.Window  `json:"window"`
	Whole    int          `json:"whole"` // how many the days have, known or not
	Rows     []Interval   `json:"rows"`  // those that are known, by start
}

// Interval is one of them, + towards the grid.
type Interval struct {
	Start    time.Time    `json:"start"` // UTC
	Mean     flex.Watts   `json:"mean_w"`
	Energy   int64        `json:"energy_ws"`
	Quality  flex.Quality `json:"quality"`
	Measured float64      `json:"measured_s"` // of the interval
}

// Baseline is how an asset's baseline is found.
type Baseline struct {
	Asset     flex.AssetID    `json:"asset"`
	Method    string          `json:"method"` // "" with reference: zero
	Fallback  string          `json:"fallback,omitempty"`
	Nominated flex.Nomination `json:"nominated,omitzero"`
	// Now is what would be frozen with a notice now for the next two hours, or
	// Failed why nothing would.
	Now    *flex.Baseline `json:"now,omitempty"`
	Failed string         `json:"failed,omitempty"`
}

// maxText bounds a nomination's file.
const maxText = 1 << 20

// nomination is the body that carries one.
type nomination struct {
	Text string `json:"text"`
}

func (s *Socket) intervals(r *http.Request, _ string) (any, error) {
	minutes, err := limit(r, "minutes", 30, 30)
	if err != nil || minutes != 1 && minutes != 15 && minutes != 30 {
		return nil, fmt.Errorf("%w: minutes are 1, 15 or 30", errUsage)
	}
	days, err := limit(r, "days", 1, 31)
	if err != nil || days == 0 {
		return nil, fmt.Errorf("%w: days are 1 to 31", errUsage)
	}
	day := r.URL.Query().Get("day")
	if _, err := time.Parse(time.DateOnly, day); day != "" && err != nil {
		return nil, fmt.Errorf("%w: day=%q is not YYYY-MM-DD", errUsage, day)
	}
	return s.parts.Metered.Intervals(r.Context(), IntervalQuery{Asset: flex.AssetID(r.PathValue("id")), Day: day, Days: days, Step: time.Duration(minutes) * time.Minute})
}

func (s *Socket) baseline(r *http.Request, _ string) (any, error) {
	return s.parts.Metered.Baseline(r.Context(), flex.AssetID(r.PathValue("id")))
}

func (s *Socket) nominate(r *http.Request, by string) (any, error) {
	var n nomination
	dec := json.NewDecoder(io.LimitReader(r.Body, 2*maxText))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&n); err != nil {
		return nil, fmt.Errorf("%w: %v", errUsage, err)
	}
	return s.parts.Metered.Nominate(r.Context(), flex.AssetID(r.PathValue("id")), []byte(n.Text), by)
}

func (s *Socket) unnominate(r *http.Request, by string) (any, error) {
	return done{true}, s.parts.Metered.Unnominate(r.Context(), flex.AssetID(r.PathValue("id")), by)
}

// Intervals asks for the intervals of some local days.
func (c *Client) Intervals(ctx context.Context, q IntervalQuery) (out Intervals, err error) {
	v := url.Values{"minutes": {strconv.Itoa(int(q.Step / time.Minute))}, "days": {strconv.Itoa(q.Days)}}
	if q.Day != "" {
		v.Set("day", q.Day)
	}
	return out, c.Get(ctx, "/v1/intervals/"+url.PathEscape(string(q.Asset))+"?"+v.Encode(), &out)
}

// Baseline asks how an asset's baseline is found.
func (c *Client) Baseline(ctx context.Context, id flex.AssetID) (out Baseline, err error) {
	return out, c.Get(ctx, "/v1/baselines/"+url.PathEscape(string(id)), &out)
}

// Nominate gives an asset's baseline as a person wrote it.
func (c *Client) Nominate(ctx context.Context, id flex.AssetID, text string) (out Baseline, err error) {
	return out, c.Post(ctx, "/v1/baselines/"+url.PathEscape(string(id)), nomination{Text: text}, &out)
}

// Unnominate drops everything that was nominated for an asset.
func (c *Client) Unnominate(ctx context.Context, id flex.AssetID) error {
	return c.Post(ctx, "/v1/baselines/"+url.PathEscape(string(id))+"/clear", struct{}{}, nil)
}
