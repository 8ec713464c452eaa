package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRelayTellsItsManager runs the command as the service manager does: it is
// ready without a broker, feeds the watchdog, and ends in order.
func TestRelayTellsItsManager(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "90000")
	t.Setenv("WATCHDOG_PID", "")
	file := filepath.Join(dir, "relay.yaml")
	if err := os.WriteFile(file, []byte(`
webhook: {listen: "127.0.0.1:0", tls: off}
routes: [{path: /a, sites: [house-7]}]
broker: {url: "mqtt://127.0.0.1:1"}
health: {listen: "unix:`+dir+`/health"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- relayCommand().execute(ctx, []string{"--config", file, "--log-level", "error"}, &out, &errs)
	}()
	for _, want := range []string{"READY=1\nSTATUS=serving as relay ", "WATCHDOG=1", "STOPPING=1"} {
		for heard := ""; !strings.HasPrefix(heard, want); {
			buf := make([]byte, 4096)
			if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("the manager never heard %q: %v", want, err)
			}
			heard = string(buf[:n])
		}
		if want == "WATCHDOG=1" {
			cancel()
		}
	}
	if got := <-code; got != exitDone {
		t.Errorf("exit code %d: %s", got, errs.String())
	}
}
