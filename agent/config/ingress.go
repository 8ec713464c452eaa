package config

import (
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (b builder) ingress(v value) Ingress {
	o := v.object("webhook", "relay")
	in := Ingress{Relay: relayDoor(o.get("relay"))}
	w := o.get("webhook")
	if !w.given() || w.node.Kind == yaml.ScalarNode && !w.flag() {
		return in
	}
	wo := w.object("listen", "path", "tls", "public_url", "trusted_proxies")
	hook := &Webhook{Path: wo.get("path").text(), PublicURL: wo.get("public_url").text()}
	hook.Listen = b.listen(wo.get("listen"), ":8443")
	if hook.Path == "" {
		hook.Path = "/webhooks/piclo"
	}
	if !strings.HasPrefix(hook.Path, "/") || strings.ContainsAny(hook.Path, "?#%{} ") {
		wo.get("path").problem("write a plain path such as /webhooks/piclo", "is not a plain path")
	}
	if p := wo.get("public_url"); p.given() {
		b.url(p, "https", "http", false)
	}
	t := wo.get("tls")
	switch {
	case !t.given():
		t.problem("write {cert: PATH, key: PATH}, or off behind a proxy", "is missing")
	case t.node.Kind == yaml.ScalarNode:
		if t.flag() {
			t.problem("write {cert: PATH, key: PATH}, or off behind a proxy", "needs a certificate")
		}
		hook.Plain = true
	default:
		to := t.object("cert", "key")
		hook.Cert, hook.Key = b.secret(to.get("cert"), true), b.secret(to.get("key"), true)
	}
	hook.TrustedProxies = networks(wo.get("trusted_proxies"))
	in.Webhook = hook
	return in
}

// relayDoor is on, off, or on with a topic that several sites share.
func relayDoor(v value) *Relay {
	if !v.given() {
		return nil
	}
	if v.node.Kind == yaml.ScalarNode {
		if v.flag() {
			return &Relay{}
		}
		return nil
	}
	o := v.object("shared")
	name := o.get("shared").required("write the name of the shared topic, or set relay to on")
	if name != "" && !siteWord.MatchString(name) {
		o.get("shared").problem("use 1 to 36 of a-z, 0-9 and -", "is not a topic name")
	}
	if name == "up" || name == "down" {
		o.get("shared").problem("choose another name", "is a word of the sites' own topics")
	}
	return &Relay{Shared: name}
}

// networks is a list of addresses and CIDR prefixes.
func networks(v value) []netip.Prefix {
	var out []netip.Prefix
	for _, item := range v.items() {
		s := item.text()
		p, err := netip.ParsePrefix(s)
		if addr, aerr := netip.ParseAddr(s); err != nil && aerr == nil {
			p, err = addr.Prefix(addr.BitLen())
		}
		switch {
		case err != nil:
			item.problem("write an address such as 10.1.2.3 or a network such as 10.0.0.0/8", "is neither an address nor a network")
		case p.Bits() == 0:
			item.problem("name the proxy's own address", "trusts everybody")
		default:
			out = append(out, p.Masked())
		}
	}
	return out
}
