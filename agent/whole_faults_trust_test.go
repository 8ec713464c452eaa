package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"flexd/agent/demo"
)

// redirects lead elsewhere.
func redirects() []trouble {
	var out []trouble
	for _, status := range []int{302, 307} {
		out = append(out, trouble{name: fmt.Sprintf("a %d to another host", status), fault: fmt.Sprintf("every address answers %d and names somebody else's server, the credentials' own too", status),
			outcome: "it is never asked, sees neither token nor credentials; what was notified is fetched when the market answers again",
			run: func(f *faulty) {
				tr := f.trap()
				f.market.SetFault(everywhere, demo.Fault{Answer: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, tr.URL+r.URL.RequestURI(), status) }})
				before := f.asked(instructionsPath)
				f.taken(demo.Notice{}, distant("i1", 1))
				f.askedAgain(instructionsPath, before, 1)
				must(f.t, f.market.RevokeTokens())
				f.heal(instructionsPath)
				f.market.SetFault(instructionsPath, demo.Fault{Status: 401})
				tokensBefore := f.asked(tokenPath)
				f.askedAgain(tokenPath, tokensBefore, 1)
				f.heal(everywhere)
				f.heal(instructionsPath)
				f.scheduled(20*time.Second, "i1")
				tr.wantUnheard(f.t)
			}})
	}
	return append(out,
		retried("a redirect in a circle", "one address redirects to itself, until it is healed", demo.Fault{Status: 302, Header: map[string]string{"Location": instructionsPath}}),
		trouble{name: "a redirect to the clear", fault: "a market with TLS redirects to http on another port", late: true,
			outcome: "it is never asked, sees neither token nor credentials; what was notified is scheduled afterwards", run: downgrade})
}

// downgrade puts a TLS server in front of the market.
func downgrade(f *faulty) {
	tr := f.trap()
	var off atomic.Bool
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if off.Load() {
			http.Redirect(w, r, tr.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
			return
		}
		f.market.ServeHTTP(w, r)
	}))
	f.t.Cleanup(secure.Close)
	root := filepath.Join(f.dir, "root.pem")
	must(f.t, os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	text, err := os.ReadFile(f.config)
	must(f.t, err)
	must(f.t, os.WriteFile(f.config, []byte(strings.ReplaceAll(string(text), f.market.URL(), secure.URL)), 0o600))
	f.processWith("SSL_CERT_FILE=" + root)
	f.serving()
	off.Store(true)
	send := func(id string, n int) {
		must(f.t, f.market.List(distant(id, n)))
		f.taken(demo.Notice{DataURL: secure.URL + instructionsPath + fmt.Sprintf("?set=%d", n), IDs: []string{id}})
	}
	before := strings.Count(f.log.String(), "cannot fetch")
	send("i1", 1)
	f.await(8*time.Second, "a try fails", func() bool { return strings.Count(f.log.String(), "cannot fetch") > before })
	off.Store(false)
	f.scheduled(12*time.Second, "i1")
	tr.wantUnheard(f.t)
}

// tokens are bearer tokens that are worth little.
func tokens() []trouble {
	return []trouble{
		{name: "tokens revoked", fault: "every token issued so far becomes worthless", outcome: "a new one is asked for at once, the dispatch acts at its second",
			run: func(f *faulty) {
				must(f.t, f.market.RevokeTokens())
				in, end := near("i1", 2*time.Second, 2*time.Second)
				f.taken(demo.Notice{}, in)
				f.acts("i1", end)
			}},
		{name: "tokens of a second", fault: "every token ends within the second in which it is issued", outcome: "the dispatch acts at its second",
			run: func(f *faulty) {
				must(f.t, f.market.RevokeTokens())
				f.market.SetTokenLife(time.Second)
				in, end := near("i1", 5*time.Second, 2*time.Second)
				f.taken(demo.Notice{}, in)
				f.acts("i1", end)
			}},
		{name: "tokens that have ended", fault: "every token has ended when it is issued", outcome: "tokens are not asked for in a storm, what was notified is scheduled when they live again",
			run: func(f *faulty) {
				f.market.SetTokenLife(-time.Minute)
				must(f.t, f.market.RevokeTokens())
				before := f.asked(tokenPath)
				f.taken(demo.Notice{}, distant("i1", 1))
				f.raised(8*time.Second, "instructions_missing")
				if n := f.asked(tokenPath) - before; n > 8 {
					f.t.Errorf("%d tokens were asked for", n)
				}
				f.market.SetTokenLife(0)
				f.scheduled(12*time.Second, "i1")
			}},
	}
}

