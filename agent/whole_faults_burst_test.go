package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/drivers/sim"
	"flexd/longtest"
)

// most is the memory that flexd may need, whatever the market sends.
const most = 64 << 20

// processWith runs the real program with more in its environment.
func (s *site) processWith(env ...string) {
	s.t.Helper()
	bin, err := program()
	must(s.t, err)
	cmd := exec.Command(bin, "run", "--config", s.config)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = s.log
	s.begun = time.Now()
	must(s.t, cmd.Start())
	s.cmd = cmd
}

// memory is what the kernel says of the running program's memory (proc(5)):
// VmHWM is the most that ever was resident.
func (s *site) memory(line string) int {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	must(s.t, err)
	for l := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(l, line); ok {
			n, err := strconv.Atoi(strings.Fields(kb)[0])
			must(s.t, err)
			return n << 10
		}
	}
	s.t.Fatal("the kernel does not tell the memory")
	return 0
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }

// ownMemory watches the program's own memory until the test ends: what the
// kernel cannot take back. Pages of files are its cache.
func (s *site) ownMemory() (peak func() int) {
	var mu sync.Mutex
	most := 0
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
			if _, line, ok := strings.Cut(string(text), "RssAnon:"); err == nil && ok {
				if n, err := strconv.Atoi(strings.Fields(line)[0]); err == nil {
					mu.Lock()
					most = max(most, n<<10)
					mu.Unlock()
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	s.t.Cleanup(func() { cancel(); <-done })
	return func() int { mu.Lock(); defer mu.Unlock(); return most }
}

// wantSmall checks the memory of the program.
func (s *site) wantSmall() {
	s.t.Helper()
	got := s.memory("VmHWM:")
	state := 0
	if i, err := os.Stat(filepath.Join(s.dir, "state", "state.db")); err == nil {
		state = int(i.Size())
	}
	s.t.Logf("at most %.1f MiB resident, now %.1f MiB of its own and %.1f MiB of files; state file %.1f MiB", mib(got), mib(s.memory("RssAnon:")), mib(s.memory("RssFile:")), mib(state))
	if got > most {
		s.t.Errorf("%.1f MiB were resident, want at most %d", mib(got), most>>20)
	}
}

// records are the instructions in the store, by id.
func (s *site) records() map[string]flex.Record {
	s.t.Helper()
	var list []local.Instruction
	s.await(20*time.Second, "the instructions are shown", func() bool {
		var err error
		list, err = local.Dial(s.socket).Instructions(s.t.Context(), 10_000)
		return err == nil
	})
	out := make(map[string]flex.Record, len(list))
	for _, r := range list {
		out[string(r.ID)] = r.Record
	}
	return out
}

// Bursts take both processors of a small machine: they are tests of their own,
// beside which no other measures when watts come.

// Thousands of notifications as fast as they are taken, half of them repeats:
// every one that is accepted is followed, and a dispatch in the middle of it
// is carried out at its second.
func TestABurstOfNotifications(t *testing.T) {
	if testing.Short() {
		t.Skip("a burst")
	}
	all := longtest.Pick(2000, 5000)
	distinct := all / 2
	t.Logf("catalogue | a burst of notifications | %d notifications come at once, half of them repeats, while a window opens and closes | "+
		"each accepted one is followed and its instruction recorded once, the window acts at its second, memory stays under 64 MB", all)
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}})
	f := &faulty{site: s, bat: s.devices[0]}
	// The list shows nothing: only who follows the notifications finds them.
	s.market.SetFault(instructionsPath, demo.Fault{Status: 200, Body: "[]", Only: func(r *http.Request) bool { return !ofSet(r) }})
	tokens := make([][]byte, distinct)
	for i := range tokens {
		must(t, s.market.List(distant(fmt.Sprintf("b%04d", i), i+1)))
		d, err := s.market.Publish(t.Context(), demo.Notice{IDs: []string{fmt.Sprintf("b%04d", i)}, Drop: true})
		must(t, err)
		tokens[i] = []byte(d.Token)
	}
	s.process()
	s.serving()
	own := s.ownMemory()
	in, end := near("now", 8*time.Second, 3*time.Second)
	must(t, s.market.List(in))
	if d, err := s.market.Publish(t.Context(), demo.Notice{IDs: []string{"now"}}); err != nil || d.Status/100 != 2 {
		t.Fatal(d.Status, err)
	}
	var put, lost atomic.Int64
	watched := f.watchOnce(in.Start, end)
	begun := time.Now()
	f.crowd(all, func(i int) int {
		for {
			d, err := s.market.Repost(t.Context(), "application/jose", tokens[i*7%distinct])
			if d.Status == 0 {
				lost.Add(1)
				t.Logf("no answer to delivery %d after %v, it is sent again: %v", i, time.Since(begun), err)
			}
			if d.Status != 0 && d.Status != http.StatusTooManyRequests && d.Status != http.StatusServiceUnavailable {
				return d.Status
			}
			put.Add(1)
			time.Sleep(50 * time.Millisecond)
		}
	})
	t.Logf("%d notifications accepted in %v, %d times put off", all, time.Since(begun).Round(time.Millisecond), put.Load())
	<-watched
	f.allAnnounced(distinct)
	t.Logf("all announced %v after the first was sent", time.Since(begun).Round(time.Millisecond))
	got := s.records()
	for i := range distinct {
		if r, ok := got[fmt.Sprintf("b%04d", i)]; !ok || r.State != flex.Scheduled {
			t.Fatalf("b%04d is %q", i, r.State)
		}
	}
	s.over(f.bat, 10*time.Second, "now", "completed")
	s.wantLadder("now", "admitted", "scheduled", "active", "completed")
	t.Run("every delivery is answered in time", func(t *testing.T) {
		if n := lost.Load(); n > 0 {
			t.Errorf("%d deliveries had no answer within the sender's ten seconds", n)
		}
	})
	s.wantSmallOwn(own)
}

