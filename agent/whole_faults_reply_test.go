package agent_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"flexd/agent/demo"
)

// alter changes what a good answer says.
func alter(change func([]byte) []byte) demo.Fault {
	return demo.Fault{Alter: func(_ *http.Request, b []byte) []byte { return change(b) }}
}

// halves are answers of which a part is missing, or that are something else.
func halves() []trouble {
	return []trouble{
		retried("cut in the middle", "one reply ends in the middle of its JSON, with the length of the whole", demo.Fault{Cut: true}),
		retried("half a body", "one reply is the first half of its JSON, with a length that fits", alter(func(b []byte) []byte { return b[:len(b)/2] })),
		retried("an empty body", "one reply is 200 without a body", alter(func([]byte) []byte { return nil })),
		retried("204", "one reply is 204", demo.Fault{Status: http.StatusNoContent}),
		retried("a page under 200", "one reply is somebody's HTML page under 200", demo.Fault{Status: 200, Body: "<html>We will be back soon</html>"}),
		retried("null", "one reply is null", demo.Fault{Status: 200, Body: "null"}),
		retried("two documents", "one reply is its JSON twice", alter(func(b []byte) []byte { return append(bytes.Clone(b), b...) })),
		retried("an empty list", "one reply is an empty list although something was announced", demo.Fault{Status: 200, Body: "[]"}),
		retried("a list of nonsense", "one reply lists numbers, nulls and texts", demo.Fault{Status: 200, Body: `[1,null,"x",[],{}]`}),
		{name: "the token's answer is cut", fault: "a token is revoked and the answer with the new one ends in the middle",
			outcome: "the token is asked for again and what was notified is scheduled",
			run: func(f *faulty) {
				must(f.t, f.market.RevokeTokens())
				f.market.SetFault(tokenPath, demo.Fault{Cut: true})
				before := f.asked(tokenPath)
				f.taken(demo.Notice{}, distant("i1", 1))
				f.askedAgain(tokenPath, before, 1)
				f.heal(tokenPath)
				f.scheduled(12*time.Second, "i1")
			}},
		{name: "the token's answer is a page", fault: "a token is revoked and one answer with a new one is somebody's HTML page under 200",
			outcome: "the token is asked for again within seconds and what was notified is scheduled",
			run: func(f *faulty) {
				must(f.t, f.market.RevokeTokens())
				f.market.SetFault(tokenPath, demo.Fault{Status: 200, Body: "<html>soon</html>", Times: 1})
				f.taken(demo.Notice{}, distant("i1", 1))
				f.scheduled(15*time.Second, "i1")
			}},
		{name: "half the obligations", fault: "killed, and the list of contracts ends in the middle when it starts again", late: true, outcome: lastCopy, run: restartWithout(demo.Fault{Cut: true})},
		{name: "a page for the obligations", fault: "killed, and the list of contracts is an HTML page when it starts again", late: true, outcome: lastCopy,
			run: restartWithout(demo.Fault{Status: 200, Body: "<html></html>"})},
	}
}

// vanishings are things that are gone.
func vanishings() []trouble {
	return []trouble{
		{name: "the set vanishes", fault: "data_url answers 404 for good, the list has the instruction", change: func(o *siteOptions) { o.poll = "1s" },
			outcome: "an alarm is raised, polling finds the instruction and it acts once",
			run: func(f *faulty) {
				in, end := near("i1", 7*time.Second, 2*time.Second)
				f.market.SetFault(instructionsPath, demo.Fault{Status: 404, Only: ofSet})
				d := f.notify(demo.Notice{}, in)
				if d/100 != 2 {
					f.t.Fatalf("a good notification is answered %d", d)
				}
				f.raised(6*time.Second, "instructions_missing")
				f.acts("i1", end)
			}},
		{name: "the set comes late", fault: "data_url answers 404 for a while", outcome: "an alarm is raised and cleared, what was notified is scheduled",
			run: func(f *faulty) {
				f.market.SetFault(instructionsPath, demo.Fault{Status: 404, Only: ofSet})
				f.taken(demo.Notice{}, distant("i1", 1))
				f.raised(6*time.Second, "instructions_missing")
				f.heal(instructionsPath)
				f.scheduled(12*time.Second, "i1")
				f.closed(5*time.Second, "i1")
				f.cleared(5*time.Second, "instructions_missing")
			}},
		{name: "the contract vanishes", fault: "killed before a window, and the contract is not listed when it starts again", late: true,
			outcome: "what was scheduled under it acts",
			run: func(f *faulty) {
				f.process()
				f.serving()
				in, end := near("i1", 4*time.Second, 2*time.Second)
				f.taken(demo.Notice{}, in)
				f.scheduled(3*time.Second, "i1")
				f.market.RemoveObligation(contractID)
				f.again()
				f.acts("i1", end)
			}},
		{name: "an unknown contract", fault: "an instruction names a contract that the market does not list", outcome: "nothing acts, a second instruction of a known contract is scheduled",
			run: func(f *faulty) {
				bad := distant("i0", 5)
				bad.Obligation = "nobody"
				f.taken(demo.Notice{}, bad)
				f.taken(demo.Notice{}, distant("i1", 1))
				f.scheduled(5*time.Second, "i1")
				if f.ear.has("i0", "scheduled") {
					f.t.Error("an instruction of nobody's contract is scheduled")
				}
			}},
		{name: "no competition", fault: "competitions answer 404 from the first start on", late: true, outcome: "instructions that say everything themselves are scheduled",
			run: func(f *faulty) {
				f.market.SetFault("/competitions/", demo.Fault{Status: 404})
				f.process()
				f.serving()
				f.insist(10*time.Second, distant("i1", 1))
				f.scheduled(15*time.Second, "i1")
			}},
	}
}

