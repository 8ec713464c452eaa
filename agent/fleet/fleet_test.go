package fleet

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"

	"flexd/agent/flex"
)

// inOrder checks that a stream arrived whole: the first arrival of each number
// is in order, and a repeat carries the id of its first.
// The broker acknowledges before it passes on, so the last may be on its way.
func inOrder(t *testing.T, e *ear, last string, n int) {
	t.Helper()
	until(t, "every row of "+last+" arrived", func() bool { return distinct(e.on(last)) >= n })
	got := e.on(last)
	ids := map[uint64]string{}
	for _, h := range got {
		if id, again := ids[h.Seq]; again {
			if id != h.ID {
				t.Errorf("number %d came again with another id: %q, was %q", h.Seq, h.ID, id)
			}
			continue
		}
		if h.Seq != uint64(len(ids)+1) {
			t.Fatalf("number %d arrived as the %dth", h.Seq, len(ids)+1)
		}
		ids[h.Seq] = h.ID
	}
	if len(ids) != n {
		t.Errorf("%d of %d arrived", len(ids), n)
	}
}

func TestSessionAnnouncesAndDrains(t *testing.T) {
	e, m := &ear{}, newMemory()
	_, addr := start(t, listeners.Config{}, e, false)
	for _, s := range []flex.Stream{flex.StreamAck, flex.StreamEvent, flex.StreamTele, flex.StreamResp} {
		m.add(s, 40)
	}
	f, stop := launch(t, settings(addr, m))
	for _, s := range []flex.Stream{flex.StreamAck, flex.StreamEvent, flex.StreamTele, flex.StreamResp} {
		until(t, "all rows freed", func() bool { return m.left(s) == 0 })
		if s != flex.StreamTele { // whose newest come first
			inOrder(t, e, string(s), 40)
		}
	}
	if n := distinct(e.on("tele")); n != 40 {
		t.Errorf("%d batches of telemetry", n)
	}
	if st := f.Status(); !st.Connected || st.LastError != "" || st.Freed != 160 || st.Published != 160 {
		t.Errorf("status %+v", st)
	}
	stop()
	if f.Status().Connected {
		t.Error("still connected after the end")
	}
	until(t, "offline", func() bool { all := e.on("state"); return all[len(all)-1].State == "offline" })
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, h := range e.all {
		if h.Session != 41 || h.ID == "" || h.Clock == "" || h.At.IsZero() || h.Stream == "" || h.Epoch != "e1" || h.Schema == "" || h.Error != "" {
			t.Errorf("message %d lacks its envelope: %s", i, h.Raw)
		}
	}
	if h := e.all[0]; !strings.HasSuffix(h.Topic, "up/state") || h.State != "online" || !strings.Contains(string(h.Raw), `"version":"1.2.3"`) {
		t.Errorf("first is %s %s", h.Topic, h.Raw)
	}
	if h := e.all[1]; !strings.HasSuffix(h.Topic, "up/birth") || !strings.Contains(string(h.Raw), `"devices":["inv-1"]`) {
		t.Errorf("second is %s %s", h.Topic, h.Raw)
	}
	if h := e.all[len(e.all)-1]; h.State != "offline" {
		t.Errorf("last is %s %s", h.Topic, h.Raw)
	}
	if first := e.all[2]; first.Stream != "ack" || first.N != 1 || first.ID != "ack-1" || first.Clock != "holdover" {
		t.Errorf("the acknowledgements come first, their body beside the envelope: %s", first.Raw)
	}
}

func TestRetainedStateAndBirth(t *testing.T) {
	e := &ear{}
	s, addr := start(t, listeners.Config{}, e, false)
	f, stop := launch(t, settings(addr, newMemory()))
	until(t, "up", func() bool { return f.Status().Connected })
	stop()
	until(t, "offline", func() bool { all := e.on("state"); return len(all) > 0 && all[len(all)-1].State == "offline" })
	for last, want := range map[string]string{"state": `"state":"offline"`, "birth": `"inv-1"`} {
		kept := s.Topics.Messages(Prefix + site + "/up/" + last)
		if len(kept) != 1 || !strings.Contains(string(kept[0].Payload), want) {
			t.Errorf("retained on %s: %v", last, kept)
		}
	}
}

