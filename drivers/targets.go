package drivers

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// mostHosts is a /22: a subnet of devices is smaller, and more is not polite.
const mostHosts = 1024

// ScanTargets reads what to scan: CIDR blocks, hosts, host:port; where no port
// is named, all of ports. It refuses more than a /22 in all, and gives each
// address once, port by port.
func ScanTargets(args []string, ports ...int) ([]string, error) {
	var out []string
	for _, port := range ports {
		more, err := targetsAt(args, port)
		if err != nil {
			return nil, err
		}
		out = append(out, slices.DeleteFunc(more, func(a string) bool { return slices.Contains(out, a) })...)
	}
	return out, nil
}

func targetsAt(args []string, port int) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	add := func(address string) error {
		if !seen[address] {
			seen[address] = true
			out = append(out, address)
		}
		if len(out) > mostHosts {
			return fmt.Errorf("more than %d addresses: scan at most a /22 at once", mostHosts)
		}
		return nil
	}
	for _, arg := range args {
		if !strings.Contains(arg, "/") {
			address := arg
			if _, _, err := net.SplitHostPort(arg); err != nil {
				address = net.JoinHostPort(strings.Trim(arg, "[]"), strconv.Itoa(port))
			}
			if err := checkAddress(address); err != nil {
				return nil, err
			}
			if err := add(address); err != nil {
				return nil, err
			}
			continue
		}
		hosts, err := hostsOf(arg)
		if err != nil {
			return nil, err
		}
		for _, h := range hosts {
			if err := add(net.JoinHostPort(h.String(), strconv.Itoa(port))); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// hostsOf lists the hosts of a block, without its network and broadcast address.
func hostsOf(cidr string) ([]netip.Addr, error) {
	block, err := netip.ParsePrefix(cidr)
	if err != nil {
		return nil, fmt.Errorf("%q is not a block of addresses such as 192.168.10.0/24: %w", cidr, err)
	}
	if block.Addr().BitLen()-block.Bits() > 10 {
		return nil, fmt.Errorf("%s has more than %d addresses: scan at most a /22 at once", cidr, mostHosts)
	}
	block = block.Masked()
	var out []netip.Addr
	for a := block.Addr(); a.IsValid() && block.Contains(a); a = a.Next() {
		out = append(out, a)
	}
	if block.Addr().Is4() && block.Bits() < 31 {
		out = out[1 : len(out)-1]
	}
	return out, nil
}

// SameHosts tells which targets are one of the given host:port addresses, by
// any name: those belong to somebody and are left alone.
func SameHosts(ctx context.Context, taken []string) func(address string) bool {
	hosts := map[string]bool{}
	for _, t := range taken {
		for _, h := range resolve(ctx, t) {
			hosts[h] = true
		}
	}
	return func(address string) bool {
		for _, h := range resolve(ctx, address) {
			if hosts[h] {
				return true
			}
		}
		return false
	}
}

// resolve gives the host as written and its addresses. The port plays no part:
// a device does not like company on another port any better.
func resolve(ctx context.Context, address string) []string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []string{ip.Unmap().String()}
	}
	out := []string{host}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return out
	}
	for _, ip := range ips {
		out = append(out, ip.Unmap().String())
	}
	return out
}

// order is a sort key by which addresses come as people count.
func order(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	n, _ := strconv.Atoi(port) // 0 sorts first
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "~" + address
	}
	b := ip.As16()
	return string(b[:]) + string(binary.BigEndian.AppendUint16(nil, uint16(n)))
}
