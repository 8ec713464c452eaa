package agent_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// A state that cannot be written when flexd starts, and a device under a
// control that never lapses: it is handed back, people are told, nothing is
// taken in, and flexd goes on by itself once the disk does.
func TestAStateThatCannotBeWrittenHandsBackAndHeals(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: only root can mount a folder read-only")
	}
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, s *site) []string // of the command that starts flexd
		heal func(t *testing.T, s *site)
	}{
		{"mounted read-only", func(_ *testing.T, s *site) []string {
			dir := filepath.Join(s.dir, "state")
			return []string{"unshare", "-m", "sh", "-c", "mount --bind " + dir + " " + dir + " && mount -o remount,bind,ro " + dir + ` && exec "$@"`, "sh"}
		}, func(t *testing.T, s *site) {
			out, err := exec.Command("nsenter", "-t", strconv.Itoa(s.cmd.Process.Pid), "-m", "mount", "-o", "remount,bind,rw", filepath.Join(s.dir, "state")).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}},
		{"a folder in its place", func(t *testing.T, s *site) []string {
			must(t, os.Rename(filepath.Join(s.dir, "state", "state.db"), filepath.Join(s.dir, "kept.db")))
			must(t, os.Mkdir(filepath.Join(s.dir, "state", "state.db"), 0o700))
			return nil
		}, func(t *testing.T, s *site) {
			must(t, os.Remove(filepath.Join(s.dir, "state", "state.db")))
			must(t, os.Rename(filepath.Join(s.dir, "kept.db"), filepath.Join(s.dir, "state", "state.db")))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2, NeverReverts: true})}})
			bat := s.devices[0]
			s.process()
			s.serving()
			start := second(time.Second)
			s.instruct(ask("i1", "0.00300", "export", start, start.Add(time.Hour)))
			s.await(10*time.Second, "the battery is controlled", bat.Controlled)
			s.kill()
			wrap := tc.harm(t, s)
			s.processIn(wrap)
			s.await(20*time.Second, "the battery is handed back", func() bool { return !bat.Controlled() })
			s.await(10*time.Second, "people are told", func() bool {
				st, err := s.status()
				return err == nil && slices.Contains(alerts(st), "state_unusable")
			})
			s.await(5*time.Second, "its rates are as they were found", func() bool {
				rate, _, _ := bat.Point(124, "OutWRte")
				all := bat.Writes()
				last := all[len(all)-1]
				return last.Addr == rate && last.Words[0] == 10_000
			})
			writes := len(bat.Writes())
			time.Sleep(2 * time.Second) // nothing may happen
			if n := len(bat.Writes()); n != writes || bat.Controlled() {
				t.Errorf("%d writes to the battery while nothing can be stored: %v", n-writes, bat.Writes()[writes:])
			}
			tc.heal(t, s)
			s.await(90*time.Second, "flexd goes on by itself", func() bool {
				st, err := s.status()
				return err == nil && st.Ready && !slices.Contains(alerts(st), "state_unusable") && bat.Controlled()
			})
			s.quit()
		})
	}
}

// Another flexd that holds the state is left alone with its devices.
func TestASecondFlexdOnOneStateTouchesNothing(t *testing.T) {
	s, bat := oneBattery(t, nil)
	s.process()
	s.serving()
	start := second(time.Second)
	s.instruct(ask("i1", "0.00300", "export", start, start.Add(time.Minute)))
	s.await(10*time.Second, "the battery is controlled", bat.Controlled)
	bin, err := program()
	must(t, err)
	text, err := os.ReadFile(s.config)
	must(t, err)
	other := filepath.Join(s.dir, "other.yaml")
	must(t, os.WriteFile(other, bytes.ReplaceAll(text, []byte(s.socket), []byte(s.socket+"2")), 0o600))
	cmd := exec.Command(bin, "run", "--config", other)
	cmd.Stderr = s.log
	must(t, cmd.Start())
	for range 30 {
		time.Sleep(100 * time.Millisecond) // nothing may happen
		if !bat.Controlled() {
			t.Fatal("the second one released the battery of the first")
		}
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	if !bat.Controlled() {
		t.Error("the end of the second one released the battery of the first")
	}
	s.quit()
}

// processIn runs the real program as another command's child that becomes it.
func (s *site) processIn(wrap []string) {
	s.t.Helper()
	if wrap == nil {
		s.process()
		return
	}
	bin, err := program()
	must(s.t, err)
	args := append(slices.Clone(wrap), bin, "run", "--config", s.config)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = s.log
	s.begun = time.Now()
	must(s.t, cmd.Start())
	s.cmd = cmd
}