func TestCutsLoseNothing(t *testing.T) {
	const rows = 400
	for _, acks := range []bool{false, true} {
		t.Run(fmt.Sprintf("backend acknowledges %v", acks), func(t *testing.T) {
			e, m := &ear{}, newMemory()
			s, addr := start(t, listeners.Config{}, e, false)
			c := relay(t, addr)
			m.add(flex.StreamAck, rows)
			m.add(flex.StreamEvent, rows)
			c.after(3000)
			cfg := settings(c.l.Addr().String(), m)
			cfg.BackendAcks = acks
			f, _ := launch(t, cfg)
			for i, at := range []int{30, 90, 200, 300} {
				until(t, "progress", func() bool { return len(e.on("ack")) > at })
				c.after(int64(700 * (i + 1)))
			}
			if acks {
				until(t, "all seen", func() bool { return distinct(e.on("ack")) == rows && distinct(e.on("event")) == rows })
				if m.left(flex.StreamAck) != rows {
					t.Error("rows were freed without the backend's word")
				}
				for _, stream := range []string{"ack", "event"} {
					down(t, s.Publish, "ack", fmt.Sprintf(`{"stream":%q,"upto":%d}`, stream, rows))
				}
			}
			until(t, "all freed", func() bool { return m.left(flex.StreamAck)+m.left(flex.StreamEvent) == 0 })
			inOrder(t, e, "ack", rows)
			inOrder(t, e, "event", rows)
			if len(e.on("birth")) < 3 {
				t.Errorf("only %d connections: the cuts did not cut", len(e.on("birth")))
			}
			_ = f
		})
	}
}

func distinct(hs []heard) int {
	seen := map[uint64]bool{}
	for _, h := range hs {
		seen[h.Seq] = true
	}
	return len(seen)
}

func down(t *testing.T, publish func(string, []byte, bool, byte) error, last, body string) {
	t.Helper()
	if err := publish(Prefix+site+"/down/"+last, []byte(body), false, 1); err != nil {
		t.Fatal(err)
	}
}

func TestBrokerRestart(t *testing.T) {
	e, m := &ear{}, newMemory()
	s, addr := start(t, listeners.Config{}, e, false)
	f, _ := launch(t, settings(addr, m))
	m.add(flex.StreamAck, 20)
	until(t, "first rows", func() bool { return m.left(flex.StreamAck) == 0 })
	s.stop()
	until(t, "seen as down", func() bool { return !f.Status().Connected && f.Status().LastError != "" })
	m.add(flex.StreamAck, 20)
	start(t, listeners.Config{Address: addr}, e, false)
	until(t, "the rest", func() bool { return m.left(flex.StreamAck) == 0 })
	inOrder(t, e, "ack", 40)
	if n := len(e.on("ack")); n != 40 {
		t.Errorf("%d messages for 40 rows", n)
	}
}

func TestWillOnAbruptCut(t *testing.T) {
	e := &ear{}
	_, addr := start(t, listeners.Config{}, e, false)
	c := relay(t, addr)
	f, _ := launch(t, settings(c.l.Addr().String(), newMemory()))
	until(t, "up", func() bool { return f.Status().Connected })
	_ = c.l.Close()
	c.cut()
	until(t, "the will", func() bool {
		all := e.on("state")
		return len(all) > 0 && all[len(all)-1].State == "offline" && all[len(all)-1].Session == 41
	})
}

