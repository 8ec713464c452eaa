package local

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"flexd/agent/clock"
	"flexd/agent/flex"
)

// open runs a page until the test ends and gives its address.
func open(t *testing.T, src Source) string {
	t.Helper()
	p := NewPage("127.0.0.1:0", nil, src, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	select {
	case <-p.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + p.Addr()
}

func TestThePageNeedsNothingFromOutside(t *testing.T) {
	page := string(pageHTML)
	for _, outside := range []string{"https://", "src=", "@import", "url("} {
		if strings.Contains(page, outside) {
			t.Errorf("the page contains %q: it must work without the internet", outside)
		}
	}
}

func TestLiveSendsTrailStateAndPoints(t *testing.T) {
	resp, err := http.Get(open(t, &site{}) + "/api/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	want := map[string]bool{"event: trail": true, "event: state": true, "event: point": true}
	for sc := bufio.NewScanner(resp.Body); len(want) > 0 && sc.Scan(); {
		delete(want, sc.Text())
	}
	if len(want) > 0 {
		t.Errorf("never came: %v", want)
	}
}

func TestViewersAreBounded(t *testing.T) {
	addr := open(t, &site{})
	for i := range maxViewers + 1 {
		resp, err := http.Get(addr + "/api/live")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if want := 200; i < maxViewers && resp.StatusCode != want || i == maxViewers && resp.StatusCode != 503 {
			t.Errorf("viewer %d got %d", i+1, resp.StatusCode)
		}
	}
}

func TestForeignNamesAreRefused(t *testing.T) {
	h := NewPage("gateway:8080", []string{"flexd.local"}, &site{}, slog.New(slog.DiscardHandler)).Handler()
	for host, want := range map[string]int{
		"127.0.0.1:8080": 200, "[::1]:8080": 200, "localhost": 200, "gateway": 200, "flexd.local:8080": 200, "FLEXD.local": 200,
		"gateway.local:8080": 421, "router": 421, "attacker.local": 421,
		"evil.example.com": 421, "evil.example.com:8080": 421,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("host %s answered %d, want %d", host, w.Code, want)
		}
	}
	r := httptest.NewRequest("POST", "/api/state", nil)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST answered %d: the page is read-only", w.Code)
	}
}

func TestTrailKeepsTheLatestInOrder(t *testing.T) {
	var tr Trail
	for i := range trailLength + 10 {
		tr.Add(Point{At: time.Unix(int64(i), 0)})
	}
	all := tr.All()
	if len(all) != trailLength || all[0].At.Unix() != 10 || all[trailLength-1].At.Unix() != trailLength+9 {
		t.Errorf("kept %d points from %v", len(all), all[0].At)
	}
}

// scene is a site in the middle of a dispatch.
func scene() *fullSite {
	now := time.Now().UTC()
	w, m, g, soc := flex.Watts(5000), flex.Watts(4980), flex.Watts(6100), flex.Percent(6400)
	return &fullSite{point: Point{At: now, Target: &w, Measured: &m, Meter: &g},
		status: Status{Site: "harwell-01", Version: "v1", Clock: flex.ClockUntrusted, Time: clock.State{Trust: flex.ClockUntrusted, Why: "it is 1h0m0s behind a.example, b.example: let chrony or systemd-timesyncd synchronise it"}, Ready: true, At: now, Devices: []flex.DeviceStatus{{
			ID: "bat1", Role: flex.RoleStorage, Online: true, Held: true, Reading: &flex.Reading{Power: &m, SoC: &soc},
			Target: flex.Target{Order: flex.OrderSet, Power: w}, Proof: flex.Proof{EchoAt: now, ActingAt: now, DeliverAt: now}}, {
			ID: "bat2", Role: flex.RoleStorage, ReleaseOwed: true, OwedSince: now.Add(-time.Minute), Reading: &flex.Reading{Power: &m}, ReadingAge: 300,
			Target: flex.Target{Order: flex.OrderSet, Power: w}, Proof: flex.Proof{EchoAt: now, DeliverAt: now}}}},
		record: flex.Record{ID: "disp-4711", State: flex.Active, Shares: []flex.AssetShare{{Asset: "a", Power: w}},
			Window: flex.Window{Start: now, End: now.Add(time.Hour)}, EchoAt: now, Conditions: []flex.Condition{flex.Partial}, ReleasedAt: now.Add(time.Hour + 95*time.Second),
			History: []flex.Spell{{Condition: flex.Partial, From: now, Text: "the site's limit"}, {Condition: flex.DeviceFailed, From: now, To: now}},
			Energy:  []flex.Energy{{Asset: "a", Asked: 18_000_000, Delivered: 17_640_000, By: "at meter grid", Followed: 3600}},
			Steps:   []flex.Transition{{State: flex.Admitted}, {State: flex.Scheduled}, {State: flex.Active}}}}
}

// fullSite shows a scene.
type fullSite struct {
	site
	status Status
	record flex.Record
	point  Point
}

func (s *fullSite) Status(context.Context) (Status, error) { return s.status, nil }
func (s *fullSite) Instructions(context.Context, int) ([]Instruction, error) {
	return []Instruction{{Record: s.record, Outcome: OutcomeOf(s.record)}}, nil
}
func (s *fullSite) Obligations(context.Context, time.Duration) ([]Obligation, error) {
	w := flex.Window{Start: s.status.At.Add(time.Hour), End: s.status.At.Add(2 * time.Hour)}
	return []Obligation{{Obligation: flex.Obligation{ID: "k2V9x"}, Next: []flex.Window{w}, Preflight: &flex.Preflight{Kind: flex.PreflightObligation, ID: "k2V9x", Window: w,
		At: flex.Stamp{At: s.status.At}, Result: flex.PreflightAtRisk, Reasons: []flex.Concern{{Reason: flex.ReasonLocalHold, Text: "asset a is held by ann"}}}}}, nil
}
func (s *fullSite) Point() Point { p := s.point; p.At = time.Now().UTC(); return p }
