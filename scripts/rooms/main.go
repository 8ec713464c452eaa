// Command rooms runs the tests of every room and tells how they get on.
//
// The room of the whole paths takes longest and mostly waits for windows to
// pass: it begins first and has the processors before the others, which
// compute beside it. Every twenty seconds it says which rooms are done, so
// that nobody takes a long one for a hanging one; at the end it lists the
// slowest tests.
//
// In: flags of go test; ./... among them is understood. Out: results, what failed tests wrote, and status 1 if
// anything failed.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// whole is the room that begins first.
const whole = "flexd/agent"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(flags []string) error {
	goTool := os.Getenv("GO")
	if goTool == "" {
		goTool = "go"
	}
	listed, err := exec.Command(goTool, "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}", "./...").Output()
	if err != nil {
		return fmt.Errorf("cannot list the rooms: %w", err)
	}
	rooms := strings.Fields(string(listed))
	others := slices.DeleteFunc(slices.Clone(rooms), func(r string) bool { return r == whole })
	flags = slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == "./..." }) // all of them, always
	r := newReport(os.Stdout, rooms)
	defer r.beat(20 * time.Second)()

	// What both need is compiled once, before they begin.
	build := []string{"build"}
	if slices.Contains(flags, "-race") {
		build = append(build, "-race")
	}
	if out, err := exec.Command(goTool, append(build, "./...")...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build: %w\n%s", err, out)
	}
	test := append([]string{"test", "-json"}, flags...)
	first := exec.Command(goTool, append(slices.Clone(test), whole)...)
	beside := exec.Command("nice", append(append([]string{"-n", "10", goTool}, append(test, "-p", "2")...), others...)...)
	var wg sync.WaitGroup
	for _, c := range []*exec.Cmd{first, beside} {
		wg.Go(func() { r.follow(c) })
	}
	wg.Wait()
	return r.end()
}

// follow runs one go test and reads what it tells.
func (r *report) follow(c *exec.Cmd) {
	var trouble bytes.Buffer
	c.Stderr = &trouble
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err == nil {
		lines := bufio.NewReader(out)
		for {
			line, more := lines.ReadBytes('\n')
			r.line(line)
			if more != nil {
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
		err = c.Wait()
	}
	if err != nil {
		r.failed(fmt.Sprintf("%s%v", trouble.String(), err))
	}
}
