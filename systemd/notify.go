// Package systemd is the small part of flexd that knows its service manager:
// readiness and watchdog messages, credentials, and the unit files that the
// installer lays down.
//
// In: the environment that systemd sets. Out: datagrams to its notify socket
// and secrets read from its credentials folder. Without systemd everything
// here is a harmless no-op. It starts nothing and stops nothing.
package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// Notifier talks to the service manager (sd_notify(3)). A nil Notifier, and
// one without a socket, does nothing.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// FromEnv reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of this
// process.
func FromEnv() *Notifier { return fromEnv(os.Getenv, os.Getpid()) }

func fromEnv(env func(string) string, pid int) *Notifier {
	n := &Notifier{socket: env("NOTIFY_SOCKET")}
	usec, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	owner := env("WATCHDOG_PID")
	if err == nil && usec > 0 && (owner == "" || owner == strconv.Itoa(pid)) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

// WatchdogInterval is how often to feed: a third of the limit, or 0 when
// nobody watches.
func (n *Notifier) WatchdogInterval() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog / 3
}

// Ready tells that the service serves.
func (n *Notifier) Ready(status string) error { return n.send("READY=1\nSTATUS=" + status) }

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(status string) error { return n.send("STATUS=" + status) }

// Stopping tells that the service ends; extend asks for that much time.
func (n *Notifier) Stopping(extend time.Duration) error {
	return n.send(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", extend.Microseconds()))
}

// Feed feeds the watchdog. Call it only after the vital loops have completed
// a cycle.
func (n *Notifier) Feed() error { return n.send("WATCHDOG=1") }

func (n *Notifier) send(state string) error {
	if n == nil || n.socket == "" {
		return nil
	}
	name := n.socket
	if name[0] == '@' { // abstract namespace (unix(7))
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("cannot reach the service manager: %w", err)
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("cannot notify the service manager: %w", err)
	}
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("cannot notify the service manager: %w", err)
	}
	return nil
}