// watchOnce tells whether the watts came within a second of the start.
func (f *faulty) watchOnce(start, end time.Time) (watched chan struct{}) {
	watched = make(chan struct{})
	go func() {
		defer close(watched)
		until(start)
		seen := time.Time{}
		for time.Now().Before(end) && seen.IsZero() {
			if p := f.bat.Power(); p > 2999 && p < 3001 {
				seen = time.Now()
			}
			time.Sleep(5 * time.Millisecond)
		}
		if late := seen.Sub(start); seen.IsZero() || late > time.Second {
			f.t.Errorf("in the middle of the burst the watts came %v after the second", late)
		} else {
			f.t.Logf("in the middle of the burst the watts came %v after the second", late.Round(time.Millisecond))
		}
	}()
	return watched
}

// allAnnounced waits until every one of the burst is announced, once.
func (f *faulty) allAnnounced(distinct int) {
	f.t.Helper()
	f.await(5*time.Minute, "everything is announced", func() bool {
		time.Sleep(200 * time.Millisecond)
		return f.ear.instructions() >= distinct+1
	})
	for id, l := range f.ladders() {
		if id != "now" && fmt.Sprint(l) != "[admitted scheduled]" {
			f.t.Errorf("%s was announced as %v", id, l)
		}
	}
}

// wantSmallOwn checks what ownMemory saw.
func (s *site) wantSmallOwn(own func() int) {
	s.t.Run("memory stays under 64 MB", func(t *testing.T) {
		t.Logf("at most %.1f MiB of its own, with the pages of its files %.1f MiB", mib(own()), mib(s.memory("VmHWM:")))
		if own() > most {
			t.Errorf("%.1f MiB were its own, want at most %d", mib(own()), most>>20)
		}
	})
}

