package agent_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"flexd/agent/demo"
)

var gone = demo.Fault{Drop: true}

// downs are the cases of a market that does not answer at all.
func downs() []trouble {
	return []trouble{
		{name: "down at the first start", fault: "every connection is closed from before the first start", late: true,
			outcome: "flexd serves, notifications are answered 503 until the key can be had, and the first one accepted after that is scheduled",
			run: func(f *faulty) {
				f.market.SetFault(everywhere, gone)
				f.begin()
				f.unjudged(distant("i1", 1))
				f.heal(everywhere)
				f.insist(30*time.Second, distant("i1", 1))
				f.scheduled(30*time.Second, "i1")
			}},
		{name: "down at a restart", fault: "killed, and every connection is closed when it starts again", late: true,
			outcome: "the stored key verifies, the notification is accepted and is fetched when the market is back",
			run: func(f *faulty) {
				f.process()
				f.serving()
				f.kill()
				f.market.SetFault(everywhere, gone)
				before := f.asked(instructionsPath) + f.asked(tokenPath)
				f.begin()
				f.taken(demo.Notice{}, distant("i1", 1))
				f.await(10*time.Second, "the market is asked", func() bool { return f.asked(instructionsPath)+f.asked(tokenPath) > before })
				f.heal(everywhere)
				f.scheduled(20*time.Second, "i1")
				f.closed(5*time.Second, "i1")
			}},
		{name: "down before the fetch", fault: "the connection is closed when the instructions are asked for",
			outcome: "what was accepted is fetched when the market is back, and acts once",
			run: func(f *faulty) {
				in, end := near("i1", 8*time.Second, 2*time.Second)
				f.holdBack(gone, in)
				f.acts("i1", end)
				f.closed(time.Second, "i1")
			}},
		{name: "down during a window", fault: "every connection is closed while a dispatch runs",
			outcome: "the dispatch runs to its end and is handed back on time",
			run: func(f *faulty) {
				in, end := near("i1", time.Second, 4*time.Second)
				f.instruct(in)
				f.delivers(f.bat, 5*time.Second, 3000)
				f.market.SetFault(everywhere, gone)
				f.ends("i1", end)
			}},
		{name: "down until the window is over", fault: "the connection is closed until after the end of what was notified",
			outcome: "it is recorded as refused too_late and never acts",
			run: func(f *faulty) {
				in, end := near("i1", time.Second, 2*time.Second)
				f.market.SetFault(instructionsPath, gone)
				f.taken(demo.Notice{}, in)
				until(end)
				f.heal(instructionsPath)
				f.await(12*time.Second, "refused", func() bool { return f.ear.has("i1", "refused") })
				f.wantLadder("i1", "refused")
				if why := f.ear.reason("i1"); why != "too_late" {
					f.t.Errorf("refused with %q", why)
				}
				if n := len(f.bat.Writes()); n > 0 {
					f.t.Errorf("%d writes to the battery", n)
				}
			}},
		{name: "down when a stop is notified", fault: "the connection is closed when a stop is asked for, while its dispatch runs",
			outcome: "the dispatch is stopped by the first reply that comes",
			run: func(f *faulty) {
				in, _ := near("i1", time.Second, time.Minute)
				f.instruct(in)
				f.delivers(f.bat, 5*time.Second, 3000)
				f.await(3*time.Second, "active", func() bool { return f.ear.has("i1", "active") })
				f.market.SetFault(instructionsPath, gone)
				before := f.asked(instructionsPath)
				_, err := f.market.Stop(f.t.Context(), "i1")
				must(f.t, err)
				f.askedAgain(instructionsPath, before, 1)
				f.heal(instructionsPath)
				f.over(f.bat, 10*time.Second, "i1", "stopped")
				f.wantLadder("i1", "admitted", "scheduled", "active", "stopped")
			}},
	}
}

// holdBack notifies while the instructions are spoilt, heals that once they
// have been asked for, and waits until they are scheduled.
func (f *faulty) holdBack(bad demo.Fault, ins ...demo.Instruction) {
	f.t.Helper()
	f.market.SetFault(instructionsPath, bad)
	before := f.asked(instructionsPath)
	f.taken(demo.Notice{}, ins...)
	f.askedAgain(instructionsPath, before, 1)
	f.heal(instructionsPath)
	for _, in := range ins {
		f.await(10*time.Second, in.ID+" is scheduled", func() bool { return f.ear.has(in.ID, "scheduled") })
	}
}

