package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

// report tells how tests get on. It is safe for concurrent use.
type report struct {
	mu    sync.Mutex
	out   io.Writer
	begun time.Time
	rooms int
	open  []string            // of them those that are not done
	wrote map[string][]string // by room and test, until it is known to be good
	took  []event             // tests that ended
	bad   bool
}

func newReport(out io.Writer, rooms []string) *report {
	return &report{out: out, begun: time.Now(), rooms: len(rooms), open: slices.Clone(rooms), wrote: map[string][]string{}}
}

// line takes a line of go test -json; what is none is shown as it is.
func (r *report) line(line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		fmt.Fprintf(r.out, "%s\n", bytes.TrimSpace(line))
		return
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.wrote[key] = append(r.wrote[key], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "skip", "fail":
		if e.Action == "fail" {
			r.bad = true
			r.show(key)
		}
		if e.Test == "" {
			r.done(e)
		} else {
			r.took = append(r.took, e)
		}
		delete(r.wrote, key)
	}
}

// done ends a room. What its tests wrote that never ended is shown too: they
// were running when it died.
func (r *report) done(e event) {
	if e.Action == "fail" {
		for key := range r.wrote {
			if strings.HasPrefix(key, e.Package+" ") {
				r.show(key)
			}
		}
	}
	for key := range r.wrote {
		if strings.HasPrefix(key, e.Package+" ") {
			delete(r.wrote, key)
		}
	}
	r.open = slices.DeleteFunc(r.open, func(room string) bool { return room == e.Package })
	word := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "skipped"}[e.Action]
	fmt.Fprintf(r.out, "%-8s%-32s%.1fs\n", word, e.Package, e.Elapsed)
}

// show prints what a test wrote, without what the runner says of it on the way.
func (r *report) show(key string) {
	for _, text := range r.wrote[key] {
		if !strings.HasPrefix(text, "=== ") {
			fmt.Fprint(r.out, text)
		}
	}
	delete(r.wrote, key)
}

func (r *report) failed(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.bad {
		fmt.Fprintln(r.out, why)
	}
	r.bad = true
}

// beat says every so often what is still open, until it is ended.
func (r *report) beat(every time.Duration) (end func()) {
	tick, done := time.NewTicker(every), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.mu.Lock()
				next := strings.ReplaceAll(strings.Join(r.open[:min(6, len(r.open))], " "), "flexd/", "")
				fmt.Fprintf(r.out, "... %.0f s, %d of %d rooms done, next: %s\n", time.Since(r.begun).Seconds(), r.rooms-len(r.open), r.rooms, next)
				r.mu.Unlock()
			}
		}
	})
	return func() { tick.Stop(); close(done); wg.Wait() }
}

// end lists the slowest tests and tells whether all is well.
func (r *report) end() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.took, func(a, b event) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	fmt.Fprintf(r.out, "%.0f s, %d tests; the slowest:\n", time.Since(r.begun).Seconds(), len(r.took))
	for _, e := range r.took[:min(10, len(r.took))] {
		fmt.Fprintf(r.out, "  %6.1fs  %s %s\n", e.Elapsed, strings.TrimPrefix(e.Package, "flexd/"), e.Test)
	}
	if r.bad {
		return errors.New("not every test passes")
	}
	if len(r.open) > 0 {
		return fmt.Errorf("without a result: %s", strings.Join(r.open, " "))
	}
	return nil
}
