package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// manager is a notify socket like the service manager's.
func manager(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, path
}

func TestMessages(t *testing.T) {
	c, path := manager(t)
	env := map[string]string{"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}
	n := fromEnv(func(k string) string { return env[k] }, 7)
	if n.WatchdogInterval() != 10*time.Second {
		t.Errorf("watchdog interval = %v, want a third of 30 s", n.WatchdogInterval())
	}
	for _, tc := range []struct {
		send func() error
		want string
	}{
		{func() error { return n.Ready("serving") }, "READY=1\nSTATUS=serving"},
		{n.Feed, "WATCHDOG=1"},
		{func() error { return n.Stopping(2 * time.Second) }, "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000"},
	} {
		if err := tc.send(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		k, err := c.Read(buf)
		if err != nil || string(buf[:k]) != tc.want {
			t.Errorf("got %q, %v; want %q", buf[:k], err, tc.want)
		}
	}
}

func TestWithoutAServiceManagerNothingHappens(t *testing.T) {
	var none *Notifier
	if err := none.Ready("x"); err != nil || none.WatchdogInterval() != 0 {
		t.Error("a nil notifier is not silent")
	}
	n := fromEnv(func(string) string { return "" }, 1)
	if err := n.Feed(); err != nil || n.WatchdogInterval() != 0 {
		t.Error("a notifier without a socket is not silent")
	}
}

func TestAnotherProcessesWatchdogIsNotOurs(t *testing.T) {
	env := map[string]string{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}
	if n := fromEnv(func(k string) string { return env[k] }, 7); n.WatchdogInterval() != 0 {
		t.Error("fed a watchdog that is not ours")
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.WriteFile(filepath.Join(dir, "api"), []byte(" s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := CredentialPath("../../api")
	if err != nil || path != filepath.Join(dir, "api") {
		t.Errorf("path = %s, %v; want within the credentials folder", path, err)
	}
	if got, err := ReadSecret(path); err != nil || string(got) != "s3cret" {
		t.Errorf("secret = %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(filepath.Join(dir, "empty")); err == nil {
		t.Error("an empty secret was accepted")
	}
	if path, err := CredentialPath("mqtt"); err != nil || path != filepath.Join(dir, "keys_mqtt") {
		t.Errorf("path = %s, %v; want the name that a folder of credentials gives", path, err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := CredentialPath("api"); err == nil || !strings.Contains(err.Error(), "LoadCredential") {
		t.Errorf("err = %v, want the remedy", err)
	}
}

func TestTheUnitAgreesWithTheProgram(t *testing.T) {
	unit, err := os.ReadFile("units/flexd.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Type=notify", "ExecStart=/usr/lib/flexd/flexd run --config /etc/flexd/flexd.yaml", "RestartPreventExitStatus=78",
		"StateDirectory=flexd/state", "RuntimeDirectory=flexd", "After=network.target", "StartLimitIntervalSec=0",
	} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("the unit has no line %q", line)
		}
	}
}
