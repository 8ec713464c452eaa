package drivers_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers"
	"flexd/drivers/drivertest"
	"flexd/drivers/modbus/modbustest"
)

// lacking skips a test loudly, or fails it where CI promises that nothing is
// left out.
func lacking(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not usable and CI must test with it: scripts/test-deps.sh installs it: %v", what, err)
	}
	t.Skipf("SKIPPED: NOT TESTED with %s: scripts/test-deps.sh installs it: %v", what, err)
}

// stack is a Modbus server that nobody here wrote, and how to start it.
type stack struct {
	name    string
	program string
	probe   []string // ends well where the stack is installed
	script  string
	env     []string
}

// stacks are Debian's pymodbus and npm's modbus-serial, the latter where
// scripts/test-deps.sh puts it.
func stacks() []stack {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	modules := filepath.Join(cache, "flexd-test", "node_modules")
	if more := os.Getenv("NODE_PATH"); more != "" {
		modules += string(os.PathListSeparator) + more
	}
	return []stack{
		{"python3-pymodbus", "/usr/bin/python3", []string{"-c", "import pymodbus.server"}, "testdata/foreign.py", nil},
		{"npm modbus-serial", "node", []string{"-e", `require("modbus-serial")`}, "testdata/foreign.js", []string{"NODE_PATH=" + modules}},
	}
}

func (s stack) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.program, args...)
	cmd.Env = append(os.Environ(), s.env...)
	return cmd
}

// foreign is one such server at work, with the register image it was given.
type foreign struct {
	addr  string
	mu    sync.Mutex
	in    io.Writer
	lines *bufio.Scanner
}

// run starts the stack until the test ends.
func (s stack) run(t *testing.T) *foreign {
	t.Helper()
	if out, err := s.command(s.probe...).CombinedOutput(); err != nil {
		lacking(t, s.name, fmt.Errorf("%w: %s", err, bytes.TrimSpace(out)))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &foreign{addr: l.Addr().String()}
	l.Close()
	_, port, _ := net.SplitHostPort(f.addr)
	cmd := s.command(s.script, port)
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
	f.in, f.lines = in, bufio.NewScanner(out)
	f.lines.Buffer(nil, 1<<22)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", s.script, errs.Next(4000))
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", f.addr); err == nil {
			c.Close()
			return f
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen", s.script)
		}
	}
}

type foreignImage struct {
	Base     uint16   `json:"base"`
	Words    []uint16 `json:"words"`
	Writable []uint16 `json:"writable,omitempty"`
}

// ask sends one command and reads its answer.
func (f *foreign) ask(t *testing.T, command map[string]any) foreignImage {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	raw, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.in.Write(append(raw, '\n')); err != nil {
		t.Fatalf("the foreign server is gone: %v", err)
	}
	if !f.lines.Scan() {
		t.Fatalf("the foreign server is gone: %v", f.lines.Err())
	}
	var out foreignImage
	if err := json.Unmarshal(f.lines.Bytes(), &out); err != nil {
		t.Fatalf("%v in %q", err, f.lines.Bytes())
	}
	return out
}

func (f *foreign) push(t *testing.T, b *drivertest.Bank) {
	t.Helper()
	base, words, writable := b.Image()
	f.ask(t, map[string]any{"load": foreignImage{base, words, writable}})
}

func (f *foreign) pull(t *testing.T, b *drivertest.Bank) {
	t.Helper()
	image := f.ask(t, map[string]any{"dump": true})
	b.Load(image.Base, image.Words)
}

// rig is the bank's rig with the registers in the foreign server: the bank
// only reckons what they mean. The proxy in between does the faults.
func (f *foreign) rig(t *testing.T, b *drivertest.Bank, role flex.Role, orders ...flex.Target) drivertest.Rig {
	t.Helper()
	f.push(t, b)
	p := modbustest.NewProxy(t, f.addr)
	r := drivertest.On(b, func() drivertest.Device { return over(t, p.Addr(), role, 5*time.Second) }, orders...)
	behind := func(act func()) func() {
		if act == nil {
			return nil
		}
		return func() { f.pull(t, b); act(); f.push(t, b) }
	}
	r.Lapse, r.Others, r.Limit, r.Blank, r.Swap = behind(r.Lapse), behind(r.Others), behind(r.Limit), behind(r.Blank), behind(r.Swap)
	told, control, produce := r.Told, r.Control, r.Produce
	r.Told = func() (flex.Watts, bool) { f.pull(t, b); return told() }
	r.Control = func() map[uint16]uint16 { f.pull(t, b); return control() }
	r.Produce = func(w flex.Watts) { behind(func() { produce(w) })() }
	r.Fault = func(n int, fault drivertest.Fault) bool {
		wire := map[drivertest.Fault]modbustest.Fault{drivertest.LostReply: modbustest.Reset,
			drivertest.LostWrite: modbustest.ResetBefore, drivertest.Refused: modbustest.Refuse}[fault]
		if wire == modbustest.None {
			return false
		}
		p.OnWrite(n, wire)
		return true
	}
	return r
}

// over opens a SunSpec device at an address, as a new process would.
func over(t *testing.T, addr string, role flex.Role, timeout time.Duration) drivers.Device {
	t.Helper()
	set, err := drivers.Open([]drivers.Config{{ID: "dev", Driver: drivers.DriverSunSpec, Role: role, Address: addr, Unit: 1, Gap: -1, Timeout: timeout}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(start(t, set.Run))
	return set.Devices()[0]
}