// keys are the signing keys of the market, which change.
func keys() []trouble {
	spoilt := func(bad demo.Fault) func(*faulty) {
		return func(f *faulty) {
			f.market.SetFault(keyPath, bad)
			must(f.t, f.market.RotateKey())
			if code := f.notify(demo.Notice{}, distant("i1", 1)); code != http.StatusServiceUnavailable {
				f.t.Errorf("a signature that nobody can judge is answered %d", code)
			}
			f.heal(keyPath)
			f.insist(15*time.Second, distant("i1", 1))
			f.scheduled(5*time.Second, "i1")
		}
	}
	const outcome = "503 and never 401 until the new key can be had; then accepted and scheduled"
	return []trouble{
		{name: "the key changes in a burst", fault: "300 notifications signed with the old and the new key come from eight senders while the key address changes", outcome: "all are accepted, none is called false, each is scheduled once", run: rotated},
		{name: "the key changes and cannot be had", fault: "a new key signs, and the key address answers 500", outcome: outcome, run: spoilt(demo.Fault{Status: 500})},
		{name: "the key changes and is cut", fault: "a new key signs, and the key document ends in the middle", outcome: outcome, run: spoilt(demo.Fault{Cut: true})},
		{name: "the key changes and is a page", fault: "a new key signs, and the key address shows a page", outcome: outcome, run: spoilt(demo.Fault{Status: 200, Body: "<html></html>"})},
		{name: "401 on the key alone", fault: "a new key signs, and the key address answers 401", outcome: outcome, run: spoilt(demo.Fault{Status: 401})},
		{name: "the key is published late", fault: "a new key signs, and the key address still shows the old one", change: func(o *siteOptions) { o.poll = "1s" },
			outcome: "the door does not accept, and polling finds the instruction",
			run: func(f *faulty) {
				f.market.SetFault(keyPath, demo.Fault{Status: 200, Body: f.publicKey()})
				must(f.t, f.market.RotateKey())
				if code := f.notify(demo.Notice{}, distant("i1", 1)); code/100 == 2 {
					f.t.Errorf("a signature under a key that is not published is answered %d", code)
				}
				f.scheduled(8*time.Second, "i1")
			}},
	}
}

// publicKey is the key as the market shows it now.
func (f *faulty) publicKey() string {
	f.t.Helper()
	ask := func(r *http.Request) []byte {
		w := httptest.NewRecorder()
		f.market.ServeHTTP(w, r)
		return w.Body.Bytes()
	}
	body, err := json.Marshal(map[string]string{"client_id": f.market.ClientID(), "api_key": f.market.APIKey()})
	must(f.t, err)
	var token struct {
		Token string `json:"token"`
	}
	must(f.t, json.Unmarshal(ask(httptest.NewRequest(http.MethodPost, tokenPath, bytes.NewReader(body))), &token))
	r := httptest.NewRequest(http.MethodGet, keyPath, nil)
	r.Header.Set("Authorization", "Bearer "+token.Token)
	key := string(ask(r))
	if !strings.Contains(key, "PUBLIC KEY") {
		f.t.Fatalf("the key is served as %s", key)
	}
	return key
}

