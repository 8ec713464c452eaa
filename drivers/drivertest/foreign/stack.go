package foreign

import (
	"bytes"
	_ "embed" // the two servers
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var (
	//go:embed server.py
	python string
	//go:embed server.js
	node string
)

// Python is the interpreter of the distribution: its packages are not in
// other ones.
const Python = "/usr/bin/python3"

// Stack is a Modbus server that nobody here wrote, and how to start it.
type Stack struct {
	Name    string
	program string
	probe   []string // ends well where the stack is installed
	script  string
	env     []string
}

// Stacks are Debian's pymodbus and npm's modbus-serial, the latter where
// scripts/test-deps.sh puts it.
func Stacks() []Stack {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	modules := filepath.Join(cache, "flexd-test", "node_modules")
	if more := os.Getenv("NODE_PATH"); more != "" {
		modules += string(os.PathListSeparator) + more
	}
	return []Stack{
		{"python3-pymodbus", Python, []string{"-c", "import pymodbus.server"}, python, nil},
		{"npm modbus-serial", "node", []string{"-e", `require("modbus-serial")`}, node, []string{"NODE_PATH=" + modules}},
	}
}

// Lacking skips a test loudly, or fails it where CI promises that nothing is
// left out.
func Lacking(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not usable and CI must test with it: scripts/test-deps.sh installs it: %v", what, err)
	}
	t.Skipf("SKIPPED: NOT TESTED with %s: scripts/test-deps.sh installs it: %v", what, err)
}

func (s Stack) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.program, args...)
	cmd.Env = append(os.Environ(), s.env...)
	return cmd
}

// Run starts the stack until the test ends. It serves nothing yet.
func (s Stack) Run(t testing.TB) *Server {
	t.Helper()
	if out, err := s.command(s.probe...).CombinedOutput(); err != nil {
		Lacking(t, s.Name, fmt.Errorf("%w: %s", err, bytes.TrimSpace(out)))
	}
	script := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(script, []byte(s.script), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &Server{Addr: l.Addr().String()}
	_ = l.Close()
	_, port, _ := net.SplitHostPort(f.Addr)
	cmd := s.command(script, port)
	var errs bytes.Buffer // read only after Wait
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.wg.Go(func() { f.answer(out, in) })
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		f.wg.Wait()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", s.Name, errs.Next(4000))
		}
	})
	f.await(t, s.Name)
	return f
}

// await comes back when the stack listens.
func (f *Server) await(t testing.TB, name string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		c, err := net.Dial("tcp", f.Addr)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen: %v", name, err)
		}
	}
}