// An instruction that is due soon does not wait behind a long list of others
// that are for later.
func TestAnUrgentInstructionBehindALongList(t *testing.T) {
	if testing.Short() {
		t.Skip("a burst")
	}
	long := longtest.Pick(1000, 2000)
	t.Logf("catalogue | a long list before an urgent one | one reply lists %d instructions for later, the next notification is for in seven seconds | the urgent one acts at its second", long)
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}})
	f := &faulty{site: s, bat: s.devices[0]}
	s.process()
	s.serving()
	var many []demo.Instruction
	for i := range long {
		many = append(many, distant(fmt.Sprintf("m%04d", i), i+1))
	}
	f.taken(demo.Notice{}, many...)
	f.await(10*time.Second, "the long list is worked on", func() bool { return f.ear.has("m0000", "scheduled") })
	in, end := near("now", 7*time.Second, 2*time.Second)
	f.taken(demo.Notice{}, in)
	f.await(time.Until(in.Start), "the urgent one is scheduled", func() bool { return f.ear.has("now", "scheduled") })
	f.acts("now", end)
	f.await(5*time.Minute, "all are announced", func() bool {
		time.Sleep(200 * time.Millisecond)
		return f.ear.instructions() == len(many)+1
	})
}

// Ten thousand instructions in one reply: the few that are ours act, the
// others are recorded, within bounded time and memory.
func TestTenThousandInstructionsInOneReply(t *testing.T) {
	if testing.Short() {
		t.Skip("a burst")
	}
	many := longtest.Pick(800, 2000)
	for _, c := range []struct {
		name, outcome string
		ours          int
	}{
		{"most for others", "ours are scheduled and the first acts at its second, the others are recorded and dropped", 10},
		{fmt.Sprintf("%d for us", many), "every one is scheduled, the first acts at its second", many},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // beside the other of them alone
			t.Logf("catalogue | 10,000 instructions in one reply, %s | one notification points to 10,000 instructions | %s; memory stays under 64 MB", c.name, c.outcome)
			tenThousand(t, c.ours)
		})
	}
}

func tenThousand(t *testing.T, ours int) {
	const all = 10_000
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}})
	f := &faulty{site: s, bat: s.devices[0]}
	s.process()
	s.serving()
	own := s.ownMemory()
	first, end := near("n00000", 20*time.Second, 3*time.Second)
	var ins []demo.Instruction
	for i := 1; i < all; i++ {
		start := second(2*time.Hour + time.Duration(i)*20*time.Second)
		in := ask(fmt.Sprintf("n%05d", i), "0.00300", "export", start, start.Add(10*time.Second))
		if i >= ours {
			in.Assets, in.Obligation = []string{fmt.Sprintf("other%d", i%7)}, "somebody-elses"
		}
		ins = append(ins, in)
	}
	reply := listed(t, append(ins, first)...) // the last of them is the first to act
	t.Logf("the reply has %.1f MiB", float64(len(reply))/(1<<20))
	s.market.SetFault(instructionsPath, demo.Fault{Answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = bytes.NewReader(reply).WriteTo(w) }})
	count := all
	begun := time.Now()
	if _, err := s.market.Publish(t.Context(), demo.Notice{IDs: []string{"n00000"}, Count: &count}); err != nil {
		t.Fatal(err)
	}
	s.await(10*time.Second, "the first is scheduled before the rest is even stored", func() bool { return s.ear.has("n00000", "scheduled") })
	t.Logf("the first is scheduled after %v", time.Since(begun).Round(time.Millisecond))
	f.acts("n00000", end)
	s.await(5*time.Minute, "every one of ours is announced", func() bool {
		time.Sleep(200 * time.Millisecond)
		return f.ear.instructions() >= ours
	})
	t.Logf("%d of ours announced after %v", ours, time.Since(begun).Round(time.Millisecond))
	for i := 1; i < ours; i++ {
		id := fmt.Sprintf("n%05d", i)
		f.await(30*time.Second, id+" is scheduled", func() bool { return fmt.Sprint(f.ladders()[id]) == "[admitted scheduled]" })
		if i > 20 {
			break
		}
	}
	f.closed(30*time.Second, "n00000")
	if got := s.records(); len(got) != ours {
		t.Errorf("%d instructions of ours are in the store, want %d", len(got), ours)
	}
	s.wantSmallOwn(own)
}