// rotated sends a burst around a rotation.
func rotated(f *faulty) {
	const n = 300
	var ins []demo.Instruction
	var old []string // tokens of the second half, signed before the rotation
	for i := range n {
		in := distant(fmt.Sprintf("i%d", i), i+1)
		ins = append(ins, in)
		must(f.t, f.market.List(in))
		if i >= n/2 {
			d, err := f.market.Publish(f.t.Context(), demo.Notice{IDs: []string{in.ID}, Drop: true})
			must(f.t, err)
			old = append(old, d.Token)
		}
	}
	work := make(chan int)
	var wg sync.WaitGroup
	var done, wrong atomic.Int64
	send := func(i int) int {
		if i >= n/2 && i%2 == 0 {
			d, _ := f.market.Repost(context.Background(), "application/jose", []byte(old[i-n/2]))
			return d.Status
		}
		d, _ := f.market.Publish(context.Background(), demo.Notice{IDs: []string{ins[i].ID}})
		return d.Status
	}
	for range 8 {
		wg.Go(func() {
			for i := range work {
				code := send(i)
				for tries := 0; code == http.StatusServiceUnavailable && tries < 100; tries++ {
					time.Sleep(100 * time.Millisecond)
					code = send(i)
				}
				if code/100 != 2 {
					wrong.Add(1)
					f.t.Errorf("%s is answered %d", ins[i].ID, code)
				}
				done.Add(1)
			}
		})
	}
	for i := range n {
		if i == n/2 {
			must(f.t, f.market.RotateKey())
		}
		work <- i
	}
	close(work)
	wg.Wait()
	f.t.Logf("%d sent, %d not accepted", done.Load(), wrong.Load())
	ids := make([]string, n)
	for i := range ids {
		ids[i] = ins[i].ID
	}
	f.allScheduled(60*time.Second, ids)
}

// allScheduled wants many instructions scheduled, each once.
func (f *faulty) allScheduled(limit time.Duration, ids []string) {
	f.t.Helper()
	f.await(limit, fmt.Sprintf("%d instructions are scheduled", len(ids)), func() bool {
		time.Sleep(50 * time.Millisecond)
		all := f.ladders()
		return !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(all[id], "scheduled") })
	})
	all := f.ladders()
	for _, id := range ids {
		if !slices.Equal(all[id], []string{"admitted", "scheduled"}) {
			f.t.Errorf("%s was announced as %v", id, all[id])
		}
	}
}

// ladders are the steps of all instructions, in one pass.
func (f *faulty) ladders() map[string][]string {
	out := map[string][]string{}
	for _, h := range f.ear.once("ack") {
		if h.Instruction != "" {
			out[h.Instruction] = append(out[h.Instruction], h.State)
		}
	}
	return out
}

// clocks are clocks that are an hour off.
func clocks() []trouble {
	date := func(off time.Duration) demo.Fault {
		return demo.Fault{Header: map[string]string{"Date": time.Now().Add(off).UTC().Format(http.TimeFormat)}}
	}
	dated := func(off time.Duration) func(*faulty) {
		return func(f *faulty) {
			f.market.SetFault(everywhere, date(off))
			must(f.t, f.market.RevokeTokens())
			in, end := near("i1", 2*time.Second, 2*time.Second)
			f.taken(demo.Notice{}, in)
			f.acts("i1", end)
		}
	}
	claim := func(name, fault, outcome string, code int, claims func() map[string]any) trouble {
		return trouble{name: name, fault: fault, outcome: outcome, run: func(f *faulty) {
			if got := f.notify(demo.Notice{Claims: claims()}, distant("i1", 1)); got != code {
				f.t.Fatalf("answered %d, want %d", got, code)
			}
			if code/100 == 2 {
				f.scheduled(5*time.Second, "i1")
			}
		}}
	}
	return []trouble{
		{name: "the market's clock is an hour ahead", fault: "everything is signed for in an hour, tokens too", change: func(o *siteOptions) { o.poll = "1s" },
			outcome: "the door answers 401 and says that the clocks differ; polling finds the instruction and it acts at its second",
			run: func(f *faulty) {
				f.market.ShiftClock(time.Hour)
				must(f.t, f.market.RevokeTokens())
				in, end := near("i1", 5*time.Second, 2*time.Second)
				if code := f.notify(demo.Notice{}, in); code != http.StatusUnauthorized {
					f.t.Errorf("answered %d", code)
				}
				f.raised(5*time.Second, "notification_refused")
				f.acts("i1", end)
			}},
		{name: "the market's clock is an hour behind", fault: "everything was signed an hour ago, and tokens have ended by our clock", outcome: "the dispatch acts at its second",
			run: func(f *faulty) {
				f.market.ShiftClock(-time.Hour)
				must(f.t, f.market.RevokeTokens())
				in, end := near("i1", 3*time.Second, 2*time.Second)
				f.taken(demo.Notice{}, in)
				f.acts("i1", end)
			}},
		claim("an hour too late", "exp was an hour ago", "refused with 401", 401, func() map[string]any { return map[string]any{"exp": time.Now().Add(-time.Hour).Unix()} }),
		claim("half a minute too late", "exp was half a minute ago", "accepted within the skew of 60 s", 202, func() map[string]any { return map[string]any{"exp": time.Now().Add(-30 * time.Second).Unix()} }),
		claim("half a minute too early", "iat is in half a minute", "accepted within the skew of 60 s", 202, func() map[string]any { return map[string]any{"iat": time.Now().Add(30 * time.Second).Unix()} }),
		claim("a week old", "iat was a week ago", "accepted: a notification has no maximum age", 202, func() map[string]any { return map[string]any{"iat": time.Now().AddDate(0, 0, -7).Unix()} }),
		{name: "Date an hour ahead", fault: "every answer's Date is an hour ahead", outcome: "the dispatch acts at its second", run: dated(time.Hour)},
		{name: "Date an hour behind", fault: "every answer's Date is an hour behind", outcome: "the dispatch acts at its second", run: dated(-time.Hour)},
		{name: "Retry-After by a clock that is off", fault: "one 503 names the instant of the next try, by a clock that is an hour ahead", outcome: "the wait is measured by that clock: two seconds",
			run: func(f *faulty) {
				now := time.Now().Add(time.Hour).UTC()
				f.patience(demo.Fault{Status: 503, Times: 1, Header: map[string]string{"Date": now.Format(http.TimeFormat), "Retry-After": now.Add(2 * time.Second).Format(http.TimeFormat)}})
			}},
	}
}

