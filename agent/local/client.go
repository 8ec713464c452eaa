package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"syscall"
	"time"

	"flexd/agent/flex"
	"flexd/agent/shown"
)

// ErrNotRunning tells that nobody serves the socket.
var ErrNotRunning = errors.New("flexd is not running")

// RefusedError is an answer that says no: the caller may not, or the order
// makes no sense now.
type RefusedError struct {
	Text   string
	Reason flex.Reason // empty where the caller may not ask
}

// Error is the agent's own sentence.
func (e *RefusedError) Error() string { return e.Text }

// maxReply bounds an answer; ten thousand instructions fit.
const maxReply = 64 << 20

// Client asks a running agent over its socket.
type Client struct {
	http     *http.Client
	path     string
	zone     *time.Location // of the site, once an answer told
	siteTime bool
}

// Dial builds a client for the socket at path; nothing is connected yet.
func Dial(path string) *Client {
	var d net.Dialer
	return &Client{path: path, http: &http.Client{
		Timeout: requestLimit + 10*time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		}},
	}}
}

// Get asks for what there is to see; out is decoded from JSON.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// Post orders something.
func (c *Client) Post(ctx context.Context, path string, in, out any) error {
	return c.do(ctx, http.MethodPost, path, in, out)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("cannot encode the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://flexd"+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("cannot ask the agent: %w", err)
	}
	resp, err := c.http.Do(req)
	if err := c.unreachable(err); err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return failure(resp.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	if err := shown.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("cannot understand the agent's answer: %w", err)
	}
	if c.takeZone(resp) && c.siteTime {
		inZone(reflect.ValueOf(out), c.zone)
	}
	return nil
}

// unreachable says in plain words why nobody answers.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (nobody serves %s): start it with `systemctl start flexd`, or name another socket with --socket", ErrNotRunning, c.path)
	case errors.Is(err, os.ErrPermission):
		return &RefusedError{Text: fmt.Sprintf("this user may not open %s: use root, or join the group flexd to look", c.path)}
	case err != nil:
		return fmt.Errorf("cannot ask the agent: %w", err)
	}
	return nil
}

// takeZone remembers the site's zone, where the answer tells it.
func (c *Client) takeZone(resp *http.Response) bool {
	zone, err := time.LoadLocation(resp.Header.Get(zoneHeader))
	if err == nil {
		c.zone = zone
	}
	return err == nil
}

func failure(status int, answer []byte) error {
	var f Failure
	if json.Unmarshal(answer, &f) != nil || f.Error == "" {
		return fmt.Errorf("the agent answered %d", status)
	}
	if status == http.StatusForbidden || status == http.StatusConflict {
		return &RefusedError{Text: f.Error, Reason: f.Reason}
	}
	err := errors.New(f.Error)
	if f.Detail != "" {
		err = &flex.PlainError{Text: f.Error, Err: errors.New(f.Detail)}
	}
	return err
}

// Status asks for the site at a glance.
func (c *Client) Status(ctx context.Context) (st Status, err error) {
	return st, c.Get(ctx, "/v1/status", &st)
}

// Obligations asks for the contracts and their windows.
func (c *Client) Obligations(ctx context.Context, ahead time.Duration) (out []Obligation, err error) {
	return out, c.Get(ctx, "/v1/obligations?ahead="+url.QueryEscape(ahead.String()), &out)
}

// Instructions asks for the latest instructions.
func (c *Client) Instructions(ctx context.Context, limit int) (out []Instruction, err error) {
	return out, c.Get(ctx, "/v1/instructions?limit="+strconv.Itoa(limit), &out)
}

// Detail asks for one instruction.
func (c *Client) Detail(ctx context.Context, id flex.InstructionID) (out Detail, err error) {
	return out, c.Get(ctx, "/v1/instructions/"+url.PathEscape(string(id)), &out)
}

// Probe asks the agent to identify a device now.
func (c *Client) Probe(ctx context.Context, id flex.DeviceID) (out Probe, err error) {
	return out, c.Post(ctx, "/v1/devices/"+url.PathEscape(string(id))+"/probe", struct{}{}, &out)
}

// Registers reads raw registers of a device through the agent.
func (c *Client) Registers(ctx context.Context, id flex.DeviceID, fn byte, addr, count uint16) (out []uint16, err error) {
	q := fmt.Sprintf("/v1/devices/%s/registers?fn=%d&addr=%d&count=%d", url.PathEscape(string(id)), fn, addr, count)
	return out, c.Post(ctx, q, struct{}{}, &out)
}
