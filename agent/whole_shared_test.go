package agent_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/local"
)

// Two agents on one machine with one inverter: the second one notices and only
// observes, and takes over once the first is gone.
func TestASecondFlexdOnOneDeviceOnlyObserves(t *testing.T) {
	s, bat := oneBattery(t, nil)
	s.process()
	s.serving()
	bin, err := program()
	must(t, err)
	text, err := os.ReadFile(s.config)
	must(t, err)
	text = bytes.ReplaceAll(text, []byte(s.socket), []byte(s.socket+"2"))
	text = bytes.ReplaceAll(text, []byte(filepath.Join(s.dir, "state")), []byte(filepath.Join(s.dir, "state2")))
	text = bytes.ReplaceAll(text, []byte("site: {id: whole"), []byte("site: {id: other"))
	text = bytes.ReplaceAll(text, []byte(strings.TrimSuffix(strings.TrimPrefix(s.door, "http://"), "/webhooks/piclo")), []byte(freePort(t)))
	other := filepath.Join(s.dir, "other.yaml")
	must(t, os.WriteFile(other, text, 0o600))
	cmd := exec.Command(bin, "run", "--config", other)
	cmd.Stderr = s.log
	must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	status := func() (local.Status, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		return local.Dial(s.socket + "2").Status(ctx)
	}
	s.await(20*time.Second, "the second one says so", func() bool {
		st, err := status()
		return err == nil && slices.Contains(alerts(st), "device_shared")
	})
	if codes := alerts(s.shown()); slices.Contains(codes, "device_shared") {
		t.Errorf("the first one gives way: %v", codes)
	}
	start := second(time.Second)
	s.instruct(ask("i1", "0.00300", "export", start, start.Add(3*time.Second)))
	s.delivers(bat, 5*time.Second, 3000)
	s.over(bat, 8*time.Second, "i1", "completed")
	s.quit()
	s.await(30*time.Second, "the second one takes over", func() bool {
		st, err := status()
		return err == nil && !slices.Contains(alerts(st), "device_shared")
	})
}
