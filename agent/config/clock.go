package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// maxServers is how many time servers may be listed; four are plenty.
const maxServers = 8

var hostWord = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*\.?$`)

// clock is the list of time servers.
func clock(v value) Clock {
	if !v.given() {
		return Clock{}
	}
	list := v.object("ntp").get("ntp")
	if !list.given() {
		list.problem("list time servers, such as [0.pool.ntp.org, 1.pool.ntp.org, 2.pool.ntp.org], or remove the section", "is missing")
		return Clock{}
	}
	var c Clock
	seen := map[string]bool{}
	for _, item := range list.items() {
		name := item.required("write HOST or HOST:PORT")
		key := strings.TrimSuffix(strings.ToLower(name), ".")
		switch {
		case name == "":
		case !timeServer(name):
			item.problem("write HOST or HOST:PORT, an IPv6 address with a port in brackets", "is not a time server")
		case seen[key]:
			item.problem("name another: a majority counts servers, not names", "is listed twice")
		default:
			seen[key] = true
			c.NTP = append(c.NTP, name)
		}
	}
	switch n := len(list.items()); {
	case n > maxServers:
		list.problem(fmt.Sprintf("list at most %d", maxServers), "has %d time servers", n)
	case n == 0:
		list.problem("list time servers, or remove the section", "is empty")
	}
	return c
}

// timeServer tells whether s is an address or a name, with a port or without.
func timeServer(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, "123"
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port || len(host) > 253 {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return hostWord.MatchString(host)
}
