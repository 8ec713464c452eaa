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

// source is the address that a request counts as: the peer's, or behind a
// trusted proxy the nearest one in its header that is not a trusted proxy
// itself. Whatever lies beyond that was written by somebody we do not know.
// Behind a proxy that says nothing readable, the peer counts.
func (p proxies) source(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !p.trusts(peer.Addr().Unmap()) {
		return r.RemoteAddr
	}
	hops := forwarded(r.Header)
	for i := len(hops) - 1; i >= 0 && len(hops)-i <= maxHops; i-- {
		addr, ok := hopAddr(hops[i])
		if !ok {
			break
		}
		if !p.trusts(addr) {
			return netip.AddrPortFrom(addr, 0).String()
		}
	}
	return r.RemoteAddr
}

// forwarded lists the hops in the order they were added: by RFC 7239 where a
// proxy speaks it, else by the older header.
func forwarded(h http.Header) []string {
	var hops []string
	if list := h.Values("Forwarded"); len(list) > 0 {
		for _, element := range strings.Split(strings.Join(list, ","), ",") {
			hops = append(hops, forParameter(element))
		}
		return hops
	}
	for _, element := range strings.Split(strings.Join(h.Values("X-Forwarded-For"), ","), ",") {
		hops = append(hops, strings.TrimSpace(element))
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
