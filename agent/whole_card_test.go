package agent_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest/foreign"
	"flexd/drivers/sim"
)

// strace follows the calls that the running process makes of its state file,
// until that ends. It gives the file in which they are noted.
func (s *site) strace(args ...string) (noted string) {
	s.t.Helper()
	noted = filepath.Join(s.dir, "calls")
	if _, err := exec.LookPath("strace"); err != nil {
		foreign.Lacking(s.t, "strace", err)
	}
	said := &logBuffer{}
	tracer := exec.Command("strace", append(args, "-f", "-s", "0", "-P", filepath.Join(s.dir, "state", "state.db"), "-o", noted, "-p", strconv.Itoa(s.cmd.Process.Pid))...)
	tracer.Stderr = said
	must(s.t, tracer.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = tracer.Wait() }()
	s.t.Cleanup(func() { _ = tracer.Process.Kill(); <-ended })
	for {
		select {
		case <-ended:
			foreign.Lacking(s.t, "strace", fmt.Errorf("it cannot attach here: %s", said))
		case <-time.After(20 * time.Millisecond):
			if strings.Contains(said.String(), "attached") {
				return noted
			}
		}
	}
}

// One dispatch costs the card a few commits, however many devices it has: they
// are written together.
func TestOneDispatchIsAFewCommits(t *testing.T) {
	t.Parallel()
	o := siteOptions{capacity: "0.16000"}
	for range 16 {
		o.batteries = append(o.batteries, aBattery(sim.Options{PctSF: -2}))
	}
	s := newSite(t, o)
	s.process()
	s.serving()
	time.Sleep(4 * time.Second) // what the start has to write is written
	noted := s.strace("-e", "trace=pwrite64,fdatasync")
	start := second(2 * time.Second)
	s.instruct(ask("i1", "0.04800", "export", start, start.Add(4*time.Second)))
	s.await(20*time.Second, "it is completed", func() bool { r, ok := s.record("i1"); return ok && r.State == flex.Completed })
	time.Sleep(4 * time.Second) // and what it leaves
	s.kill()
	calls, err := os.ReadFile(noted)
	must(t, err)
	syncs, sum := strings.Count(string(calls), "fdatasync("), 0
	for _, m := range regexp.MustCompile(`pwrite64\(.*= (\d+)`).FindAllStringSubmatch(string(calls), -1) {
		n, err := strconv.Atoi(m[1])
		must(t, err)
		sum += n
	}
	t.Logf("%d KiB in %d commits", sum>>10, syncs/2)
	if syncs == 0 || syncs/2 > 14 || sum > 500<<10 {
		t.Errorf("%d KiB in %d commits", sum>>10, syncs/2)
	}
}

// On a card whose syncs take 0.4 s longer the windows begin on time, and a kill
// in the middle of one hands every device back.
func TestASlowCardHoldsUpNoStart(t *testing.T) {
	t.Parallel()
	stuck := sim.Options{PctSF: -2, NeverReverts: true}
	s := newSite(t, siteOptions{capacity: "0.05000", batteries: []sim.Battery{aBattery(stuck), aBattery(stuck), aBattery(stuck), aBattery(stuck)}})
	s.process()
	s.serving()
	s.strace("-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=400000") // µs
	first := second(10 * time.Second)                                              // it takes some commits until it is decided
	starts := []time.Time{first, first.Add(4 * time.Second), first.Add(8 * time.Second)}
	for i, at := range starts {
		s.instruct(ask(fmt.Sprint("i", i), "0.01200", "export", at, at.Add(3*time.Second)))
	}
	until(starts[2].Add(time.Second))
	for i, d := range s.devices {
		writes := d.Writes()
		for _, at := range starts {
			k := slices.IndexFunc(writes, func(w sim.Write) bool { return w.At.After(at.Add(-500 * time.Millisecond)) })
			if k < 0 || writes[k].At.Sub(at) > 200*time.Millisecond { // 3 ms, and 12 ms at worst, beside other work
				t.Errorf("battery %d is not told at %v", i+1, at)
			}
		}
	}
	s.kill()
	s.process()
	until(starts[2].Add(3 * time.Second))
	for i, d := range s.devices {
		s.await(10*time.Second, fmt.Sprintf("battery %d is handed back", i+1), func() bool { return !d.Controlled() })
	}
}
