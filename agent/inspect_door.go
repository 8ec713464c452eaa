package agent

import (
	"fmt"
	"net"
	"net/url"

	"flexd/agent/config"
)

// door asks about a proxy in front of the webhook that nobody named: all
// senders have its address then, and none of them can be held back alone.
func (n *inspection) door(h *config.Webhook) {
	const path, remedy = "ingress.webhook.trusted_proxies", "name the proxy's own address, such as trusted_proxies: [127.0.0.1], and let it set X-Forwarded-For"
	if len(h.TrustedProxies) > 0 {
		return
	}
	if h.Plain {
		n.add(Finding{Path: path, What: "names nobody, and without TLS a proxy is in front of the webhook: every sender counts as that proxy, so that no flood can be held back by its source", Remedy: remedy})
		return
	}
	public, err := url.Parse(h.PublicURL)
	_, port, perr := net.SplitHostPort(h.Listen)
	if err != nil || perr != nil || public.Host == "" {
		return
	}
	at := public.Port()
	if at == "" {
		at = map[string]string{"https": "443", "http": "80"}[public.Scheme]
	}
	if at != port || public.Path != h.Path || public.Scheme != "https" {
		n.add(Finding{Path: path, What: fmt.Sprintf("names nobody, and the market is to call %s while the webhook is served at port %s, path %s: something is in between", h.PublicURL, port, h.Path),
			Remedy: "if it is a proxy, " + remedy + "; a plain forwarding of the port is good as it is"})
	}
}
