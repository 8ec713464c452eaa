package agent_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flexd/agent/demo"
	"flexd/drivers/sim"
)

// trouble is one line of the catalogue: what goes wrong on the market's side,
// and what comes of it.
type trouble struct {
	name, fault, outcome string
	// change is made to the site before it is built.
	change func(*siteOptions)
	// late means that the case starts flexd itself.
	late bool
	run  func(*faulty)
}

// faulty is a running site whose market is about to go wrong.
type faulty struct {
	*site
	bat *sim.Device
}

// catalogue is every fault of the market side.
func catalogue() []trouble {
	return slices.Concat(downs(), slows(), denials(), halves(), vanishings(), counts(), pages(), floods(), redirects(),
		tokens(), keys(), clocks(), repeats())
}

// Every fault of the market's side has one stated outcome: nothing that was
// accepted is lost, nothing acts twice, and nothing else suffers.
func TestTheMarketsFaultsHaveTheirOutcomes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range catalogue() {
		if seen[c.name] || c.fault == "" || c.outcome == "" {
			t.Fatalf("the case %q is listed twice or says too little", c.name)
		}
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			t.Logf("catalogue | %s | %s | %s", c.name, c.fault, c.outcome)
			t.Parallel()
			o := siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, load: 700}
			if c.change != nil {
				c.change(&o)
			}
			s := newSite(t, o)
			if !c.late {
				s.inside()
			}
			c.run(&faulty{site: s, bat: s.devices[0]})
			s.ear.wantOrdered(t)
		})
	}
	t.Logf("%d faults in the catalogue", len(seen))
}

// wantOrdered checks that the numbers of the life-cycle have no hole, also
// when flexd was started more than once.
func (e *ear) wantOrdered(t *testing.T) {
	t.Helper()
	next := uint64(1)
	for _, h := range e.once("ack") {
		if h.Seq != next {
			t.Errorf("ack: number %d, want %d", h.Seq, next)
		}
		next = h.Seq + 1
	}
}

// distant is an instruction for later today or tomorrow; those with different
// numbers do not overlap.
func distant(id string, n int) demo.Instruction {
	start := second(2*time.Hour + time.Duration(n)*time.Minute)
	return ask(id, "0.00300", "export", start, start.Add(30*time.Second))
}

// near is an instruction of three kilowatts that begins after a while.
func near(id string, in, long time.Duration) (demo.Instruction, time.Time) {
	start := second(in)
	return ask(id, "0.00300", "export", start, start.Add(long)), start.Add(long)
}

// the addresses that are spoilt.
const (
	everywhere       = "/"
	tokenPath        = "/authtoken/v1/"
	keyPath          = "/webhook/v1/public-key/"
	instructionsPath = "/dispatch/v1/instructions/"
	obligationsPath  = "/obligations/v1/"
)

// asked counts the requests for a path.
func (f *faulty) asked(path string) int {
	all := f.market.Requests()
	if path == tokenPath {
		return all["POST "+path]
	}
	return all["GET "+path]
}

// askedAgain waits for n more requests for a path than there were before.
func (f *faulty) askedAgain(path string, before, n int) {
	f.t.Helper()
	f.await(15*time.Second, fmt.Sprintf("%s is asked %d times more", path, n), func() bool { return f.asked(path) >= before+n })
}

// heal takes a fault back.
func (f *faulty) heal(path string) { f.market.SetFault(path, demo.Fault{}) }

// notify lists instructions and sends one notification of them; it gives the
// door's answer.
func (f *faulty) notify(n demo.Notice, ins ...demo.Instruction) int {
	f.t.Helper()
	must(f.t, f.market.List(ins...))
	if n.IDs == nil {
		for _, in := range ins {
			n.IDs = append(n.IDs, in.ID)
		}
	}
	d, err := f.market.Publish(f.t.Context(), n)
	if err != nil && d.Status == 0 {
		f.t.Fatal(err)
	}
	return d.Status
}

// taken wants the door to accept.
func (f *faulty) taken(n demo.Notice, ins ...demo.Instruction) {
	f.t.Helper()
	if code := f.notify(n, ins...); code/100 != 2 {
		f.t.Fatalf("a good notification is answered %d", code)
	}
}

