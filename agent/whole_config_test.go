package agent_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"flexd/agent/local"
)

// quit ends the process in an orderly way.
func (s *site) quit() {
	s.t.Helper()
	must(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("ended with %v", err)
	}
	s.cmd = nil
}

// shown is `flexd status --json`.
func (s *site) shown() (st local.Status) {
	s.t.Helper()
	out, code := s.command("status", "--json")
	if code != 0 {
		s.t.Fatalf("status exits %d: %s", code, out)
	}
	parse(s.t, out, &st)
	return st
}

func alerts(st local.Status) []string {
	var out []string
	for _, a := range st.Alerts {
		out = append(out, a.Code)
	}
	return out
}

// A broken new file takes no site down: the last good one runs on, says so,
// and dispatches; a mended one is taken up again.
func TestABrokenNewConfigRunsTheLastGoodOne(t *testing.T) {
	s, bat := oneBattery(t, nil)
	s.process()
	s.serving()
	if codes := alerts(s.shown()); slices.Contains(codes, "config_broken") {
		t.Fatalf("alarms %v with a good configuration", codes)
	}
	s.quit()
	good, err := os.ReadFile(s.config)
	must(t, err)
	for _, broken := range []string{
		strings.Replace(string(good), "driver: sunspec", "driver: sunspect", 1),
		string(good) + "surprise: true\n",
	} {
		must(t, os.WriteFile(s.config, []byte(broken), 0o600))
		s.process()
		s.serving()
		st := s.shown()
		if !slices.Contains(alerts(st), "config_broken") {
			t.Errorf("alarms %v with a broken configuration", alerts(st))
		}
		if !contains(st.Config, "last good") {
			t.Errorf("the configuration is shown as %q", st.Config)
		}
		if out, code := s.command("status"); code != 0 || !contains(out, "flexd.yaml:") {
			t.Errorf("status exits %d and does not tell the place of the mistake: %s", code, out)
		}
		s.quit()
	}
	s.process()
	s.serving()
	start := second(time.Second)
	s.instruct(ask("i1", "0.00400", "export", start, start.Add(2*time.Second)))
	s.delivers(bat, 5*time.Second, 4000)
	s.over(bat, 6*time.Second, "i1", "completed")
	if !slices.ContainsFunc(s.ear.on("event"), func(h heard) bool { return h.Code == "config_broken" && h.Raised }) {
		t.Error("the fleet was not told")
	}
	s.quit()
	must(t, os.WriteFile(s.config, good, 0o600))
	s.process()
	s.serving()
	if codes := alerts(s.shown()); slices.Contains(codes, "config_broken") {
		t.Errorf("alarms %v after it was mended", codes)
	}
	s.quit()
}

// Without a last good one there is nothing to run: exit code 78, on which the
// service manager does not try again, and nothing is written anywhere.
func TestWithoutAnyGoodConfigItEndsWith78(t *testing.T) {
	s, bat := oneBattery(t, nil)
	bin, err := program()
	must(t, err)
	good, err := os.ReadFile(s.config)
	must(t, err)
	for _, c := range []struct{ name, text, says string }{
		{"an unknown key", string(good) + "surprise: true\n", "surprise"},
		{"not YAML", "{{{{", "flexd.yaml"},
		{"empty", "", "flexd.yaml"},
		{"a key without a unit", strings.Replace(string(good), "poll: 5m", "poll: 5", 1), "poll"},
	} {
		path := filepath.Join(s.dir, "flexd.yaml")
		must(t, os.WriteFile(path, []byte(c.text), 0o600))
		out, err := exec.Command(bin, "run", "--config", path).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 78 {
			t.Errorf("%s: ends with %v, want exit code 78: %s", c.name, err, out)
		}
		if !contains(string(out), c.says) {
			t.Errorf("%s: does not say what is wrong: %s", c.name, out)
		}
	}
	if n := bat.Reads() + len(bat.Writes()); n != 0 {
		t.Errorf("%d requests to the battery", n)
	}
}