func TestRefusedSubscriptionEndsTheSession(t *testing.T) {
	e := &ear{}
	_, addr := start(t, listeners.Config{}, e, true)
	f, _ := launch(t, settings(addr, newMemory()))
	until(t, "the refusal", func() bool { return strings.Contains(f.Status().LastError, "refuses the subscription") })
	if f.Status().Connected {
		t.Error("counts as connected")
	}
	until(t, "the will", func() bool {
		return slices.ContainsFunc(e.on("state"), func(h heard) bool { return h.State == "offline" })
	})
}

func TestRequestsAreAnsweredUnsupported(t *testing.T) {
	e := &ear{}
	s, addr := start(t, listeners.Config{}, e, false)
	// Retained before the site comes: delivered with the subscription.
	if err := s.Publish(Prefix+site+"/down/cmd", []byte(`{"id":"kept"}`), true, 1); err != nil {
		t.Fatal(err)
	}
	f, _ := launch(t, settings(addr, newMemory()))
	until(t, "up", func() bool { return f.Status().Connected })
	down(t, s.Publish, "cmd", strings.Repeat("x", maxRequest+1))
	down(t, s.Publish, "other", `{"id":"unknown"}`)
	down(t, s.Publish, "cmd", `{"id":"c1"}`)
	down(t, s.Publish, "cfg", `eyJhbGciOiJFZERTQSJ9.e30.c2ln`)
	down(t, s.Publish, "job", `{"id":7}`)
	down(t, s.Publish, "relay", `{"id":"`+strings.Repeat("y", 65)+`"}`)
	until(t, "four answers", func() bool { return len(e.on("resp")) >= 4 })
	got := []string{}
	for _, h := range e.on("resp") {
		got = append(got, h.Error+" "+h.Of+" "+h.Request)
		if h.Session != 41 || h.ID == "" || h.Stream != "resp" || h.Schema != "resp/1" {
			t.Errorf("answer without envelope: %s", h.Raw)
		}
	}
	slices.Sort(got)
	want := []string{"unsupported cfg ", "unsupported cmd c1", "unsupported job ", "unsupported relay "}
	if !slices.Equal(got, want) {
		t.Errorf("answers %q, want %q", got, want)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	e := &ear{}
	s, addr := start(t, listeners.Config{}, e, false)
	m := newMemory()
	f, _ := launch(t, settings(addr, m))
	until(t, "up", func() bool { return f.Status().Connected })
	begin := time.Now()
	for i := range 40 {
		down(t, s.Publish, "cmd", fmt.Sprintf(`{"id":"%d"}`, i))
	}
	m.add(flex.StreamAck, 5)
	until(t, "rows pass the flood", func() bool { return m.left(flex.StreamAck) == 0 })
	until(t, "answers", func() bool { return len(e.on("resp")) >= answerRate })
	if n, most := len(e.on("resp")), answerRate+int(time.Since(begin).Seconds()*answerRate)+1; n > most {
		t.Errorf("%d answers, at most %d", n, most)
	}
}

func TestBackendAcksClampToWhatWasPublished(t *testing.T) {
	e, m := &ear{}, newMemory()
	s, addr := start(t, listeners.Config{}, e, false)
	m.add(flex.StreamAck, 10)
	cfg := settings(addr, m)
	cfg.BackendAcks = true
	f, _ := launch(t, cfg)
	until(t, "published", func() bool { return len(e.on("ack")) == 10 })
	down(t, s.Publish, "ack", `{"stream":"ack","upto":4}`)
	until(t, "four freed", func() bool { return m.left(flex.StreamAck) == 6 })
	down(t, s.Publish, "ack", `{"stream":"ack","upto":18446744073709551615}`)
	until(t, "all freed", func() bool { return m.left(flex.StreamAck) == 0 })
	m.add(flex.StreamAck, 600)
	f.Wake()
	until(t, "published up to the bound", func() bool { return distinct(e.on("ack")) >= 10+laneMax })
	if left := m.left(flex.StreamAck); left != 600 {
		t.Errorf("rows never acknowledged were freed, %d left of 600", left)
	}
	down(t, s.Publish, "ack", `{"stream":"ack","upto":610}`)
	until(t, "the rest is published", func() bool { return distinct(e.on("ack")) == 610 })
	down(t, s.Publish, "ack", `{"stream":"ack","upto":610}`)
	until(t, "all freed", func() bool { return m.left(flex.StreamAck) == 0 })
	if n := len(e.on("ack")); n != 610 {
		t.Errorf("%d messages for 610 rows on one connection", n)
	}
}

func TestStateAndBirthFollowTheirValues(t *testing.T) {
	e := &ear{}
	_, addr := start(t, listeners.Config{}, e, false)
	var n atomic.Int64
	cfg := settings(addr, newMemory())
	cfg.State = func() any { return map[string]any{"n": n.Load()} }
	cfg.Birth = cfg.State
	launch(t, cfg)
	for _, last := range []string{"state", "birth"} {
		until(t, last, func() bool { return len(e.on(last)) == 1 })
	}
	n.Store(5)
	for _, last := range []string{"state", "birth"} {
		until(t, "changed "+last, func() bool { all := e.on(last); return all[len(all)-1].N == 5 })
	}
	if n := len(e.on("state")); n != 2 {
		t.Errorf("%d states for two values", n)
	}
}

func TestStoreFailureKeepsTheSession(t *testing.T) {
	e, m := &ear{}, newMemory()
	_, addr := start(t, listeners.Config{}, e, false)
	m.add(flex.StreamAck, 5)
	m.fail = errors.New("disk is full")
	f, _ := launch(t, settings(addr, m))
	until(t, "up", func() bool { return f.Status().Connected })
	m.mu.Lock()
	m.fail = nil
	m.mu.Unlock()
	until(t, "freed", func() bool { return m.left(flex.StreamAck) == 0 })
	inOrder(t, e, "ack", 5)
}

func TestReadyWithoutBroker(t *testing.T) {
	f, stop := launch(t, settings("127.0.0.1:1", newMemory()))
	<-f.Ready()
	until(t, "an error", func() bool { return strings.Contains(f.Status().LastError, "cannot connect") })
	stop()
}

func TestNothingRunsAfterTheEnd(t *testing.T) {
	e := &ear{}
	_, addr := start(t, listeners.Config{}, e, false)
	c := relay(t, addr)
	before := runtime.NumGoroutine()
	f, stop := launch(t, settings(c.l.Addr().String(), newMemory()))
	for range 5 {
		until(t, "up", func() bool { return f.Status().Connected })
		since := f.Status().Since
		c.cut()
		until(t, "down, or up again", func() bool { s := f.Status(); return !s.Connected || s.Since.After(since) })
	}
	stop()
	c.cut()
	until(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+1 })
}

// A broker that ends connections again and again soon after they stood does so
// for another client of the same id, or on a bad link: somebody is told, and
// told when one lasts.
func TestConnectionsThatAreTakenAwayAreTold(t *testing.T) {
	told := []bool{}
	f := New(Config{Contested: func(yes bool) { told = append(told, yes) }})
	lost, refused := fmt.Errorf("%w: EOF", errLost), errors.New("connection refused")
	taken := 0
	for i, c := range []struct {
		up   time.Duration
		err  error
		want bool
	}{
		{time.Second, lost, false}, {time.Second, lost, false}, {0, refused, false}, {2 * time.Minute, lost, false},
		{time.Second, lost, true}, {0, refused, true}, {time.Second, lost, true},
		{time.Hour, lost, false}, {time.Second, lost, false},
		{time.Second, errors.New("no PUBACK"), false}, {time.Second, lost, false}, {time.Second, lost, false}, {time.Second, lost, true},
	} {
		taken = f.contest(taken, c.up, c.err)
		if told[i] != c.want {
			t.Errorf("after connection %d: told %v, want %v", i+1, told[i], c.want)
		}
	}
}