// ofSet tells the requests for a notification's set from those for the list.
func ofSet(r *http.Request) bool { return r.URL.Query().Has("set") }

// counts are notifications that announce another number than is listed.
func counts() []trouble {
	number := func(n int) *int { return &n }
	one := func(name, fault, outcome string, n int) trouble {
		return trouble{name: name, fault: fault, outcome: outcome, run: func(f *faulty) {
			f.taken(demo.Notice{Count: number(n)}, distant("i1", 1), distant("i2", 2), distant("i3", 3))
			f.scheduled(5*time.Second, "i1", "i2", "i3")
			if n <= 3 {
				f.closed(5*time.Second, "i1")
				return
			}
			f.raised(8*time.Second, "instructions_missing")
			f.scheduled(0, "i1", "i2", "i3")
		}}
	}
	return []trouble{
		one("more than announced", "one is announced, three are listed", "all three are scheduled", 1),
		one("none announced", "none is announced, three are listed", "all three are scheduled", 0),
		one("fewer than announced", "four are announced, three are listed", "the three are scheduled at once, an alarm is raised for the fourth", 4),
		one("very many announced", "10,000 are announced, three are listed", "the three are scheduled at once, an alarm is raised for the rest", 10_000),
		{name: "too many announced", fault: "ten million are announced", outcome: "refused with 400, nothing is fetched",
			run: func(f *faulty) {
				before := f.asked(instructionsPath)
				if code := f.notify(demo.Notice{Count: number(10_000_000)}, distant("i1", 1)); code != http.StatusBadRequest {
					f.t.Errorf("answered %d", code)
				}
				if n := f.asked(instructionsPath) - before; n > 0 {
					f.t.Errorf("fetched %d times", n)
				}
			}},
		{name: "one is listed late", fault: "two are announced, the second is listed after some tries", outcome: "the first is scheduled at once, the second when it is listed, the alarm is cleared",
			run: func(f *faulty) {
				f.market.Hide(1)
				f.taken(demo.Notice{}, distant("i1", 1), distant("i2", 2))
				f.scheduled(3*time.Second, "i1")
				f.raised(8*time.Second, "instructions_missing")
				f.market.Hide(0)
				f.scheduled(12*time.Second, "i1", "i2")
				f.cleared(5*time.Second, "instructions_missing")
				f.closed(5*time.Second, "i1")
			}},
	}
}

// page answers with instructions and a link to the next page.
func page(ins []byte, next func(r *http.Request) string) demo.Fault {
	return demo.Fault{Answer: func(w http.ResponseWriter, r *http.Request) {
		link, _ := json.Marshal(next(r))
		_, _ = fmt.Fprintf(w, `{"results":%s,"next":%s}`, ins, link)
	}}
}

// paged is the case of a list whose pages never end well.
func paged(name, fault string, most int, next func(f *faulty, r *http.Request) string) trouble {
	return trouble{name: name, fault: fault, outcome: "what was listed is scheduled once, the requests of a try are bounded, and the notification is closed when the list is well again",
		run: func(f *faulty) {
			in := distant("i1", 1)
			must(f.t, f.market.List(in))
			f.market.SetFault(instructionsPath, page(listed(f.t, in), func(r *http.Request) string { return next(f, r) }))
			before := f.asked(instructionsPath)
			f.taken(demo.Notice{IDs: []string{"i1"}})
			f.scheduled(8*time.Second, "i1")
			f.raised(12*time.Second, "instructions_missing")
			// Three tries at most within this time.
			if n := f.asked(instructionsPath) - before; n > 4*most {
				f.t.Errorf("%d requests", n)
			}
			f.heal(instructionsPath)
			f.closed(12*time.Second, "i1")
			f.cleared(5*time.Second, "instructions_missing")
			f.wantLadder("i1", "admitted", "scheduled")
		}}
}