// insist sends until the door accepts; before that it may only say 503.
func (f *faulty) insist(limit time.Duration, ins ...demo.Instruction) {
	f.t.Helper()
	f.await(limit, "the door accepts", func() bool {
		code := f.notify(demo.Notice{}, ins...)
		if code/100 != 2 && code != http.StatusServiceUnavailable {
			f.t.Fatalf("a good notification is answered %d", code)
		}
		time.Sleep(100 * time.Millisecond)
		return code/100 == 2
	})
}

// scheduled waits until instructions are scheduled, each by exactly these
// steps, and nothing else has happened.
func (f *faulty) scheduled(limit time.Duration, ids ...string) {
	f.t.Helper()
	for _, id := range ids {
		f.await(limit, id+" is scheduled", func() bool { return f.ear.has(id, "scheduled") })
	}
	for _, id := range ids {
		f.wantLadder(id, "admitted", "scheduled")
	}
	if n := len(f.bat.Writes()); n > 0 {
		f.t.Errorf("%d writes to the battery", n)
	}
}

// closed waits until the notification of an instruction is told as followed
// to its end.
func (f *faulty) closed(limit time.Duration, id string) {
	f.t.Helper()
	f.await(limit, "the notification of "+id+" is told as fetched", func() bool { return slices.Contains(f.ear.notices(id), "fetched") })
	if n := f.ear.notices(id); !slices.Equal(n, []string{"notified", "verified", "fetched"}) {
		f.t.Errorf("the notification of %s was announced as %v", id, n)
	}
}

// acts waits for the watts, the end and the release.
func (f *faulty) acts(id string, end time.Time) {
	f.t.Helper()
	f.delivers(f.bat, time.Until(end), 3000)
	f.ends(id, end)
}

// ends waits for the end of what runs, which is neither early nor late.
func (f *faulty) ends(id string, end time.Time) {
	f.t.Helper()
	for time.Now().Before(end.Add(-100 * time.Millisecond)) {
		if p := f.bat.Power(); math.Abs(p-3000) > 1 {
			f.t.Fatalf("%v W, %v before the end", p, time.Until(end))
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.over(f.bat, time.Until(end)+3*time.Second, id, "completed")
	f.wantLadder(id, "admitted", "scheduled", "active", "completed")
}

// raised waits until an alarm stands; cleared until it is gone.
func (f *faulty) raised(limit time.Duration, code string) {
	f.t.Helper()
	f.await(limit, "the alarm "+code, func() bool { return f.stands(code) })
}

func (f *faulty) cleared(limit time.Duration, code string) {
	f.t.Helper()
	f.await(limit, "no alarm "+code+" any more", func() bool { return !f.stands(code) })
}

func (f *faulty) stands(code string) bool {
	for _, a := range f.shown().Alerts {
		if a.Code == code {
			return true
		}
	}
	return false
}

// begin starts the real program and waits until it is ready, whatever it can
// reach.
func (f *faulty) begin() {
	f.t.Helper()
	f.process()
	f.await(20*time.Second, "flexd is ready", func() bool {
		st, err := f.status()
		return err == nil && st.Ready && len(st.Devices) > 0 && st.Devices[0].Online
	})
}

// again kills flexd and starts it anew.
func (f *faulty) again() {
	f.t.Helper()
	f.kill()
	f.begin()
}

// trap is a server of somebody else. Nobody has any business there, least of
// all with the account's token.
type trap struct {
	*httptest.Server
	hits atomic.Int64
	mu   sync.Mutex
	last string
}

func (f *faulty) trap() *trap {
	tr := &trap{}
	tr.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr.hits.Add(1)
		body, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		tr.mu.Lock()
		tr.last = fmt.Sprintf("%s %s, Authorization %q, body %q", r.Method, r.URL, r.Header.Get("Authorization"), body)
		tr.mu.Unlock()
		_, _ = io.WriteString(w, "[]")
	}))
	f.t.Cleanup(tr.Close)
	return tr
}

// wantUnheard checks that nobody came.
func (tr *trap) wantUnheard(t *testing.T) {
	t.Helper()
	if n := tr.hits.Load(); n > 0 {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		t.Errorf("somebody else's server was asked %d times, the last time with %s", n, tr.last)
	}
}

// listed is the reply that lists some instructions.
func listed(t *testing.T, ins ...demo.Instruction) []byte {
	t.Helper()
	text, err := json.Marshal(ins)
	must(t, err)
	return text
}