// retried is the case of one spoilt reply that is simply asked for again.
func retried(name, fault string, bad demo.Fault) trouble {
	return trouble{name: name, fault: fault, outcome: "the notification is kept and fetched again, what it points to is scheduled once, the notification is closed",
		run: func(f *faulty) {
			f.holdBack(bad, distant("i1", 1))
			f.scheduled(time.Second, "i1")
			f.closed(5*time.Second, "i1")
		}}
}

// slows are the cases of a market that takes its time.
func slows() []trouble {
	acts := func(bad demo.Fault) func(*faulty) {
		return func(f *faulty) {
			f.market.SetFault(everywhere, bad)
			in, end := near("i1", 5*time.Second, 2*time.Second)
			f.taken(demo.Notice{}, in)
			f.acts("i1", end)
		}
	}
	return []trouble{
		{name: "headers late", fault: "every answer begins 1.5 s late", outcome: "the dispatch acts at its second", run: acts(demo.Fault{Latency: 1500 * time.Millisecond})},
		{name: "dripping body", fault: "every body comes 8 bytes every 30 ms", outcome: "the dispatch acts at its second", run: acts(demo.Fault{Drip: 30 * time.Millisecond})},
		{name: "three replies that hang", fault: "the replies to three notifications never come, a fourth notification is a stop",
			outcome: "the stop acts at once; the three are fetched when the market answers", run: func(f *faulty) { stopPast(f, 3) }},
		{name: "many replies that hang", fault: "the replies to twelve notifications never come, the next notification is a stop",
			outcome: "the stop acts within seconds", run: func(f *faulty) { stopPast(f, 12) }},
	}
}

// stopPast lets n replies hang and wants a stop to get past them.
func stopPast(f *faulty, n int) {
	run, _ := near("run", time.Second, 2*time.Minute)
	d := f.instruct(run)
	f.delivers(f.bat, 5*time.Second, 3000)
	f.await(3*time.Second, "active", func() bool { return f.ear.has("run", "active") })
	free := make(chan struct{})
	before := f.asked(instructionsPath)
	var ids []string
	// Sets are numbered: the next ones are those that hang.
	var first int
	_, err := fmt.Sscanf(d.DataURL[len(f.market.URL()+instructionsPath):], "?set=%d", &first)
	must(f.t, err)
	f.market.SetFault(instructionsPath, demo.Fault{
		Only: func(r *http.Request) bool {
			var set int
			_, err := fmt.Sscan(r.URL.Query().Get("set"), &set)
			return err == nil && set > first && set <= first+n
		},
		Answer: func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-free:
			case <-r.Context().Done():
			}
		},
	})
	for i := range n {
		id := fmt.Sprintf("h%d", i)
		ids = append(ids, id)
		f.taken(demo.Notice{}, distant(id, i+1))
	}
	f.askedAgain(instructionsPath, before, min(n, 3))
	told := time.Now()
	_, err = f.market.Stop(f.t.Context(), "run")
	must(f.t, err)
	f.over(f.bat, 6*time.Second, "run", "stopped")
	f.t.Logf("released %v after the stop was sent", time.Since(told).Round(time.Millisecond))
	f.heal(instructionsPath)
	close(free)
	for _, id := range ids {
		f.await(12*time.Second, id+" is scheduled", func() bool { return f.ear.has(id, "scheduled") })
		f.wantLadder(id, "admitted", "scheduled")
	}
}