// pages are lists that lead the reader around.
func pages() []trouble {
	var elsewhere *trap
	return []trouble{
		paged("a page that is its own next", "the link to the next page is the page itself", 1,
			func(f *faulty, r *http.Request) string { return f.market.URL() + r.URL.RequestURI() }),
		paged("two pages in a circle", "page A leads to page B, which leads to A", 2,
			func(f *faulty, r *http.Request) string {
				if r.URL.Query().Get("page") == "B" {
					return f.market.URL() + instructionsPath + "?set=1"
				}
				return f.market.URL() + instructionsPath + "?set=1&page=B"
			}),
		paged("pages without end", "every page leads to another new one", 50,
			func(f *faulty, r *http.Request) string {
				return fmt.Sprintf("%s%s?page=x%s", f.market.URL(), instructionsPath, r.URL.Query().Get("page"))
			}),
		paged("a next page elsewhere", "the link to the next page is on another host", 1,
			func(f *faulty, _ *http.Request) string { return "http://127.0.0.1:9" + instructionsPath }),
		{name: "a next page in a trap", fault: "the link to the next page leads to somebody else's server, in five spellings", outcome: "it is never asked, and never sees the token",
			run: func(f *faulty) {
				elsewhere = f.trap()
				away := strings.TrimPrefix(elsewhere.URL, "http://")
				home := strings.TrimPrefix(f.market.URL(), "http://")
				for n, link := range []string{elsewhere.URL + instructionsPath, "//" + away + instructionsPath, "http://" + home + "@" + away + instructionsPath,
					elsewhere.URL + "/" + home + instructionsPath, "https://" + home + instructionsPath} {
					in := distant(fmt.Sprintf("i%d", n), n+1)
					f.market.SetFault(instructionsPath, page(listed(f.t, in), func(*http.Request) string { return link }))
					f.taken(demo.Notice{}, in)
					f.scheduled(5*time.Second, in.ID)
				}
				elsewhere.wantUnheard(f.t)
			}},
	}
}

// huge is 20 MB of JSON.
const huge = 20 << 20

// flood answers with so much that no instruction could need it.
func flood(write func(w http.ResponseWriter)) demo.Fault {
	return demo.Fault{Answer: func(w http.ResponseWriter, _ *http.Request) { write(w) }}
}

// flooded is the case of one reply that is far too large, against the real
// program, whose memory is read afterwards.
func flooded(name, fault string, bad func(f *faulty) demo.Fault) trouble {
	return trouble{name: name, fault: fault, late: true, outcome: "the reply is given up at its bound, memory stays under 64 MB, and what was notified is scheduled when the reply is well again",
		run: func(f *faulty) {
			f.process()
			f.serving()
			f.market.SetFault(instructionsPath, bad(f))
			before := f.asked(instructionsPath)
			f.taken(demo.Notice{}, distant("i1", 1))
			f.askedAgain(instructionsPath, before, 1)
			f.await(5*time.Second, "the reply is given up", func() bool { return strings.Contains(f.log.String(), "cannot fetch what was notified") })
			f.heal(instructionsPath)
			f.scheduled(12*time.Second, "i1")
			f.wantSmall()
		}}
}

// floods are replies of 20 MB and more.
func floods() []trouble {
	return []trouble{
		flooded("a list of 20 MB", "the reply lists 20 MB of instructions", func(f *faulty) demo.Fault {
			one, _ := json.Marshal(distant("evil", 9))
			return flood(func(w http.ResponseWriter) {
				_, _ = io.WriteString(w, "[")
				for n := 0; n < huge; n += len(one) + 1 {
					_, _ = w.Write(append(one, ','))
				}
				_, _ = w.Write(append(one, ']'))
			})
		}),
		flooded("a text of 20 MB", "the reply is one text of 20 MB", func(*faulty) demo.Fault {
			return flood(func(w http.ResponseWriter) {
				_, _ = io.WriteString(w, `["`)
				for part, n := strings.Repeat("x", 1<<16), 0; n < huge; n += len(part) {
					_, _ = io.WriteString(w, part)
				}
				_, _ = io.WriteString(w, `"]`)
			})
		}),
		flooded("a compressed 200 MB", "the reply is 200 kB of gzip that unpack to 200 MB", func(f *faulty) demo.Fault {
			var small bytes.Buffer
			z := gzip.NewWriter(&small)
			_, err := z.Write(bytes.Repeat([]byte(" "), 1<<20))
			must(f.t, err)
			must(f.t, z.Close())
			// Members one after the other unpack to one text (RFC 1952, section 2.2).
			return demo.Fault{Status: 200, Header: map[string]string{"Content-Encoding": "gzip"}, Body: strings.Repeat(small.String(), 200)}
		}),
		flooded("brackets without end", "the reply is two million opening brackets", func(*faulty) demo.Fault {
			return demo.Fault{Status: 200, Body: strings.Repeat("[", 2<<20)}
		}),
		flooded("headers without end", "the reply begins with 20 MB of headers", func(*faulty) demo.Fault {
			return demo.Fault{Answer: func(w http.ResponseWriter, _ *http.Request) {
				c, buf, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer func() { _ = c.Close() }()
				_, _ = buf.WriteString("HTTP/1.1 200 OK\r\n")
				for n := 0; n < huge; n += 1024 {
					if _, err := fmt.Fprintf(buf, "X-%d: %s\r\n", n, strings.Repeat("x", 1000)); err != nil {
						return
					}
				}
				_, _ = buf.WriteString("\r\n[]")
				_ = buf.Flush()
			}}
		}),
	}
}
