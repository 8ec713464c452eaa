package agent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/drivers/sim"
)

// A device without a working dead-man's timer, flexd killed in the middle,
// the window over, market and broker gone: it is handed back within seconds
// of the next start.
func TestADeviceThatNeverRevertsIsHandedBackAfterAKill(t *testing.T) {
	stuck := sim.Options{PctSF: -2, NeverReverts: true}
	for _, c := range []struct {
		name      string
		opts      siteOptions
		direction string
	}{
		{"124", siteOptions{batteries: []sim.Battery{aBattery(stuck)}}, "export"},
		{"704", siteOptions{batteries: []sim.Battery{der(stuck)}}, "export"},
		{"cap by 123", siteOptions{pvs: []sim.PV{{Options: stuck, Rated: 10_000, Sun: func(time.Time) float64 { return 6000 }}}}, "import"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.opts)
			d := s.devices[0]
			s.process()
			s.serving()
			start := second(time.Second)
			end := start.Add(3 * time.Second)
			s.instruct(ask("i1", "0.00200", c.direction, start, end))
			s.await(6*time.Second, "control", d.Controlled)
			s.await(3*time.Second, "active", func() bool { return s.ear.has("i1", "active") })
			s.kill()
			s.dark()
			until(end.Add(200 * time.Millisecond))
			if !d.Controlled() {
				t.Fatal("the device fell back, although it never does")
			}
			s.process()
			s.await(5*time.Second, "handed back after the start", func() bool { return !d.Controlled() })
			t.Logf("handed back %v after the start of the process", time.Since(s.begun).Round(time.Millisecond))
		})
	}
}

// A kill in the middle of a window costs no watts: the lease outlives it and
// the next start takes the dispatch up where it was.
func TestAKillInTheMiddleCostsNoWatts(t *testing.T) {
	s, bat := oneBattery(t, nil)
	s.process()
	s.serving()
	start := second(time.Second)
	end := start.Add(7 * time.Second)
	s.instruct(ask("i1", "0.00400", "export", start, end))
	s.delivers(bat, 6*time.Second, 4000)
	until(start.Add(time.Second))
	s.kill()
	s.process()
	for time.Now().Before(end.Add(-100 * time.Millisecond)) {
		if p := bat.Power(); p != 4000 {
			t.Fatalf("%v W, %v before the end", p, time.Until(end))
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.over(bat, 4*time.Second, "i1", "completed")
	// A device that answers late after the start makes it partial for a moment.
	if got := slices.Compact(s.ear.ladder("i1")); !slices.Equal(got, []string{"admitted", "scheduled", "active", "completed"}) {
		t.Errorf("announced as %v", got)
	}
}

// kills is how often TestKillAtRandomMoments kills.
func kills(t *testing.T) int {
	text := os.Getenv("FLEXD_KILLS")
	if text == "" {
		return 15
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("FLEXD_KILLS=%q: want a number from 1 on", text)
	}
	return n
}

// sent is an instruction of the sequence. Each asks for other watts, so that
// a write tells whose it is.
type sent struct {
	id         string
	watts      int
	start, end time.Time
	accepted   time.Time // 2xx; zero when only polling could find it
}

// operator sends short dispatches one after the other until ctx ends.
type operator struct {
	s   *site
	mu  sync.Mutex
	all []sent
}

func (o *operator) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		x := sent{id: fmt.Sprintf("k%03d", n), watts: 1000 + n%400*10, start: second(1500 * time.Millisecond)}
		x.end = x.start.Add(2 * time.Second)
		in := ask(x.id, fmt.Sprintf("0.%05d", x.watts/10), "export", x.start, x.end)
		must(o.s.t, o.s.market.List(in))
		for ctx.Err() == nil && time.Now().Before(x.end) {
			if _, err := o.s.market.Publish(ctx, demo.Notice{IDs: []string{x.id}}); err == nil {
				x.accepted = time.Now()
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		o.mu.Lock()
		o.all = append(o.all, x)
		o.mu.Unlock()
		until(x.end.Add(-1400 * time.Millisecond)) // the next one begins with the second after
	}
}

// Killed at any moment, flexd loses no instruction, acts on none after its
// window, leaves no device under control and tells the whole story.
func TestKillAtRandomMoments(t *testing.T) {
	t.Parallel()
	n := kills(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d kills", seed, n)
	dice := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t, siteOptions{poll: "1s", batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2, NeverReverts: true})}})
	bat := s.devices[0]
	s.process()
	s.serving()
	op := &operator{s: s}
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() { op.run(ctx) })
	began := time.Now()
	var lives []life
	for range n {
		time.Sleep(time.Duration(100+dice.IntN(4000)) * time.Millisecond) // the moment is the point of the test
		lives = append(lives, life{began, time.Now()})
		s.kill()
		s.process()
		began = time.Now()
	}
	stop()
	sending.Wait()
	last := op.all[len(op.all)-1]
	lives = append(lives, life{began, last.end.Add(time.Minute)})
	s.await(time.Until(last.end)+10*time.Second, "nothing under control after the last window", func() bool { return time.Now().After(last.end) && !bat.Controlled() })
	for _, x := range op.all {
		s.await(20*time.Second, x.id+" has an end", func() bool { return s.final(x.id) != "" })
	}
	done := 0
	for _, x := range op.all {
		switch {
		case s.checkEnd(bat, x):
			done++
		case slices.ContainsFunc(lives, x.within):
			t.Errorf("%s, %v to %v, was not carried out, although flexd was up for it", x.id, x.start.Format("05.0"), x.end.Format("05.0"))
		}
	}
	t.Logf("%d of %d instructions were carried out, the others passed while flexd was killed", done, len(op.all))
	s.checkNumbers()
	quiet(t, bat, time.Second)
}

