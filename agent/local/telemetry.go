package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"flexd/agent/flex"
	"flexd/agent/shown"
)

// Sample is one device at one instant.
type Sample struct {
	At     time.Time     `json:"at"`
	Device flex.DeviceID `json:"device"`
	Power  *flex.Watts   `json:"power_w"` // + towards the grid; null: not known
	SoC    *flex.Percent `json:"soc"`
}

// SampleQuery selects samples of instants in [From, To), of one device or of
// all. A zero bound is none.
type SampleQuery struct {
	From, To time.Time
	Device   flex.DeviceID
}

// Sampled gives what was measured, in the order of what happened.
type Sampled interface {
	Samples(ctx context.Context, q SampleQuery, fn func(Sample) error) error
}

// A stream of samples: how many lines go between two looks at the reader, and
// how long it may take for them.
const (
	linesAtOnce = 1000
	readerLimit = 30 * time.Second
)

// lastLine ends a stream: without one it was cut.
type lastLine struct {
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

// samples streams what was measured, a JSON object a line. It is open to all
// who may look, and ends when the reader does not read.
func (s *Socket) samples(w http.ResponseWriter, r *http.Request) {
	q := SampleQuery{Device: flex.DeviceID(r.URL.Query().Get("device"))}
	for key, at := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if text := r.URL.Query().Get(key); text != "" {
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				writeError(w, http.StatusBadRequest, fmt.Errorf("%w: %s=%q is not an instant", errUsage, key, text))
				return
			}
			*at = t
		}
	}
	w.Header().Set(zoneHeader, s.parts.Zone)
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, reader, n := bufio.NewWriterSize(w, 64<<10), http.NewResponseController(w), 0
	line := func(v any) error {
		raw, err := shown.Marshal(v)
		if err != nil {
			return err
		}
		if n++; n%linesAtOnce == 1 {
			if err := reader.SetWriteDeadline(time.Now().Add(readerLimit)); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
		}
		_, err = out.Write(append(raw, '\n'))
		return err
	}
	end := lastLine{Done: true}
	if err := s.parts.Sampled.Samples(r.Context(), q, func(x Sample) error { return line(x) }); err != nil {
		end = lastLine{Error: err.Error()}
	}
	if line(end) == nil {
		_ = out.Flush() // the caller went away: nothing to do
	}
}

// Samples asks for what was measured, and gives it line by line as it comes.
func (c *Client) Samples(ctx context.Context, q SampleQuery, fn func(Sample) error) error {
	v := url.Values{}
	for key, at := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !at.IsZero() {
			v.Set(key, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Device != "" {
		v.Set("device", string(q.Device))
	}
	resp, err := c.stream(ctx, "/v1/telemetry?"+v.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var s struct {
			Sample
			lastLine
		}
		if bytes.HasPrefix(lines.Bytes(), []byte(`{"done"`)) {
			err = json.Unmarshal(lines.Bytes(), &s.lastLine)
		} else {
			err = shown.Unmarshal(lines.Bytes(), &s.Sample)
		}
		switch {
		case err != nil:
			return fmt.Errorf("cannot understand the agent's answer: %w", err)
		case s.Error != "":
			return fmt.Errorf("the agent cannot read on: %s", s.Error)
		case s.Done:
			return nil
		}
		if err := fn(s.Sample); err != nil {
			return err
		}
	}
	if err = lines.Err(); err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the agent's answer broke off: %w", err)
}

// stream asks for an answer that may be long and take long.
func (c *Client) stream(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://flexd"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the agent: %w", err)
	}
	patient := *c.http
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err := c.unreachable(err); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
		if err != nil {
			return nil, fmt.Errorf("cannot read the agent's answer: %w", err)
		}
		return nil, failure(resp.StatusCode, answer)
	}
	c.takeZone(resp)
	return resp, nil
}