// repeats are the same things again and again.
func repeats() []trouble {
	return []trouble{
		{name: "the same notification again", fault: "one notification is delivered forty times from eight senders", outcome: "every delivery is answered 202, it acts once",
			run: func(f *faulty) {
				in, end := near("i1", 3*time.Second, 2*time.Second)
				must(f.t, f.market.List(in))
				d, err := f.market.Publish(f.t.Context(), demo.Notice{IDs: []string{"i1"}, Drop: true})
				must(f.t, err)
				f.crowd(40, func(int) int {
					got, _ := f.market.Repost(f.t.Context(), "application/jose", []byte(d.Token))
					return got.Status
				})
				f.acts("i1", end)
			}},
		{name: "the same instruction again", fault: "forty notifications from eight senders point to one instruction, which polling lists too", change: func(o *siteOptions) { o.poll = "1s" },
			outcome: "every one is answered 202, it acts once",
			run: func(f *faulty) {
				in, end := near("i1", 4*time.Second, 2*time.Second)
				must(f.t, f.market.List(in))
				f.crowd(40, func(int) int {
					got, _ := f.market.Publish(f.t.Context(), demo.Notice{IDs: []string{"i1"}})
					return got.Status
				})
				f.acts("i1", end)
			}},
		{name: "senders that do not listen", fault: "the market hangs up before it hears the answer, and sends again", outcome: "it acts once",
			run: func(f *faulty) {
				in, end := near("i1", 3*time.Second, 2*time.Second)
				must(f.t, f.market.List(in))
				d, err := f.market.Publish(f.t.Context(), demo.Notice{IDs: []string{"i1"}, Drop: true})
				must(f.t, err)
				for n := range 10 {
					ctx, hangUp := context.WithTimeout(f.t.Context(), time.Duration(n*300)*time.Microsecond)
					_, _ = f.market.Repost(ctx, "application/jose", []byte(d.Token))
					hangUp()
				}
				got, err := f.market.Repost(f.t.Context(), "application/jose", []byte(d.Token))
				must(f.t, err)
				if got.Status/100 != 2 {
					f.t.Errorf("answered %d", got.Status)
				}
				f.acts("i1", end)
			}},
	}
}

// crowd sends n times from eight senders; each must be accepted.
func (f *faulty) crowd(n int, send func(i int) int) {
	f.t.Helper()
	work := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range work {
				if code := send(i); code/100 != 2 {
					f.t.Errorf("delivery %d is answered %d", i, code)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
}
