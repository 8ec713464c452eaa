package local

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// site is a fake of everything the socket asks.
type site struct {
	held, lifted, stopped []string
	refuse                *flex.Refusal
}

func (s *site) Status(context.Context) (Status, error) { return Status{Site: "harwell-01"}, nil }
func (s *site) Obligations(_ context.Context, ahead time.Duration) ([]Obligation, error) {
	return []Obligation{{Next: []flex.Window{{Start: time.Unix(0, 0).Add(ahead)}}}}, nil
}
func (s *site) Instructions(context.Context, int) ([]Instruction, error) {
	return []Instruction{{Record: flex.Record{ID: "i1"}}}, nil
}
func (s *site) Detail(_ context.Context, id flex.InstructionID) (Detail, error) {
	if id != "i/1" {
		return Detail{}, flex.Refuse(flex.ReasonNotOurs, "there is no instruction %q", id)
	}
	return Detail{Record: flex.Record{ID: id}}, nil
}
func (s *site) Events(context.Context, int) ([]Event, error) { return []Event{{What: "hold"}}, nil }
func (s *site) Point() Point                                 { return Point{At: time.Now()} }
func (s *site) Hold(_ context.Context, a flex.AssetID, by, reason string) error {
	s.held = append(s.held, string(a)+" "+by+" "+reason)
	return nil
}
func (s *site) Lift(_ context.Context, a flex.AssetID, by string) error {
	s.lifted = append(s.lifted, string(a)+" "+by)
	return nil
}
func (s *site) Stop(_ context.Context, id flex.InstructionID, by string) error {
	s.stopped = append(s.stopped, string(id))
	if s.refuse != nil {
		return s.refuse
	}
	return nil
}
func (s *site) Probe(context.Context, flex.DeviceID) (Probe, error) {
	return Probe{Device: "bat1"}, nil
}
func (s *site) Registers(_ context.Context, _ flex.DeviceID, _ byte, addr, count uint16) ([]uint16, error) {
	return []uint16{addr, count}, nil
}

// serve runs a socket in a temporary folder until the test ends.
func serve(t *testing.T, s *site) (*Client, string) {
	t.Helper()
	c := serveParts(t, Parts{Source: s, Actor: s, Bench: s})
	return c, c.path
}

func serveParts(t *testing.T, parts Parts) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "flexd.sock")
	sock := NewSocket(path, parts, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sock.Run(ctx) }()
	select {
	case <-sock.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return Dial(path)
}

func TestCommandsOverTheSocket(t *testing.T) {
	s := &site{}
	c, path := serve(t, s)
	ctx := t.Context()
	if st, err := c.Status(ctx); err != nil || st.Site != "harwell-01" {
		t.Errorf("status = %+v, %v", st, err)
	}
	if obs, err := c.Obligations(ctx, time.Hour); err != nil || len(obs) != 1 || !obs[0].Next[0].Start.Equal(time.Unix(3600, 0)) {
		t.Errorf("obligations = %+v, %v", obs, err)
	}
	if d, err := c.Detail(ctx, "i/1"); err != nil || d.Record.ID != "i/1" {
		t.Errorf("detail of an id with a slash = %+v, %v", d, err)
	}
	if words, err := c.Registers(ctx, "bat1", 3, 40000, 4); err != nil || words[0] != 40000 || words[1] != 4 {
		t.Errorf("registers = %v, %v", words, err)
	}
	if err := c.Post(ctx, "/v1/hold", Order{Asset: "a1", Reason: "work"}, nil); err != nil || len(s.held) != 1 || !strings.HasSuffix(s.held[0], " work") {
		t.Errorf("hold = %v, %v", s.held, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket mode = %v, %v; want 0660 so that the group reads", info.Mode(), err)
	}
}

func TestARefusalIsToldApart(t *testing.T) {
	c, _ := serve(t, &site{refuse: flex.Refuse(flex.ReasonTooLate, "it is over")})
	var refused *RefusedError
	if err := c.Post(t.Context(), "/v1/stop", Order{ID: "i1"}, nil); !errors.As(err, &refused) || !strings.Contains(refused.Text, "it is over") {
		t.Errorf("stop = %v, want a refusal", err)
	}
}

func TestNobodyServes(t *testing.T) {
	if _, err := Dial(filepath.Join(t.TempDir(), "x.sock")).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("err = %v, want ErrNotRunning", err)
	}
}

func TestASecondAgentDoesNotTakeTheSocket(t *testing.T) {
	c, path := serve(t, &site{})
	if err := NewSocket(path, Parts{}, slog.New(slog.DiscardHandler)).Run(t.Context()); err == nil {
		t.Error("a second agent took the socket of a living one")
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("the first agent's socket is gone: %v", err)
	}
}

func TestActingNeedsARight(t *testing.T) {
	s := &site{}
	h := NewSocket("", Parts{Source: s, Actor: s, Bench: s}, slog.New(slog.DiscardHandler)).Handler()
	for _, tc := range []struct {
		name, method, path, body string
		uid                      uint32
		want                     int
	}{
		{"a stranger reads", "GET", "/v1/status", "", 4242, 200},
		{"a stranger does not hold", "POST", "/v1/hold", "{}", 4242, 403},
		{"a stranger does not stop", "POST", "/v1/stop", `{"id":"i"}`, 4242, 403},
		{"root holds", "POST", "/v1/hold", "{}", 0, 200},
		{"the agent's user holds", "POST", "/v1/hold", "{}", uint32(os.Getuid()), 200},
		{"an unknown field is an error", "POST", "/v1/hold", `{"aset":"x"}`, 0, 400},
		{"a stop without id is an error", "POST", "/v1/stop", `{}`, 0, 400},
		{"a bad limit is an error", "GET", "/v1/instructions?limit=-1", "", 0, 400},
		{"a bad address is an error", "POST", "/v1/devices/b/registers?addr=70000", "{}", 0, 400},
		{"an unknown route", "GET", "/v1/nothing", "", 0, 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body))
			r = r.WithContext(context.WithValue(r.Context(), peerKey{}, tc.uid))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tc.want {
				t.Errorf("answered %d %s, want %d", w.Code, w.Body, tc.want)
			}
		})
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/hold", strings.NewReader("{}"))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("without a known peer answered %d, want 403", w.Code)
	}
}
