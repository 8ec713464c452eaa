package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"flexd/agent/flex"
)

const exampleAddress = "write HOST:PORT, such as 192.168.10.21:502"

// address is a Modbus/TCP endpoint in its one spelling, since a device has one
// connection and one owner only if it has one name; the port is 502 when absent.
func (b builder) address(v value) string {
	s := v.required(exampleAddress)
	if s == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port, err = strings.Trim(s, "[]"), "502", nil
		if _, perr := netip.ParseAddr(host); perr != nil && strings.Contains(host, ":") {
			err = perr
		}
	}
	n, perr := strconv.Atoi(port)
	if err != nil || host == "" || perr != nil || n < 1 || n > 65535 || strings.ContainsAny(host, " /@") {
		v.problem(exampleAddress, "is not a device address")
		return ""
	}
	host, what := oneSpelling(host)
	if what != "" {
		v.problem(exampleAddress, "%s", what)
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(n))
}

// oneSpelling is a host as it is kept, and what is wrong with it.
func oneSpelling(host string) (string, string) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.IsUnspecified() || ip.IsMulticast() {
			return "", "is no device's own address"
		}
		return ip.String(), ""
	}
	last := host[strings.LastIndex(host, ".")+1:]
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || last == "" {
		// Resolvers disagree on 192.168.010.021, 0x7f.1 and 2130706433.
		return "", "is neither a host name nor an IP address in its usual form"
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, 6.3
		return "127.0.0.1", ""
	}
	return host, ""
}

// distinct reports devices that are one and the same by their addresses: told
// twice, such a device gives half of what is counted. A meter may share the
// unit of an inverter that carries it, and the panels of a hybrid that of its
// battery.
func (b builder) distinct(at func(int) value, devices []Device) {
	for i, d := range devices {
		for _, other := range devices[:i] {
			if d.Address == "" || d.Address != other.Address || d.Unit != other.Unit || d.UnitZero != other.UnitZero || apart(d.Role, other.Role) {
				continue
			}
			at(i).problem("keep one of the two", "is the same device as %q: both are %s at %s", other.ID, unitText(d), d.Address)
			break
		}
	}
}

func unitText(d Device) string {
	if d.Unit == 0 && !d.UnitZero {
		return "the map's unit"
	}
	return fmt.Sprintf("unit %d", d.Unit)
}

// apart tells whether two roles at one unit are different parts of a device.
func apart(a, b flex.Role) bool {
	parts := func(x, y flex.Role) bool {
		return x == flex.RoleMeter && y != flex.RoleMeter || x == flex.RolePV && y == flex.RoleStorage
	}
	return parts(a, b) || parts(b, a)
}
