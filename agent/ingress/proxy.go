package ingress

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how many addresses of a forwarding header are looked at.
const maxHops = 32

// proxies are the networks whose word on a request's source counts.
type proxies []netip.Prefix

func (p proxies) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// cgnat is where providers share one public address (RFC 6598).
var cgnat = netip.MustParsePrefix("100.64.0.0/10")

// sharedBy tells of a peer whether many may send from its address: a proxy that
// somebody named, one on this machine or in a private network, and without TLS
// of our own every peer, since the market speaks TLS to a proxy then. What one
// of them does wrong must not count against the others.
func sharedBy(trusted proxies, ownTLS bool) func(remote string) bool {
	return func(remote string) bool {
		peer, err := netip.ParseAddrPort(remote)
		if err != nil || !ownTLS {
			return true
		}
		addr := peer.Addr().Unmap()
		return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || cgnat.Contains(addr) || trusted.trusts(addr)
	}
}

// source is the address that a request counts as: the peer's, or behind a
// trusted proxy the nearest one in its header that is not a trusted proxy
// itself. Whatever lies beyond that was written by somebody we do not know.
// Behind a proxy that says nothing readable, the peer counts.
//
// Proxies write one of the two headers and pass the other one on as it came:
// where both are there and disagree, one of them is the sender's own, and
// neither is believed. Else anybody could fail in somebody else's name.
// named tells that a proxy's word was taken.
func (p proxies) source(r *http.Request) (remote string, named bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !p.trusts(peer.Addr().Unmap()) {
		return r.RemoteAddr, false
	}
	var found netip.Addr
	for _, hops := range [][]string{hopsOf(r.Header, "Forwarded", forParameter), hopsOf(r.Header, "X-Forwarded-For", strings.TrimSpace)} {
		if len(hops) == 0 {
			continue
		}
		addr, ok := p.nearest(hops)
		if !ok || found.IsValid() && found != addr {
			return r.RemoteAddr, false
		}
		found = addr
	}
	if !found.IsValid() {
		return r.RemoteAddr, false
	}
	return netip.AddrPortFrom(found, 0).String(), true
}

// nearest is the last hop that is not a trusted proxy.
func (p proxies) nearest(hops []string) (netip.Addr, bool) {
	for i := len(hops) - 1; i >= 0 && len(hops)-i <= maxHops; i-- {
		addr, ok := hopAddr(hops[i])
		if !ok || !p.trusts(addr) {
			return addr, ok
		}
	}
	return netip.Addr{}, false
}

// hopsOf lists the hops of a header in the order they were added.
func hopsOf(h http.Header, name string, read func(string) string) []string {
	list := h.Values(name)
	if len(list) == 0 {
		return nil
	}
	var hops []string
	for element := range strings.SplitSeq(strings.Join(list, ","), ",") {
		hops = append(hops, read(element))
	}
	return hops
}

// forParameter is the for= of one Forwarded element, without quotes.
func forParameter(element string) string {
	for _, pair := range strings.Split(element, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if ok && strings.EqualFold(name, "for") {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// hopAddr reads 192.0.2.1, 192.0.2.1:4711, 2001:db8::1, [2001:db8::1] or
// [2001:db8::1]:4711; names and obfuscated identifiers are none.
func hopAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}
