package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"flexd/agent/config"
	"flexd/agent/control"
	"flexd/agent/flex"
	"flexd/agent/health"
)

// Health items of what is shared with somebody else.
const (
	codeDeviceShared   = "device_shared"
	codeFleetContested = "fleet_contested"
)

var sharedItems = []health.Item{
	{Code: codeDeviceShared, Severity: health.Alarm, Title: "Another flexd controls a device"},
	{Code: codeFleetContested, Severity: health.Warning, Title: "Another client may use this site's id at the broker"},
}

// claims are this process's own devices on this machine. Two agents with one
// device would each count all that it gives, so the second one only observes.
// A claim is a socket in the kernel's abstract namespace (unix(7)): it ends
// with the process, however that ends. One held by another user than root or
// our own does not count, or every user of the machine could keep us out.
type claims struct {
	health interface {
		Raise(code, subject, text string)
		Clear(code, subject string)
	}
	log     *slog.Logger
	devices []config.Device

	mu    sync.Mutex
	held  map[flex.DeviceID]net.Listener
	other map[flex.DeviceID]string // who has it
}

// claimEvery is how soon a device that the other gave up is taken.
const claimEvery = 10 * time.Second

func newClaims(a *Agent) *claims {
	c := &claims{health: a.health, log: a.log, devices: a.conf.cfg.Devices, held: map[flex.DeviceID]net.Listener{}, other: map[flex.DeviceID]string{}}
	if !a.trial {
		c.take()
	}
	return c
}

// name of the socket of a device; an address has one spelling.
func claimName(d config.Device) string { return fmt.Sprintf("@flexd/%s/%d", d.Address, d.Unit) }

// take claims what is not ours yet.
func (c *claims) take() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.devices {
		if c.held[d.ID] != nil || d.Role == flex.RoleMeter { // reading shares
			continue
		}
		l, err := net.Listen("unix", claimName(d))
		if err == nil {
			c.held[d.ID] = l
		}
		who := ""
		if errors.Is(err, unix.EADDRINUSE) {
			who = holder(claimName(d))
		}
		if had := c.other[d.ID]; who != "" {
			c.health.Raise(codeDeviceShared, string(d.ID), fmt.Sprintf("%s at %s unit %d is controlled by %s on this machine: it is only observed here; stop one of the two", d.ID, d.Address, d.Unit, who))
		} else if had != "" {
			c.health.Clear(codeDeviceShared, string(d.ID))
		}
		c.other[d.ID] = who
	}
}

// holder is the process behind a claim, "" for one that does not count.
func holder(name string) string {
	conn, err := net.Dial("unix", name)
	if err != nil {
		return ""
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return ""
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil || err != nil {
		return ""
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Getuid() {
		return ""
	}
	return fmt.Sprintf("another flexd (process %d)", cred.Pid)
}

// standing refuses a device that another flexd has.
func (c *claims) standing(next func(flex.DeviceID) control.Standing) func(flex.DeviceID) control.Standing {
	return func(id flex.DeviceID) control.Standing {
		s := next(id)
		c.mu.Lock()
		defer c.mu.Unlock()
		if who := c.other[id]; who != "" {
			s.Refusal = flex.Refuse(flex.ReasonUncontrollable, "%s is controlled by %s on this machine", id, who)
		}
		return s
	}
}

// run looks again until ctx ends, and gives the claims back.
func (c *claims) run(ctx context.Context) error {
	tick := time.NewTicker(claimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.take()
		}
	}
}

// close gives the devices to the next.
func (c *claims) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, l := range c.held {
		_ = l.Close()
		delete(c.held, id)
	}
}

// contested tells that connections to the broker keep ending.
func (a *Agent) contested(yes bool) {
	if !yes {
		a.health.Clear(codeFleetContested, "")
		return
	}
	a.health.Raise(codeFleetContested, "", fmt.Sprintf("connections end soon after they stand, again and again: either the link is unstable, or another client connects as %q: look for a second gateway with this site's id", a.conf.cfg.Site.ID))
}