// denials are answers that say no, or that something is broken.
func denials() []trouble {
	out := []trouble{
		retried("a 500", "one reply is 500", demo.Fault{Status: 500}),
		retried("a 502 page", "one reply is a proxy's page with 502", demo.Fault{Status: 502, Body: "<html>Bad gateway</html>"}),
		retried("a 403", "the account is refused the instructions for a moment", demo.Fault{Status: 403}),
		retried("401 on one address", "only the instructions answer 401, whatever the token", demo.Fault{Status: 401}),
		{name: "a good list under 500", fault: "an error carries a list of instructions that the good reply does not", outcome: "the body of an error is not read",
			run: func(f *faulty) {
				bad := demo.Fault{Status: 500, Body: string(listed(f.t, distant("evil", 9)))}
				f.holdBack(bad, distant("i1", 1))
				f.closed(5*time.Second, "i1")
				if l := f.ear.ladder("evil"); len(l) > 0 {
					f.t.Errorf("what the error carried was announced as %v", l)
				}
			}},
		{name: "401 on one address for long", fault: "the instructions answer 401 to every token", outcome: "an alarm is raised, tokens are asked for once a try and not in a storm, and it is scheduled afterwards",
			run: func(f *faulty) {
				f.market.SetFault(instructionsPath, demo.Fault{Status: 401})
				before, tokensBefore := f.asked(instructionsPath), f.asked(tokenPath)
				f.taken(demo.Notice{}, distant("i1", 1))
				f.raised(10*time.Second, "instructions_missing")
				tries, asked := f.asked(instructionsPath)-before, f.asked(tokenPath)-tokensBefore
				if asked > tries || tries > 10 {
					f.t.Errorf("%d tries, %d tokens", tries, asked)
				}
				f.heal(instructionsPath)
				f.scheduled(20*time.Second, "i1")
				f.cleared(5*time.Second, "instructions_missing")
			}},
		{name: "401 everywhere", fault: "every address answers 401, the credentials' own too", late: true,
			outcome: "the credentials are tried once a minute at most, nothing accepted is lost, and a restart tries at once",
			run: func(f *faulty) {
				f.process()
				f.serving()
				f.market.SetFault(everywhere, demo.Fault{Status: 401})
				must(f.t, f.market.RevokeTokens())
				before := f.asked(tokenPath)
				f.taken(demo.Notice{}, distant("i1", 1))
				f.askedAgain(tokenPath, before, 1)
				until(time.Now().Add(4 * time.Second)) // time for a storm
				if n := f.asked(tokenPath) - before; n != 1 {
					f.t.Errorf("the credentials were tried %d times", n)
				}
				f.heal(everywhere)
				f.again()
				f.scheduled(10*time.Second, "i1")
				f.closed(5*time.Second, "i1")
			}},
		{name: "401 on the obligations", fault: "killed, and the contracts answer 401 when it starts again", late: true, outcome: lastCopy, run: restartWithout(demo.Fault{Status: 401})},
		{name: "500 on the obligations", fault: "killed, and the contracts answer 500 when it starts again", late: true, outcome: lastCopy, run: restartWithout(demo.Fault{Status: 500})},
	}
	for _, status := range []int{429, 503} {
		out = append(out, trouble{name: fmt.Sprintf("a %d with Retry-After", status), fault: fmt.Sprintf("one reply is %d and asks for 2 s of patience", status),
			outcome: "it is not asked again before, and soon after",
			run: func(f *faulty) {
				f.patience(demo.Fault{Status: status, Header: map[string]string{"Retry-After": "2"}, Times: 1})
			}})
	}
	return out
}

// lastCopy is the outcome of every fault of the contracts' list.
const lastCopy = "the last copy of the contracts serves, what is notified is scheduled"

// patience wants the two seconds of a fault to be kept.
func (f *faulty) patience(bad demo.Fault) {
	f.t.Helper()
	f.market.SetFault(instructionsPath, bad)
	before := f.asked(instructionsPath)
	f.taken(demo.Notice{}, distant("i1", 1))
	f.askedAgain(instructionsPath, before, 1)
	first := time.Now()
	f.askedAgain(instructionsPath, before, 2)
	if wait := time.Since(first); wait < 1900*time.Millisecond || wait > 4*time.Second {
		f.t.Errorf("asked again after %v", wait)
	}
	f.scheduled(5*time.Second, "i1")
}

// restartWithout starts again while the contracts' list is spoilt.
func restartWithout(bad demo.Fault) func(*faulty) {
	return func(f *faulty) {
		f.process()
		f.serving()
		f.market.SetFault(obligationsPath, bad)
		before := f.asked(obligationsPath)
		f.again()
		f.askedAgain(obligationsPath, before, 1)
		f.taken(demo.Notice{}, distant("i1", 1))
		f.scheduled(10*time.Second, "i1")
		f.closed(5*time.Second, "i1")
	}
}

// The catalogue names its cases so that a person finds them.
func TestTheCatalogueIsLargeAndPlain(t *testing.T) {
	all := catalogue()
	if len(all) < 50 {
		t.Errorf("only %d faults", len(all))
	}
	t.Logf("%d faults", len(all))
}

// unjudged sends what nobody can judge for want of a key.
func (f *faulty) unjudged(in demo.Instruction) {
	f.t.Helper()
	if code := f.notify(demo.Notice{}, in); code != http.StatusServiceUnavailable {
		f.t.Errorf("a notification that nobody can judge is answered %d", code)
	}
}
