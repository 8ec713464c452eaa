// Command mutate breaks one line of the product at a time and wants a test to
// notice.
//
// The list names, tab-separated, a file, the text to replace (it occurs there
// exactly once), the replacement, and the tests that must fail, as a pattern
// of `go test -run`; a fifth field names their package where it is not the
// file's. A line beginning with # says which promise the next ones guard.
// The tree is never touched: the broken file reaches the compiler as an
// overlay.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	list := flag.String("list", "scripts/mutants", "the list")
	sample := flag.Int("sample", 0, "try so many, chosen at random; 0: all")
	seed := flag.Uint64("seed", uint64(time.Now().Unix()), "of the choice")
	only := flag.String("only", "", "try those whose file or test contains this")
	check := flag.Bool("check", false, "see that every line still applies, and run nothing")
	jobs := flag.Int("j", 2, "how many at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *list, *only, *sample, *seed, *jobs, *check); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, list, only string, sample int, seed uint64, jobs int, check bool) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	all, err := parse(string(text), os.ReadFile)
	if err != nil || check {
		return err
	}
	all = slices.DeleteFunc(all, func(m mutant) bool { return !strings.Contains(m.file+" "+m.tests, only) })
	if sample > 0 && sample < len(all) {
		fmt.Printf("%d of %d, seed %d\n", sample, len(all), seed)
		dice := rand.New(rand.NewPCG(seed, 0))
		dice.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		all = all[:sample]
	}
	return judge(ctx, all, jobs, os.Stdout)
}

// mutant is one line of the list.
type mutant struct {
	line                       int
	file, old, new, tests, pkg string
	body                       []byte // the file with the mistake in it
}

// parse reads the list, and applies each line to see that it still can be.
func parse(text string, read func(string) ([]byte, error)) ([]mutant, error) {
	var all []mutant
	var faults []error
	for i, l := range strings.Split(text, "\n") {
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		f := strings.Split(l, "\t")
		if len(f) != 4 && len(f) != 5 {
			faults = append(faults, fmt.Errorf("line %d: %d fields, want file, old, new, tests and perhaps a package, between tabs", i+1, len(f)))
			continue
		}
		m := mutant{line: i + 1, file: f[0], old: f[1], new: f[2], tests: f[3], pkg: "./" + filepath.Dir(f[0])}
		if len(f) == 5 {
			m.pkg = f[4]
		}
		body, err := read(m.file)
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", m.line, err))
			continue
		}
		if n := strings.Count(string(body), m.old); n != 1 {
			faults = append(faults, fmt.Errorf("line %d: %q occurs %d times in %s, want once", m.line, m.old, n, m.file))
			continue
		}
		m.body = []byte(strings.Replace(string(body), m.old, m.new, 1))
		all = append(all, m)
	}
	return all, errors.Join(faults...)
}

// judge tries every mutant; an error names how many nobody noticed.
func judge(ctx context.Context, all []mutant, jobs int, out io.Writer) error {
	work := make(chan mutant)
	var mu sync.Mutex
	var group sync.WaitGroup
	alive := 0
	for range jobs {
		group.Go(func() {
			for m := range work {
				begun := time.Now()
				word, tail := m.try(ctx)
				mu.Lock()
				if word != "killed" {
					alive++
				}
				fmt.Fprintf(out, "%-7s %5.1f s  line %d: %s: %s → %s: %s\n", word, time.Since(begun).Seconds(), m.line, m.file, short(m.old), short(m.new), tail)
				mu.Unlock()
			}
		})
	}
	for _, m := range all {
		if ctx.Err() != nil {
			break
		}
		work <- m
	}
	close(work)
	group.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d of %d killed\n", len(all)-alive, len(all))
	if alive > 0 {
		return fmt.Errorf("%d mistakes that no test notices", alive)
	}
	return nil
}

// try runs the mutant's tests on it: killed, ALIVE, or BROKEN when it did not
// even compile and so proves nothing.
func (m mutant) try(ctx context.Context) (word, tail string) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "BROKEN", err.Error()
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := m.overlay(dir)
	if err != nil {
		return "BROKEN", err.Error()
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-failfast", "-timeout=2m", "-overlay", overlay, "-run", m.tests, m.pkg)
	said, err := cmd.CombinedOutput()
	switch text := string(said); {
	case err == nil:
		return "ALIVE", last(text, 3)
	case strings.Contains(text, "[build failed]"), strings.Contains(text, "[setup failed]"):
		return "BROKEN", last(text, 10)
	default:
		return "killed", firstFailed(text)
	}
}

// overlay writes the broken file and the description by which the compiler
// takes it for the good one.
func (m mutant) overlay(dir string) (string, error) {
	good, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	bad, desc := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(bad, m.body, 0o600); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {good: bad}})
	if err != nil {
		return "", err
	}
	return desc, os.WriteFile(desc, text, 0o600)
}

// firstFailed names the test that noticed.
func firstFailed(text string) string {
	for l := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(l), "--- FAIL: "); ok {
			name, _, _ = strings.Cut(name, " ")
			return name
		}
	}
	return last(text, 1)
}

// short keeps a report on one line.
func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}

// last is the end of what a command said.
func last(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