// life is the time from one start of the process to its kill.
type life struct{ from, to time.Time }

// within says whether the instruction could not but be carried out in l: 2.5 s
// are enough for a start, a hand-back and a setpoint, on a busy machine too.
func (x sent) within(l life) bool {
	ready := l.from.Add(2500 * time.Millisecond)
	begin := later(later(ready, x.start), x.accepted.Add(time.Second))
	return !x.accepted.IsZero() && begin.Add(500*time.Millisecond).Before(x.end) && begin.Add(500*time.Millisecond).Before(l.to)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// final is the last word for an instruction.
func (s *site) final(id string) string {
	for _, state := range s.ear.ladder(id) {
		if slices.Contains([]string{"completed", "refused", "expired", "cancelled", "stopped", "superseded"}, state) {
			return state
		}
	}
	return ""
}

// checkEnd checks the story of one instruction against the writes at the
// plant; true when it was carried out.
func (s *site) checkEnd(bat *sim.Device, x sent) bool {
	s.t.Helper()
	var steps []string // without repetitions for a change of conditions
	for _, st := range s.ear.ladder(x.id) {
		if len(steps) == 0 || steps[len(steps)-1] != st {
			steps = append(steps, st)
		}
	}
	rate, _, ok := bat.Point(124, "OutWRte")
	if !ok {
		s.t.Fatal("no model 124")
	}
	written := 0
	for _, w := range bat.Writes() {
		if w.Addr != rate || int(w.Words[0]) != x.watts || w.Exception != 0 {
			continue
		}
		written++
		if w.At.Before(x.start) || w.At.After(x.end.Add(50*time.Millisecond)) {
			s.t.Errorf("%s, %v to %v, was acted on at %v", x.id, x.start.Format("05.0"), x.end.Format("05.0"), w.At.Format("05.000"))
		}
	}
	switch end := s.final(x.id); {
	case end == "completed" && slices.Equal(steps, []string{"admitted", "scheduled", "active", "completed"}):
		if written == 0 {
			s.t.Errorf("%s is told as completed and was never written", x.id)
		}
		return true
	case end == "expired" && slices.Equal(steps, []string{"admitted", "scheduled", "expired"}):
	case end == "refused" && slices.Equal(steps, []string{"refused"}) && s.ear.reason(x.id) == "too_late":
		if !x.accepted.IsZero() && x.accepted.Before(x.start) {
			s.t.Logf("%s was accepted %v before its start and fetched too late", x.id, x.start.Sub(x.accepted).Round(time.Millisecond))
		}
	default:
		s.t.Errorf("%s was announced as %v (%s), accepted %v, %d writes", x.id, steps, s.ear.reason(x.id), x.accepted.Format("05.000"), written)
	}
	return false
}

// checkNumbers wants every number of the stream, over all sessions.
func (s *site) checkNumbers() {
	s.t.Helper()
	for _, stream := range []string{"ack", "event"} {
		got := map[uint64]string{}
		most := uint64(0)
		for _, h := range s.ear.on(stream) {
			if id, ok := got[h.Seq]; ok && id != h.ID {
				s.t.Errorf("%s number %d was given twice", stream, h.Seq)
			}
			got[h.Seq] = h.ID
			most = max(most, h.Seq)
		}
		for i := uint64(1); i <= most; i++ {
			if _, ok := got[i]; !ok {
				s.t.Errorf("%s number %d of %d was never heard", stream, i, most)
			}
		}
	}
}
